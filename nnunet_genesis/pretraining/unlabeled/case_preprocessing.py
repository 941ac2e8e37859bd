"""One raw scan becomes one preprocessed image file, by the plans' own reader, preprocessor and storage.

This runs in worker processes (`worker`); nothing of a scan leaves them but a file and its description.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.plans_files import read_dataset_json
from nnunet_genesis.pretraining.foreground import encode_map, foreground_mask, map_foreground
from nnunet_genesis.pretraining.unlabeled.case_statistics import describe_intensities
from nnunet_genesis.pretraining.unlabeled.image_storage import write_image
from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
from nnunet_genesis.scans.problems import Reason, ScanProblem
from nnunet_genesis.scans.reading import ReadingRules, read_scan
from nnunet_genesis.scans.voxel_hash import channel_keys, hash_voxels, scan_key

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.scans.scan import Scan


@dataclass(frozen=True)
class PreprocessingJob:
    """What all scans of a run have in common.

    Attributes:
        planned: The target plans.
        partial_folder: Folder for files that are not finished.
        max_voxels: Most voxels of a scan per channel.
        unwanted: Keys of scans, or of one of their channels, that need no preprocessing: they are excluded, or in the
            pool already.
    """

    planned: PlannedConfiguration
    partial_folder: Path
    max_voxels: int
    unwanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PreparedScan:
    """A scan that was read.

    Attributes:
        key: `scan_key` of its raw voxels.
        image: Preprocessed image in the partial folder; None for unwanted scans.
        case: What goes into the pool's list; None for unwanted scans.
    """

    key: str
    image: Path | None = None
    case: PoolCase | None = None


class ScanPreprocessor:
    """Does what nnU-Net does to a labelled case, without the label.

    Args:
        job: What to do.
    """

    def __init__(self, job: PreprocessingJob) -> None:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        planned = job.planned
        self.job = job
        self._manager = PlansManager(dict(planned.plans))
        self._settings = self._manager.get_configuration(planned.configuration)
        self._dataset = read_dataset_json(planned.dataset_folder / "dataset.json")
        self._reader = self._manager.image_reader_writer_class()
        self._preprocessor = self._settings.preprocessor_class(verbose=False)
        self._rules = reading_rules(planned, job.max_voxels)

    def read_key(self, scan: Scan) -> str:
        """Read a scan and make the key of its voxels.

        Raises:
            ScanProblem: If it cannot be read or used.
        """
        raw, _ = read_scan(scan, self._reader, self._rules, self.job.partial_folder)
        return scan_key(raw)

    def prepare(self, scan: Scan) -> PreparedScan:
        """Read, check and preprocess a scan.

        Raises:
            ScanProblem: If it cannot be used.
            SetupError: If the result cannot be written.
        """
        started = time.monotonic()
        signature = scan.signature()
        raw, properties = read_scan(scan, self._reader, self._rules, self.job.partial_folder)
        key = scan_key(raw)
        if not self.job.unwanted.isdisjoint({key, *channel_keys(key)}):
            return PreparedScan(key)
        planned = self.job.planned
        raw_spacing = [float(mm) for mm in properties["spacing"]]
        image = self._preprocess(scan, raw, properties)
        mask = foreground_mask(image, planned)
        # In 2D, nnU-Net keeps the distance of the slices.
        between_slices = raw_spacing[self._manager.transpose_forward[0]]
        statistics = zip(describe_intensities(raw), describe_intensities(image), strict=True)
        file = write_image(image, planned.patch_size, self.job.partial_folder / f"{scan.identifier}.{os.getpid()}")
        case = PoolCase(
            identifier=scan.identifier,
            file=f"{scan.identifier}.b2nd",
            bytes=file.stat().st_size,
            shape=list(image.shape),
            sha256=hash_voxels(image),
            scan=key,
            raw_sha256=hash_voxels(raw),
            raw_shape=list(raw.shape),
            raw_spacing=raw_spacing,
            spacing=list(planned.spacing) if len(planned.spacing) == 3 else [between_slices, *planned.spacing],
            foreground=encode_map(map_foreground(mask)),
            foreground_share=round(float(mask.mean()), 6),
            statistics=[{"raw": before, "preprocessed": after} for before, after in statistics],
            sources=scan.sources(),
            signature=signature,
            seconds=round(time.monotonic() - started, 3),
        )
        return PreparedScan(key, file, case)

    def _preprocess(
        self, scan: Scan, raw: npt.NDArray[np.float32], properties: dict[str, Any]
    ) -> npt.NDArray[np.float32]:
        where = scan.sources()[0]
        try:
            prepared = self._preprocessor.run_case_npy(
                raw, None, properties, self._manager, self._settings, self._dataset
            )
        except MemoryError as error:
            raise ScanProblem(
                Reason.TOO_LARGE, "not enough memory to preprocess it", where=where, is_passing=True
            ) from error
        except Exception as error:  # an extreme scan may make nnU-Net stumble anywhere
            raise ScanProblem(
                Reason.UNREADABLE, f"nnU-Net cannot preprocess it ({type(error).__name__}: {error})", where=where
            ) from error
        image: npt.NDArray[np.float32] = np.ascontiguousarray(prepared[0], dtype=np.float32)
        if image.size == 0:
            raise ScanProblem(
                Reason.DIMENSIONS,
                f"nothing is left of shape {raw.shape[1:]} at the spacing of the plans: {image.shape[1:]}",
                where=where,
            )
        if not np.isfinite(image).all():
            raise ScanProblem(Reason.NOT_FINITE, "it is not finite after normalisation", where=where)
        if all(channel.min() == channel.max() for channel in image):
            told = ", ".join(f"{channel.min():g}" for channel in image)
            raise ScanProblem(Reason.CONSTANT, f"every channel is constant after normalisation: {told}", where=where)
        return image


def reading_rules(planned: PlannedConfiguration, max_voxels: int) -> ReadingRules:
    """What a scan must be like to be preprocessed by the plans."""
    return ReadingRules(planned.num_channels, len(planned.patch_size), planned.spacing, max_voxels)
