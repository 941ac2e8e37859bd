"""The commands of the demonstration, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.demo import settings
from nnunet_genesis.demo.commands import Command

if TYPE_CHECKING:
    from pathlib import Path

TRAINERS = {"pretrained": settings.PRETRAINED_TRAINER, "scratch": settings.SCRATCH_TRAINER}
_TRAINING_REASONS = {
    "pretrained": "Train the segmentation; the trainer finds the pretrained encoder by itself.",
    "scratch": "Train the control: the same schedule with nothing loaded.",
}
# One process loads and trains: on two cores a loader process would only take turns with the training.
_ALONE = {"nnUNet_n_proc_DA": "0"}


def demo_commands(data: Path, seed: int) -> list[Command]:
    """Return the commands of the demonstration.

    Args:
        data: Folder that holds ``nnUNet_raw``, ``nnUNet_preprocessed`` and ``nnUNet_results``.
        seed: Seed of the pretraining.
    """
    commands = [
        Command(
            "plan",
            "nnU-Net checks the data set, measures it and plans a network for it.",
            _words("nnUNetv2_plan_and_preprocess -d {id} -c {c} --no_pp --verify_dataset_integrity -npfp 2"),
        ),
        Command(
            "preprocess",
            "nnU-Net resamples and normalises the labelled scans as the small plan says.",
            _words("nnUNetv2_preprocess -d {id} -plans_name {p} -c {c} -np 2"),
        ),
        Command(
            "pool",
            "The same for the scans without labels: they become a pool. Scans that equal validation cases stay out.",
            _words(
                "genesis preprocess-unlabeled -d {id} -c {c} -p {p} -i {archive} --name {pool} -np 2"
                " --exclude-fold {fold}",
                archive=archive_folder(data),
                pool=settings.POOL,
            ),
        ),
        Command(
            "pretrain",
            "Pretrain the plan's network without labels: it learns to restore distorted patches."
            f" The validation cases of fold {settings.FOLD} stay out.",
            _words(
                "genesis-pretrain-nnunet {dataset} -c {c} -p {p} --pools {pool} -device cpu --epochs {epochs}"
                " --iterations-per-epoch {iterations} -np 1 --exclude-fold {fold} --seed {seed}",
                pool=settings.POOL,
                epochs=settings.PRETRAINING_EPOCHS,
                iterations=settings.PRETRAINING_ITERATIONS,
                seed=seed,
            ),
        ),
    ]
    for network, trainer in TRAINERS.items():
        words = _words("nnUNetv2_train {id} {c} {fold} -p {p} -device cpu -tr {trainer}", trainer=trainer)
        commands.append(Command(f"train_{network}", _TRAINING_REASONS[network], words, _ALONE))
    for network, trainer in TRAINERS.items():
        commands += _test_commands(data, network, trainer)
    return commands


def describe_edits(data: Path) -> str:
    """Say, as comments of a shell, which files the demonstration writes between planning and preprocessing."""
    folder = data / "nnUNet_preprocessed" / settings.DATASET
    patch, features = " x ".join(map(str, settings.PATCH)), ", ".join(map(str, settings.FEATURES))
    return (
        "# Edit the plan for a quick run on the CPU (for your own data keep nnU-Net's); say which cases are labelled.\n"
        f"#   {folder / settings.PLANS}.json: patch {patch}, batch {settings.BATCH}, features {features}\n"
        f"#   {folder / 'splits_final.json'}: one fold,"
        f" {settings.TRAINING} labelled cases to train, {settings.VALIDATION} to validate"
    )


def archive_folder(data: Path) -> Path:
    """Folder of the scans without labels."""
    return data / "archive"


def predictions_folder(data: Path, network: str) -> Path:
    """Folder for the segmentations of the test scans by one network."""
    return data / "predictions" / network


def _test_commands(data: Path, network: str, trainer: str) -> list[Command]:
    raw, predictions = data / "nnUNet_raw" / settings.DATASET, predictions_folder(data, network)
    return [
        Command(
            f"predict_{network}",
            f"Segment the {settings.COUNTS['test']} test scans with the {network} network"
            " (--disable_tta saves time: no mirroring).",
            _words(
                "nnUNetv2_predict -i {images} -o {predictions} -d {id} -c {c} -p {p} -f {fold} -tr {trainer}"
                " -device cpu -npp 1 -nps 1 --disable_tta",
                images=raw / "imagesTs",
                predictions=predictions,
                trainer=trainer,
            ),
        ),
        Command(
            f"evaluate_{network}",
            f"Compare the segmentations of the {network} network with the truth.",
            _words(
                "nnUNetv2_evaluate_folder {labels} {predictions} -djfile {dataset_json} -pfile {plans_json} -np 1",
                labels=raw / "labelsTs",
                predictions=predictions,
                dataset_json=predictions / "dataset.json",
                plans_json=predictions / "plans.json",
            ),
        ),
    ]


def _words(template: str, **values: object) -> tuple[str, ...]:
    """Fill in a command; a value stays one word whatever it contains."""
    everywhere = {
        "id": settings.DATASET_ID,
        "dataset": settings.DATASET,
        "c": settings.CONFIGURATION,
        "p": settings.PLANS,
        "fold": settings.FOLD,
    }
    return tuple(word.format(**everywhere, **values) for word in template.split())
