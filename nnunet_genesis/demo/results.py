"""What the demonstration measured: Dice of both networks, read from nnU-Net's files, and a verdict in words."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.demo.dataset import FILE_ENDING, LABELS
from nnunet_genesis.errors import GenesisError

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = {name: label for name, label in LABELS.items() if label > 0}
LEVEL = 0.01
CAUTION = (
    "One run with one seed on {cases} synthetic test scans proves nothing about pretraining; "
    "it shows that the whole way works."
)


@dataclass(frozen=True)
class Comparison:
    """Dice of one class on the test scans.

    Attributes:
        name: The class, or "mean of both".
        pretrained: Mean over the test scans of the network that started from pretraining.
        scratch: The same of the control.
        lowest: Smallest difference (pretrained minus scratch) among the scans.
        highest: Largest difference among the scans.
        cases: Number of scans.
    """

    name: str
    pretrained: float
    scratch: float
    lowest: float
    highest: float
    cases: int

    @property
    def difference(self) -> float:
        """Mean difference, pretrained minus scratch."""
        return self.pretrained - self.scratch


def read_dice(summary: Path) -> dict[str, dict[str, float]]:
    """Read the Dice of each class of each case from nnU-Net's ``summary.json``.

    Raises:
        GenesisError: If a Dice is not a number, which nnU-Net writes for a class that is in neither segmentation.
    """
    dice = {}
    for entry in json.loads(summary.read_text())["metric_per_case"]:
        case = entry["prediction_file"].replace("\\", "/").rsplit("/", 1)[-1].removesuffix(FILE_ENDING)
        dice[case] = {name: float(entry["metrics"][str(label)]["Dice"]) for name, label in CLASSES.items()}
        if any(math.isnan(value) for value in dice[case].values()):
            raise GenesisError(f"the Dice of test scan {case} is not a number: {dice[case]}", where=summary)
    return dice


def compare(pretrained: dict[str, dict[str, float]], scratch: dict[str, dict[str, float]]) -> list[Comparison]:
    """Compare both networks on the same cases: each class, then the mean of the classes."""
    if pretrained.keys() != scratch.keys() or not pretrained:
        raise GenesisError(
            f"the two networks were tested on different scans: {sorted(pretrained)} and {sorted(scratch)}"
        )

    def values(dice: dict[str, dict[str, float]], classes: list[str]) -> list[float]:
        return [_mean([dice[case][name] for name in classes]) for case in sorted(dice)]

    rows = {**{name: [name] for name in CLASSES}, "mean of both": list(CLASSES)}
    comparisons = []
    for row, classes in rows.items():
        ours, control = values(pretrained, classes), values(scratch, classes)
        differences = [one - other for one, other in zip(ours, control, strict=True)]
        comparisons.append(
            Comparison(row, _mean(ours), _mean(control), min(differences), max(differences), len(differences))
        )
    return comparisons


def verdict(comparison: Comparison) -> str:
    """Say in one sentence which network was better, and in a second one what that is worth."""
    numbers = (
        f"{comparison.name}: Dice {comparison.pretrained:.3f} pretrained, {comparison.scratch:.3f} from scratch, "
        f"difference {comparison.difference:+.3f}"
    )
    if abs(comparison.difference) < LEVEL:
        outcome = "the two networks were level"
    elif comparison.difference > 0:
        outcome = "the pretrained network was better"
    else:
        outcome = "the pretrained network was worse"
    return f"In this run {outcome} ({numbers}). {CAUTION.format(cases=comparison.cases)}"


def remarks(comparisons: list[Comparison]) -> list[str]:
    """Explain a Dice of nothing, lest it be taken for a property of the method."""
    found = []
    for entry in comparisons:
        values = {"pretrained": entry.pretrained, "scratch": entry.scratch}
        found += [
            f"The {network} network found nothing of the {entry.name}: after so few iterations this shows how late a"
            " class is learned, not how well it can be learned."
            for network, value in values.items()
            if value < LEVEL
        ]
    return found


def read_learning_curve(log: Path) -> dict[str, list[float]]:
    """Read nnU-Net's training log.

    Returns:
        One list with a value per epoch for ``train_loss``, ``val_loss`` and, named by class, nnU-Net's pseudo Dice on
        patches of the validation cases.
    """
    curve: dict[str, list[float]] = {name: [] for name in ("train_loss", "val_loss", *CLASSES)}
    for line in log.read_text(encoding="utf-8").splitlines():
        if match := re.search(r": (train_loss|val_loss) (\S+)", line):
            curve[match[1]].append(float(match[2]))
        elif match := re.search(r"Pseudo dice \[(.*)\]", line):
            numbers = re.sub(r"np\.float\d+", "", match[1]).replace("(", "").replace(")", "").split(",")
            for name, number in zip(CLASSES, numbers, strict=True):
                curve[name].append(float(number))
    return curve


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
