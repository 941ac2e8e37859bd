"""Can the scale of a patch be told from its power spectrum alone? On written scans and on real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import blosc2
import numpy as np
import SimpleITK as sitk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.indices import written_index
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.scales.patches import ScaledPatches

    FloatArray = npt.NDArray[np.float64]

BINS = 12
FOLDS = 6
HOUNSFIELD_RANGE = (-1000.0, 1000.0)


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out patches whose scale is guessed, with the 95 % interval of a bootstrap over scans."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Spectra:
    """Spectra of patches: (patches, `BINS`) each, with labels and with scans, or subjects, that are held out as one."""

    features: FloatArray
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    def without_gain(self) -> Spectra:
        """The shape of the spectra: what is left when patches are as rich in contrast as each other."""
        return Spectra(self.features - self.features[:, 2:9].mean(1, keepdims=True), self.labels, self.groups)

    def accuracy(self) -> Accuracy:
        """Guess labels by logistic regression, always of scans that it has not seen."""
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
        folds = GroupKFold(min(FOLDS, len(np.unique(self.groups))))
        right = cross_val_predict(model, self.features, self.labels, groups=self.groups, cv=folds) == self.labels
        by_group = [right[self.groups == group] for group in np.unique(self.groups)]
        generator = np.random.default_rng(0)
        draws = [
            np.concatenate([by_group[one] for one in generator.integers(len(by_group), size=len(by_group))]).mean()
            for _ in range(500)
        ]
        low, high = np.percentile(draws, (2.5, 97.5)).tolist()
        return Accuracy(float(right.mean()), low, high)


def radial_spectrum(image: FloatArray) -> FloatArray:
    """Log power (`BINS`,) of an image of two or three axes, averaged over shells up to half a cycle per voxel."""
    image = image - image.mean()
    squared = np.zeros(image.shape)
    for axis, side in enumerate(image.shape):
        along = [1] * image.ndim
        along[axis] = side
        image = image * np.hanning(side + 2)[1:-1].reshape(along)
        squared = squared + np.square(np.fft.fftfreq(side)).reshape(along)
    shells = np.minimum(np.sqrt(squared) * 2 * BINS, BINS).astype(int).ravel()
    power = np.abs(np.fft.fftn(image)).ravel() ** 2
    sums = np.bincount(shells, power, BINS + 1)[:BINS]
    spectrum: FloatArray = np.log(sums / np.maximum(np.bincount(shells, minlength=BINS + 1)[:BINS], 1) + 1e-12)
    return spectrum


def measure_spectra(patches: ScaledPatches, groups: npt.NDArray[np.int64], count: int) -> Spectra:
    """Spectra of the first `count` patches that have a label; groups of the cases of the one source."""
    rows, labels, scans = [], [], []
    for number in range(count):
        place = patches.locate(number)
        if place.label >= 0:
            rows.append(radial_spectrum(patches[number][0][0].numpy().astype(np.float64)))
            labels.append(place.label)
            scans.append(groups[place.case])
    return Spectra(np.array(rows), np.array(labels), np.array(scans))


def write_scans(folder: Path, scans: dict[str, npt.NDArray[np.float32]], background_below: float) -> CaseIndex:
    """Write scans (z, y, x) as preprocessed cases."""
    for name, image in scans.items():
        blosc2.asarray(
            np.ascontiguousarray(image[None]), urlpath=str(folder / f"{name}.b2nd"), chunks=(1, *image.shape)
        )
    return written_index(folder, scans, background_below=background_below)


def real_scans(folder: Path, name: str, most: int) -> tuple[CaseIndex, npt.NDArray[np.int64]]:
    """Write real scans as nnU-Net normalises them, and number the patients; skips where they are absent."""
    files = sorted((real_data_folder(name) / "images").glob("*.nii.gz"))[:most]
    scans = {}
    for file in files:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).astype(np.float32)
        if name == "sts_ct":
            image = np.clip(image, *HOUNSFIELD_RANGE)
        scans[file.name.removesuffix(".nii.gz")] = (image - image.mean()) / image.std()
    numbers = np.array([int(case.rsplit("_", 1)[1]) for case in sorted(scans)])
    # Two ids that follow each other are the two sides of one subject.
    return write_scans(folder, scans, -0.5), (numbers + 1) // 2 if name == "hippocampus" else numbers


def scale_free_scan(
    side: int, generator: np.random.Generator, *, blur: float = 0.8, noise: float = 0.05
) -> npt.NDArray[np.float32]:
    """A cube that looks alike at every magnification (power falls with frequency cubed), seen by a scanner.

    Args:
        side: Voxels per axis.
        generator: Draws the cube and the noise.
        blur: Width sigma of the scanner's blur, in voxels.
        noise: Deviation of the scanner's noise, where that of the cube is 1.
    """
    frequencies = np.meshgrid(*[np.fft.fftfreq(side)] * 3, indexing="ij", sparse=True)
    squared = sum(np.square(axis) for axis in frequencies)
    transfer = np.where(squared > 0, np.maximum(squared, 1e-12) ** -0.75, 0) * np.exp(-2 * np.pi**2 * blur**2 * squared)
    image = np.fft.ifftn(np.fft.fftn(generator.normal(size=(side,) * 3)) * transfer).real
    image = image / image.std() + noise * generator.normal(size=image.shape)
    return np.asarray(image, dtype=np.float32)
