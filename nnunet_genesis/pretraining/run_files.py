"""The output folder of a run: what may be in it before, and what is written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import CheckpointError, GenesisError, SetupError
from nnunet_genesis.files import remove_parts
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn


RECORD_NAMES = ("progress.csv", "progress.png", "restorations.png")
"""What `Monitor` writes anew after an epoch."""
SAME_DATA = (
    "dataset", "plans", "configuration", "patch_size", "architecture", "cases", "validation_cases", "intensity_range",
    "pretext_settings",
)  # fmt: skip
"""Entries of the provenance that a continued run must share with its beginning."""


def check_output_folder(folder: Path, *, continue_run: bool, overwrite: bool) -> None:
    """Refuse to start over existing results.

    Raises:
        SetupError: If there are checkpoints and neither ``--c`` nor ``--overwrite`` was given, or both were.
    """
    if continue_run and overwrite:
        raise SetupError("--c and --overwrite contradict each other", mend="give one of them")
    if continue_run or overwrite:
        return
    for name, state, mend in (
        (checkpoint.FINAL_NAME, "a finished", "--overwrite to replace it, or --output for another folder"),
        (checkpoint.LATEST_NAME, "an unfinished", "--c to continue it, or --overwrite to replace it"),
        (checkpoint.BEST_NAME, "the best checkpoint of a", "--overwrite to replace it, or --output for another folder"),
    ):
        if (folder / name).exists():
            raise SetupError(f"there is {state} pretraining already", where=folder / name, mend=mend)


def remove_results(folder: Path) -> None:
    """Remove the checkpoints of an earlier run that ``--overwrite`` gives up.

    The best one goes first: whenever this is killed, what is left is an unfinished or a finished run.
    """
    for name in (checkpoint.BEST_NAME, checkpoint.LATEST_NAME, checkpoint.FINAL_NAME):
        (folder / name).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove parts of files that a process wrote when it was killed; no other process may write to the folder."""
    for name in (checkpoint.FINAL_NAME, checkpoint.LATEST_NAME, checkpoint.BEST_NAME, *RECORD_NAMES):
        remove_parts(folder / name)


def stored_config(folder: Path) -> dict[str, Any] | None:
    """Settings of the run in a folder, unfinished or finished; None where there is none or its file is damaged."""
    genesis = _stored(folder)
    return None if genesis is None else dict(genesis["config"])


def was_begun_by(folder: Path, torchrun_id: str) -> bool:
    """Whether the run in a folder was begun under a torchrun of this id; torchrun's "none" stands for no id."""
    return torchrun_id != "none" and (_stored(folder) or {}).get("torchrun_id") == torchrun_id


def _stored(folder: Path) -> dict[str, Any] | None:
    for name in (checkpoint.LATEST_NAME, checkpoint.FINAL_NAME):
        if (folder / name).exists():
            try:
                content = checkpoint.read(folder / name)
                config_of(content, folder / name)
            except CheckpointError:
                return None  # told in full where the file is needed
            genesis: dict[str, Any] = content["genesis"]
            return genesis
    return None


def config_of(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The settings that a checkpoint was made with.

    Raises:
        CheckpointError: If it does not tell them, as a converted one.
    """
    config = content["genesis"].get("config")
    if not isinstance(config, dict):
        raise CheckpointError(
            "the file does not tell the settings of its pretraining",
            where=file,
            mend="use a file that genesis-pretrain-nnunet wrote, or start anew with --output",
        )
    return config


def check_same_data(stored: Mapping[str, Any], now: Mapping[str, Any], file: Path) -> None:
    """Refuse to continue a run on other data or for another network.

    Args:
        stored: The ``genesis`` entry of the file to continue from.
        now: The same entry of the run that is about to start.
        file: For the message.

    Raises:
        SetupError: Naming what changed.
    """
    for name in SAME_DATA:
        if stored.get(name) != now[name]:
            difference = _first_difference(stored.get(name), now[name])
            raise SetupError(
                f"--c continues a run, and its {name.replace('_', ' ')} changed since{difference}",
                where=file,
                mend="restore the plans and the preprocessed cases as they were, or start anew with --output",
            )


def check_same_run(stored: Mapping[str, Any], config: PretrainingConfig, file: Path) -> None:
    """Refuse to continue a run under another configuration; a setting that is newer than the file had its default.

    Raises:
        SetupError: Listing every setting that differs.
    """
    try:
        wanted, before = config.as_dict(), PretrainingConfig.from_dict(stored).as_dict()
    except (GenesisError, TypeError, ValueError, AttributeError) as error:
        told = error.problem if isinstance(error, GenesisError) else f"{type(error).__name__}: {error}"
        mend = error.mend if isinstance(error, GenesisError) else None
        raise CheckpointError(
            f"the settings in the file cannot be used: {told[:300]}",
            where=file,
            mend=mend or "use another checkpoint of the same folder, or start anew with --output",
        ) from error
    differing = [
        f"    {name}: {before[name]!r} in the file, {wanted[name]!r} now"
        for name in wanted
        if before[name] != wanted[name]
    ]
    if differing:
        raise SetupError(
            "--c continues a run, and these settings differ from it:\n" + "\n".join(differing),
            where=file,
            mend="leave these flags out (stored settings are used), or start anew with --output",
        )


class RunFiles:
    """Writes the checkpoints of a run.

    Args:
        folder: Output folder.
        description: The constant part of the ``genesis`` entry.
        adaptation_plan: The ``nnssl_adaptation_plan`` entry.
    """

    def __init__(self, folder: Path, description: dict[str, Any], adaptation_plan: dict[str, Any]) -> None:
        self.folder, self.description, self.adaptation_plan = folder, description, adaptation_plan

    def write_latest(self, network: nn.Module, progress: Mapping[str, Any], training_state: Mapping[str, Any]) -> Path:
        """Write the file that ``--c`` continues from."""
        content = self._content(network, progress)
        content["training_state"] = dict(training_state)
        return self._write(checkpoint.LATEST_NAME, content)

    def write_best(self, network: nn.Module, progress: Mapping[str, Any]) -> Path:
        """Write the weights with the lowest validation loss so far."""
        return self._write(checkpoint.BEST_NAME, self._content(network, progress))

    def write_final(self, network: nn.Module, progress: Mapping[str, Any]) -> Path:
        """Write the result, and remove the file for continuing, as nnU-Net does."""
        file = self._write(checkpoint.FINAL_NAME, self._content(network, progress))
        (self.folder / checkpoint.LATEST_NAME).unlink(missing_ok=True)
        return file

    def _content(self, network: nn.Module, progress: Mapping[str, Any]) -> dict[str, Any]:
        weights = on_cpu(network.state_dict())
        return {
            "network_weights": weights,
            "genesis": {**self.description, **progress, checkpoint.CHECKSUM_KEY: weights_digest(weights)},
            "nnssl_adaptation_plan": self.adaptation_plan,
        }

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        file = self.folder / name
        checkpoint.write(file, content)
        return file


def _first_difference(stored: Any, now: Any) -> str:
    if not isinstance(stored, dict):
        return f": {stored} in the file, {now} now"
    names = sorted(name for name in {*stored, *now} if stored.get(name) != now.get(name))
    return f", the first difference is at {names[0]}"


def on_cpu(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors to the CPU; names that share a tensor go on sharing it, so that it is stored once."""
    copies: dict[tuple[int, torch.Size], torch.Tensor] = {}
    result = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in copies:
            copies[key] = tensor.detach().cpu()
        result[name] = copies[key]
    return result
