"""``genesis demo``: the whole way on synthetic scans, with the commands that a user types for real ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nnunet_genesis.demo import commands, dataset, settings
from nnunet_genesis.demo.console import Console
from nnunet_genesis.demo.outcome import write_outcome
from nnunet_genesis.demo.pipeline import archive_folder, demo_commands, describe_edits
from nnunet_genesis.errors import SetupError
from nnunet_genesis.folders import refuse_used_folder

if TYPE_CHECKING:
    from pathlib import Path

_INTRODUCTION = """\
A demonstration of nnunet-genesis on synthetic abdominal CT scans with liver and tumours.
Every command is printed before it is run; with your own data set in nnU-Net's format they are the same.

Only {labelled} of the {scans} scans are labelled. The other {unlabelled} stand for a hospital's archive and become
a pool: pretraining learns from them and from the labelled scans, but never from the validation cases; segmentation
training never sees an unlabelled one."""


def run_demo(output: Path, seed: int) -> None:
    """Make the scans, run the commands, and write the report.

    Args:
        output: Folder for data, logs and report; it must not exist, or be empty.
        seed: Seed of the scans and of the pretraining, in [0, 2**32).

    Raises:
        GenesisError: If the seed is another number, the folder is not empty or a command fails.
    """
    if not 0 <= seed < 1 << 32:
        raise SetupError(f"--seed {seed}: must be in [0, 2**32)", mend="genesis demo --seed 0")
    output = output.expanduser().resolve()
    refuse_used_folder(output, "the demonstration")
    data, logs = output / "data", output / "logs"
    for folder in (logs, *(data / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))):
        folder.mkdir(parents=True)
    variables = commands.environment(data)
    steps = demo_commands(data, seed)
    console = Console(settings.EXPECTED_SECONDS)
    try:
        console.say(_introduction())
        _make_scans(data, seed, console)
        console.say("\n".join(["\n# Tell nnU-Net where its folders are.", *commands.exports(variables)]))
        for step in steps:
            commands.run(step, variables, logs / f"{step.name}.log", console)
            if step.name == "plan":
                _shrink_plan(data, console)
        with console.stage("report"):
            verdict = write_outcome(output, seed, steps, variables, console.seconds)
    finally:
        console.close()
    sys.stdout.write(f"\n{verdict}\n\nReport: {output / 'report.html'}\n")


def _introduction() -> str:
    labelled, unlabelled = settings.COUNTS["labelled"], settings.COUNTS["unlabelled"]
    return _INTRODUCTION.format(scans=labelled + unlabelled, labelled=labelled, unlabelled=unlabelled)


def _make_scans(data: Path, seed: int, console: Console) -> None:
    folder = data / "nnUNet_raw" / settings.DATASET
    archive = archive_folder(data)
    console.say(
        f"\n# Make {sum(settings.COUNTS.values())} synthetic CT scans, in nnU-Net's raw format and as an archive:"
        f"\n#   {folder}\n#   {archive}"
    )
    with console.stage("scans"):
        dataset.write_scans(folder, archive, seed, settings.COUNTS, on_case=console.tick)


def _shrink_plan(data: Path, console: Console) -> None:
    folder = data / "nnUNet_preprocessed" / settings.DATASET
    dataset.write_demo_plan(folder / "nnUNetPlans.json", folder / f"{settings.PLANS}.json")
    dataset.write_splits(folder / "splits_final.json", settings.TRAINING, settings.VALIDATION)
    console.say(f"\n{describe_edits(data)}")
