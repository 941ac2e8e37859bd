"""Resizing, against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_genesis.pretraining.resampling import resample, resampling_weights


@pytest.mark.parametrize("length", [1, 7, 32, 100])
def test_resizing_is_that_of_torch_with_anti_aliasing(length: int) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, length, 50)).astype(np.float32))
    weights = [resampling_weights(0, side / new, new, range(side)) for side, new in ((1, 1), (length, 32), (50, 20))]
    expected = torch.nn.functional.interpolate(image[:, 0][None], (32, 20), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(resample(image, weights)[:, 0], expected, atol=1e-5, rtol=1e-4)
