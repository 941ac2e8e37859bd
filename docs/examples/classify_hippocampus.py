"""Classify hippocampus patches (anterior-rich or posterior-rich) on a pretrained encoder and on one from scratch.

usage: python classify_hippocampus.py CHECKPOINT PREPROCESSED_CASES
e.g.   python classify_hippocampus.py checkpoint_final.pth \
           $nnUNet_preprocessed/Dataset004_Hippocampus/nnUNetPlans_3d_fullres

In MSD Task04 the scans 2k-1 and 2k are the two sides of one person. Persons are split, not scans, and a person of whom
pretraining saw any scan is never tested on.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch import nn
from torch.nn import functional

from nnunet_genesis import checkpoint, load_encoder
from nnunet_genesis.hub import resolve

SIDE = 24  # voxels
ANTERIOR, POSTERIOR = 1, 2  # labels of the data set
NUM_TRAINING_PERSONS = 8
STEPS, BATCH = 80, 8
SEEDS = (0, 1, 2)


class Classifier(nn.Module):
    """Two deepest feature maps, averaged to 2 x 2 x 2, and one linear layer."""

    def __init__(self, encoder: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(8 * sum(channels[-2:]), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, 24, 24, 24) patches to (batch, 2) scores."""
        pooled = [functional.adaptive_avg_pool3d(features, 2).flatten(1) for features in self.encoder(x)[-2:]]
        scores: torch.Tensor = self.head(torch.cat(pooled, 1))
        return scores


def person_of(case: str) -> int:
    """hippocampus_003 and hippocampus_004 are of person 2."""
    return math.ceil(int(case.rsplit("_", 1)[1]) / 2)


def draw_patches(folder: Path, cases: list[str], per_class: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw two anterior-rich and two posterior-rich crops of every scan (fewer where there are none), always the same.

    Rich means: at least 90 % of the hippocampus in the crop is of this part, and it fills 2 % of the crop.
    """
    images, labels = [], []
    dataset = nnUNetDatasetBlosc2(str(folder), cases)
    for case in cases:
        data, segmentation, _, _ = dataset.load_case(case)
        image, parts = np.asarray(data[0]), np.asarray(segmentation[0])
        rng = np.random.default_rng(int(case.rsplit("_", 1)[1]))
        wanted = {0: per_class, 1: per_class}
        for _ in range(1000):
            start = [int(rng.integers(0, max(1, size - SIDE + 1))) for size in image.shape]
            crop = tuple(slice(first, first + SIDE) for first in start)
            anterior, posterior = (np.count_nonzero(parts[crop] == part) for part in (ANTERIOR, POSTERIOR))
            label = int(posterior > anterior)
            rich = max(anterior, posterior) > max(0.9 * (anterior + posterior), 0.02 * SIDE**3)
            if min(image.shape) >= SIDE and rich and wanted[label]:
                wanted[label] -= 1
                images.append(image[crop])
                labels.append(label)
    return torch.tensor(np.stack(images))[:, None].float(), torch.tensor(labels)


def accuracy_after_training(
    classifier: Classifier, train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor], seed: int
) -> float:
    """Train with AdamW, the rate falling to zero, and return the share of test patches that are right."""
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        chosen = torch.randint(len(train[0]), (BATCH,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(classifier(train[0][chosen]), train[1][chosen]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        right = [classifier(test[0][i : i + 32]).argmax(1) == test[1][i : i + 32] for i in range(0, len(test[0]), 32)]
    return float(torch.cat(right).float().mean())


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Train the four kinds of classifiers with three seeds each and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("cases", type=Path)
    options = parser.parse_args()

    genesis = checkpoint.read(resolve(options.checkpoint))["genesis"]
    seen = {person_of(case) for case in (*genesis["cases"], *genesis["validation_cases"])}
    cases = [case for case in nnUNetDatasetBlosc2.get_identifiers(str(options.cases)) if case.startswith("hippocampus")]
    test_cases = [case for case in cases if person_of(case) not in seen]
    test = draw_patches(options.cases, test_cases)
    others = sorted(seen & {person_of(case) for case in cases})
    shared = {person_of(case) for case in test_cases} & set(others)
    say(f"test: {len(test[0])} patches of {len(test_cases)} scans; persons also learned from: {len(shared)}\n")
    say(f"| accuracy | {' | '.join(f'seed {seed}' for seed in SEEDS)} | mean |")
    say("|---|" + "---|" * (len(SEEDS) + 1))
    for frozen in (True, False):
        for pretrained in (True, False):
            row = []
            for seed in SEEDS:
                persons = np.random.default_rng(seed).choice(others, NUM_TRAINING_PERSONS, replace=False)
                train = draw_patches(options.cases, [case for case in cases if person_of(case) in persons])
                torch.manual_seed(seed)
                encoder = load_encoder(options.checkpoint)
                if not pretrained:
                    encoder.apply(InitWeights_He(1e-2))  # as nnU-Net begins
                encoder.requires_grad_(not frozen)
                row.append(accuracy_after_training(Classifier(encoder, encoder.channels), train, test, seed))
            name = f"{'pretrained' if pretrained else 'scratch'}, {'only the head learns' if frozen else 'all learns'}"
            say(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} | {np.mean(row):.3f} |")


if __name__ == "__main__":
    main()
