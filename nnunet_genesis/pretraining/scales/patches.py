"""Patches cut at several scales and brought to the patch size, with the scale as a label.

The label must be told by the size of what is seen and by nothing else. Three things would give it away:

- Sharpness. A crop of scale 2 is averaged down; one of scale 1 keeps the blur and the noise of its scanner. So all
  scales are blurred and coarsened to a sharpness that is drawn alike for all, see `sharpness`. What is lost is gone
  from the target of the restoration too: nobody could know it.
- The source. A label is given only where all scales were possible.
- The place. It is drawn so that the crops of all scales fit around it, before the scale is drawn.

Half of the patches are left as they are, at scale 1 and without a label: restoration learns full resolution from them.
Where no scan can carry all scales, there is no label to give away, and the pretext leaves all of them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.crop_reading import as_tensor, read_crop, read_resized
from nnunet_genesis.pretraining.data import PatchDataset, Place
from nnunet_genesis.pretraining.places import choose, draw_case, draw_first_voxels, foreground_inside
from nnunet_genesis.pretraining.scales.carrying import SCALES, carried, margins
from nnunet_genesis.pretraining.scales.sharpness import COARSENESS, Sharpness, draw_sharpness

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.data import Patch

SHARP_SHARE = 0.5
"""Share of the patches that are read as they are, without a label (ours)."""
NO_LABEL = -1
"""The scale of a patch that must not be judged; give it to a loss as the class to ignore."""


@dataclass(frozen=True)
class ScaledPlace(Place):
    """Where a patch lies and how it is cut; `first_voxel` is that of the patch at scale 1 around the same centre.

    Attributes:
        scale: Number of its scale.
        sharpness: What it is made to look like; None where it is left as it is.
        label: Number of its scale, or `NO_LABEL`.
    """

    scale: int
    sharpness: Sharpness | None
    label: int


class ScaledPatches(PatchDataset):
    """Random patches that show 1, 1.5 or 2 times their own size; patch number i is a pure function of the seed and i.

    Sources, cases and places are drawn as in `PatchDataset`. A place is good where the crops of all scales that the
    case can carry are. Of these scales one is drawn, all alike. Its crop is resized in one step, which reads only
    what it needs.

    Args:
        indices: The cases of every source.
        chances: Share of the patches per source, adding up to 1.
        patch_size: Two or three voxel counts. Two: a random slice along the first axis of the case.
        max_background_share: Places with a larger share of background are drawn again.
        seed: A list of integers; decides, with the index, everything random.
        sharp_share: Share of the patches that are read as `PatchDataset` does.
        coarseness: Range of voxels per cell, see `sharpness`; None leaves every scale as sharp as it is, for
            comparison.
    """

    def __init__(
        self,
        indices: Sequence[CaseIndex],
        chances: Sequence[float],
        patch_size: tuple[int, ...],
        *,
        max_background_share: float,
        seed: Sequence[int],
        sharp_share: float = SHARP_SHARE,
        coarseness: tuple[float, float] | None = COARSENESS,
    ) -> None:
        super().__init__(indices, chances, patch_size, max_background_share=max_background_share, seed=seed)
        self.sharp_share, self.coarseness = sharp_share, coarseness
        self._num_axes = len(patch_size)

    @property
    def labelled_share(self) -> float:
        """Expected share of the patches that have a label; 0 where no case can carry all scales."""
        shares = [
            chance * carried(cases.shapes, self._size, self._num_axes).all(1).mean()
            for cases, chance in zip(self.indices, self.chances, strict=True)
            if len(cases)
        ]
        return (1 - self.sharp_share) * float(sum(shares))

    def locate(self, index: int) -> ScaledPlace:
        """Decide where patch number `index` lies and how it is cut; nothing is read."""
        generator = np.random.default_rng([*self.seed, index])
        source, case = draw_case(self.indices, self._limits, generator)
        if generator.random() < self.sharp_share:
            place = self._draw_place(source, case, generator)
            return ScaledPlace(**vars(place), scale=0, sharpness=None, label=NO_LABEL)
        cases = self.indices[source]
        possible = carried(cases.shapes[case : case + 1], self._size, self._num_axes)[0]
        scales = np.flatnonzero(possible)
        first_voxel, foreground = self._draw_common_place(cases, case, scales.tolist(), generator)
        scale = int(generator.choice(scales))
        return ScaledPlace(
            source,
            case,
            first_voxel,
            foreground,
            scale=scale,
            sharpness=None if self.coarseness is None else draw_sharpness(generator, self.coarseness),
            label=scale if possible.all() else NO_LABEL,
        )

    def _draw_common_place(
        self, cases: CaseIndex, case: int, scales: list[int], generator: np.random.Generator
    ) -> tuple[tuple[int, int, int], float]:
        """A place around which the crops of these scales fit."""
        shape, size = cases.shapes[case], np.array(self._size)
        widest = np.array(margins(SCALES[scales[-1]], self._size, self._num_axes))
        first_voxels = widest + draw_first_voxels((shape - 2 * widest).tolist(), self._size, generator)
        shares = []
        for scale in scales:
            margin = np.array(margins(SCALES[scale], self._size, self._num_axes))
            crop = (size + 2 * margin).tolist()
            shares.append(foreground_inside(cases.foreground[case], shape.tolist(), first_voxels - margin, crop))
        fullest = np.min(shares, axis=0)
        chosen = choose(fullest, self.max_background_share)
        z, y, x = first_voxels[chosen].tolist()
        return (z, y, x), float(fullest[chosen])

    def __getitem__(self, index: int) -> Patch:
        """Read patch number `index`, any non-negative integer.

        Returns:
            Patch (channels, *patch_size) float32; the box inside it that is no padding, (spatial axes, 2) int64; and
            its labels: ``source``, and ``scale``, the number of its scale or `NO_LABEL`.
        """
        place = self.locate(index)
        voxels, inside = self.read(place)
        return voxels, inside, {"source": place.source, "scale": place.label}

    def read(self, place: ScaledPlace) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the patch at a place: voxels and what of them is no padding, as `__getitem__`."""
        cases = self.indices[place.source]
        file, shape = cases.file(place.case), cases.shapes[place.case].tolist()
        if place.scale == 0 and place.sharpness is None:
            patch, inside = read_crop(file, shape, place.first_voxel, self._size)
        else:
            scale, sharpness = SCALES[place.scale], place.sharpness
            step = [1.0] * (3 - self._num_axes) + [scale] * self._num_axes
            start = [
                first - side * (cell - 1) / 2
                for first, side, cell in zip(place.first_voxel, self._size, step, strict=True)
            ]
            coarsening = None if sharpness is None else sharpness.coarsen(self._size, scale, self._num_axes)
            patch, inside = read_resized(file, shape, start, step, self._size, coarsening=coarsening)
        return patch.reshape(-1, *self.patch_size), as_tensor(inside, self._num_axes)
