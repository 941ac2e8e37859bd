"""The rows of the matrix: what is trained, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from tests.integration.matrix.datasets import ANISOTROPIC, FOUR, IGNORE, LARGE, REGIONS, RESIDUAL, TINY
from tests.integration.workspace import HIPPOCAMPUS

_BASE = "nnUNetTrainerGenesis"
_REAL = "10 hippocampi, about 35 x 50 x 36"


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: What issue 6 calls the configuration.
        scans: What it is trained on, for the table.
        dataset: Of `datasets`.
        configuration: Of nnU-Net.
        tokens: Of the trainer's name.
        plans: Identifier of the small plans.
        pretrained_in: Configuration that was pretrained, where it is another one.
        processes: With two, nnU-Net's ``-num_gpus 2``, on gloo.
        heads: Channels of the probabilities, background with them where there are no regions.
        labels: That a segmentation may hold.
    """

    name: str
    scans: str
    dataset: str
    configuration: str
    tokens: str
    plans: str = TINY
    pretrained_in: str = ""
    processes: int = 1
    heads: int = 3
    labels: tuple[int, ...] = (0, 1, 2)

    @property
    def trainer(self) -> str:
        return _BASE + self.tokens

    @property
    def pretraining(self) -> str:
        return self.pretrained_in or self.configuration

    @property
    def epochs(self) -> int:
        return int(self.tokens.split("epochs")[0].rsplit("_", 1)[1])


def _residual(size: str, tokens: str) -> Row:
    plans = f"nnUNetResEncUNet{size}PlansTiny"
    return Row(f"ResEnc {size}", "5 blobs, 64 x 64 x 64", RESIDUAL, "3d_fullres", tokens, plans)


_HIPPOCAMPUS = (_REAL, HIPPOCAMPUS)
_LARGE = ("5 blobs, 72 x 72 x 72", LARGE)
ROWS = {
    row.name: row
    for row in (
        Row("2d", *_HIPPOCAMPUS, "2d", "_2epochs_2iters"),
        Row("3d_fullres", *_HIPPOCAMPUS, "3d_fullres", "_sawtooth_4epochs_2iters"),
        Row("3d_fullres, inflated from 2d", *_HIPPOCAMPUS, "3d_fullres", "_warmup_2epochs_2iters", pretrained_in="2d"),
        Row("3d_fullres, control", *_HIPPOCAMPUS, "3d_fullres", "_sawtooth_scratch_4epochs_2iters"),
        Row("3d_lowres", *_LARGE, "3d_lowres", "_layerwise_2epochs_2iters"),
        Row(
            "3d_cascade_fullres", *_LARGE, "3d_cascade_fullres", "_layerwise_2epochs_2iters", pretrained_in="3d_fullres"
        ),
        Row("anisotropic", "5 blobs, 16 x 128 x 128, 5 mm slices", ANISOTROPIC, "3d_fullres", "_warmup_2epochs_2iters"),
        _residual("M", "_frozen_2epochs_2iters"),
        _residual("L", "_warmup_layerwise_2epochs_2iters"),
        _residual("XL", "_2epochs_2iters"),
        Row("four channels", "5 blobs, 4 x 32 x 32 x 32", FOUR, "3d_fullres", "_full_2epochs_2iters"),
        Row(
            "region-based", "5 blobs, 4 x 32 x 32 x 32", REGIONS, "3d_fullres", "_sawtooth_layerwise_4epochs_2iters",
            heads=2,
        ),
        Row(
            "ignore label", "5 blobs, 32 x 32 x 32", IGNORE, "3d_fullres", "_full_warmup_2epochs_2iters", heads=2,
            labels=(0, 1),
        ),
        Row("-num_gpus 2", *_HIPPOCAMPUS, "3d_fullres", "_sawtooth_layerwise_4epochs_2iters", processes=2),
    )
}  # fmt: skip
"""By name."""
