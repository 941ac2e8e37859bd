"""Features of whole scans from an auto-encoder that is trained on their thumbnails.

It has no skip connections: all that the decoder knows of a scan goes through the bottleneck, and the feature of a scan
is the global average of that (authors: MSE and Adam with 1e-3; size and number of steps are ours).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from nnunet_genesis.pretraining.seeds import Stream, initial_weights, numpy_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

WIDTHS = (32, 64, 128)
BATCH_SIZE = 16
LEARNING_RATE = 1e-3
EPOCHS = 40
MIN_STEPS, MAX_STEPS = 200, 2000
"""Bounds of the training whatever the number of scans."""
_WEIGHTS, _BATCHES = 1, 2
"""Numbers of the generators in the stream of discovery."""


@dataclass(frozen=True)
class ReconstructionErrors:
    """Mean squared errors on held-out thumbnails, which have unit variance.

    Attributes:
        autoencoder: Of the trained auto-encoder.
        mean_image: Of the mean of the training thumbnails, the same for every scan: what nothing learned gives.
    """

    autoencoder: float
    mean_image: float


class AutoEncoder(nn.Module):
    """Patches of 4 x 4 x 4 voxels, two halvings to a bottleneck of 128 features at 2 x 2 x 2, and back.

    Args:
        channels: Image channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        fine, middle, deep = WIDTHS
        # No norms: one that takes out each feature's mean would leave nothing to tell scans by.
        self.encoder = nn.Sequential(
            nn.Conv3d(channels, fine, 4, stride=4),
            nn.LeakyReLU(),
            nn.Conv3d(fine, middle, 3, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.Conv3d(middle, deep, 3, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.Conv3d(deep, deep, 1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose3d(deep, middle, 2, stride=2),
            nn.LeakyReLU(),
            nn.Conv3d(middle, middle, 3, padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose3d(middle, fine, 2, stride=2),
            nn.LeakyReLU(),
            nn.Conv3d(fine, fine, 3, padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose3d(fine, channels, 4, stride=4),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Reconstruct thumbnails (batch, channels, 32, 32, 32)."""
        reconstructed: torch.Tensor = self.decoder(self.encoder(images))
        return reconstructed

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Global average of the bottleneck: (batch, 128)."""
        bottleneck: torch.Tensor = self.encoder(images)
        return bottleneck.mean(dim=(2, 3, 4))


def learn_features(
    thumbnails: npt.NDArray[np.float16], num_train: int, seed: int, *, show_progress: bool
) -> tuple[npt.NDArray[np.float32], ReconstructionErrors]:
    """Train an auto-encoder on the training scans, and compute the features of all scans.

    Args:
        thumbnails: (scans, channels, 32, 32, 32), training scans first, at least one held-out scan.
        num_train: Number of training scans.
        seed: The run's seed.
        show_progress: Whether to show bars.

    Returns:
        (scans, 128) features, and how well held-out scans are reconstructed.
    """
    with initial_weights(seed, Stream.DISCOVERY, _WEIGHTS):
        network = AutoEncoder(thumbnails.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    steps = min(MAX_STEPS, max(MIN_STEPS, EPOCHS * math.ceil(num_train / BATCH_SIZE)))
    batches = _draw_batches(num_train, numpy_generator(seed, Stream.DISCOVERY, _BATCHES))
    bar = tqdm(range(steps), desc="training the auto-encoder", unit="step", disable=not show_progress)
    for _, chosen in zip(bar, batches, strict=False):
        images = _load(thumbnails, chosen)
        loss = nn.functional.mse_loss(network(images), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    mean = sum(_load(thumbnails, part).sum(0) for part in _parts(0, num_train)) / num_train
    errors, mean_errors = [], []
    with torch.inference_mode():
        parts = tqdm(_parts(0, len(thumbnails)), desc="computing features", unit="batch", disable=not show_progress)
        features = [network.features(_load(thumbnails, part)) for part in parts]
        for part in _parts(num_train, len(thumbnails)):
            images = _load(thumbnails, part)
            errors += (network(images) - images).square().flatten(1).mean(1).tolist()
            mean_errors += (mean - images).square().flatten(1).mean(1).tolist()
    return torch.cat(features).numpy(), ReconstructionErrors(float(np.mean(errors)), float(np.mean(mean_errors)))


def _draw_batches(count: int, generator: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Go through all scans in a new order again and again."""
    while True:
        order = generator.permutation(count)
        for first in range(0, count, BATCH_SIZE):
            yield np.sort(order[first : first + BATCH_SIZE])


def _parts(first: int, stop: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(start, min(stop, start + 64)) for start in range(first, stop, 64)]


def _load(thumbnails: npt.NDArray[np.float16], chosen: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(thumbnails[chosen].astype(np.float32))
