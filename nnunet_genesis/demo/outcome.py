"""Gather what the commands left behind into ``results.json``, the pictures and the report."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from nnunet_genesis import report_page as report
from nnunet_genesis.checkpoint import folder_name
from nnunet_genesis.demo import commands, figures, results, settings
from nnunet_genesis.demo.pipeline import TRAINERS, describe_edits, predictions_folder
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.machine import count_cores

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.demo.commands import Command


def write_outcome(
    output: Path, seed: int, steps: list[Command], variables: dict[str, str], seconds: dict[str, float]
) -> str:
    """Write pictures, ``results.json``, ``report.md`` and ``report.html``.

    Args:
        output: Folder of the demonstration.
        seed: Seed of the scans and of the pretraining.
        steps: The commands that were run.
        variables: The environment variables that they were run with.
        seconds: Time that each stage took.

    Returns:
        The verdict.
    """
    data = output / "data"
    dice = {network: results.read_dice(predictions_folder(data, network) / "summary.json") for network in TRAINERS}
    comparisons = results.compare(dice["pretrained"], dice["scratch"])
    verdict = results.verdict(comparisons[-1])
    curves = _write_pictures(output, dice)
    content = {
        "seed": seed,
        "verdict": verdict,
        "comparison": [{**asdict(entry), "difference": entry.difference} for entry in comparisons],
        "dice": dice,
        "learning_curves": curves,
        "seconds": seconds,
        "commands": [step.line() for step in steps],
        "machine": machine(),
    }
    (output / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    plan, *others = [f"\n# {step.why}\n{step.line()}" for step in steps]
    lines = [*commands.exports(variables), plan, f"\n{describe_edits(data)}", *others]
    blocks: list[report.Block] = [
        report.Heading("Demonstration of nnunet-genesis", level=1),
        report.Paragraph(verdict),
        _dice_table(comparisons),
        *(report.Paragraph(remark) for remark in results.remarks(comparisons)),
        report.Paragraph(_how(seed)),
        report.Picture("overlay.png", "The test slice with the largest tumour: truth and both segmentations."),
        report.Picture("learning_curves.png", "Both trainings: loss, and pseudo Dice on the validation cases."),
        report.Picture("restorations.png", "Pretraining: patches, distorted and restored."),
        report.Picture("pretraining.png", "Pretraining: restoration loss over the epochs."),
        report.Heading("The commands"),
        report.Code("\n".join(lines)),
        report.Heading("Time and machine"),
        _time_table(seconds),
        report.Paragraph(", ".join(f"{name} {value}" for name, value in machine().items())),
    ]
    report.write_markdown(output / "report.md", blocks)
    report.write_html(output / "report.html", blocks)
    return verdict


def machine() -> dict[str, str]:
    """Describe the computer and the packages."""
    packages = {name: version(name) for name in ("nnunet-genesis", "nnunetv2", "torch")}
    return {"cores": str(count_cores()), "system": platform.platform(), "Python": platform.python_version(), **packages}


def _how(seed: int) -> str:
    return (
        f"{settings.TRAINING} labelled scans trained both networks with the same schedule"
        f" ({settings.TRAINING_EPOCHS} epochs of {settings.TRAINING_ITERATIONS} iterations, far fewer than nnU-Net's"
        f" 1000 epochs of 250). Pretraining ({settings.PRETRAINING_EPOCHS} epochs of"
        f" {settings.PRETRAINING_ITERATIONS} iterations) saw these and {settings.COUNTS['unlabelled']} unlabelled"
        f" scans. The seed {seed} decides the scans and the pretraining; nnU-Net draws its own patches without a seed,"
        " so that another run gives somewhat other numbers."
    )


def _dice_table(comparisons: list[results.Comparison]) -> report.Table:
    """Return the Dice of both networks and their difference, a row per class."""
    head = ("Dice on the test scans", "pretrained", "from scratch", "difference", "per scan: lowest", "highest")
    rows = [
        (
            entry.name,
            f"{entry.pretrained:.3f}",
            f"{entry.scratch:.3f}",
            f"{entry.difference:+.3f}",
            f"{entry.lowest:+.3f}",
            f"{entry.highest:+.3f}",
        )
        for entry in comparisons
    ]
    return report.Table((head, *rows))


def _time_table(seconds: dict[str, float]) -> report.Table:
    """Return the time that each stage took."""
    rows = [(name, f"{value:.0f} s") for name, value in seconds.items()]
    return report.Table((("stage", "time"), *rows, ("together", f"{sum(seconds.values()) / 60:.1f} min")))


def _write_pictures(output: Path, dice: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Write the pictures; return the learning curves of both networks."""
    data = output / "data"
    raw, trained = data / "nnUNet_raw" / settings.DATASET, data / "nnUNet_results" / settings.DATASET
    chosen = f"{settings.PLANS}__{settings.CONFIGURATION}"
    pretraining = _only(trained, folder_name("*", settings.PLANS, settings.CONFIGURATION, settings.FOLD))
    shutil.copyfile(pretraining / "restorations.png", output / "restorations.png")
    shutil.copyfile(pretraining / "progress.png", output / "pretraining.png")
    curves = {}
    for network, trainer in TRAINERS.items():
        log = _only(trained / f"{trainer}__{chosen}" / f"fold_{settings.FOLD}", "training_log_*.txt")
        curves[network] = results.read_learning_curve(log)
    figures.draw_learning_curves(curves, output / "learning_curves.png")
    predictions = {network: predictions_folder(data, network) for network in TRAINERS}
    figures.draw_overlay(raw / "imagesTs", raw / "labelsTs", predictions, dice, output / "overlay.png")
    return curves


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise GenesisError(f"expected one {pattern} and found {len(found)}", where=folder)
    return found[0]
