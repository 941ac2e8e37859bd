"""The output folder of a run: what may be in it before, and what is written to it."""

from __future__ import annotations

import logging
import math
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import UPDATE, CheckpointError, SetupError, StorageError
from nnunet_genesis.files import remove_parts
from nnunet_genesis.storage import check_free_space
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")
WEIGHTS_ON_DISK = 7
"""Checkpoints while a run goes on, in weights: the latest with two moments, the same being written, the best."""
SECONDS_BETWEEN_COMPLAINTS = 600.0
SECONDS_TO_INSIST_WHEN_FINISHED = 300.0
SECONDS_TO_INSIST_WHEN_STOPPED = 10.0
"""Schedulers leave a job half a minute or so between SIGTERM and SIGKILL."""

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


def was_begun_by(folder: Path, torchrun: str | None) -> bool:
    """Whether the run in a folder was begun under a torchrun of this `processes.torchrun_name`."""
    return torchrun is not None and (_stored(folder) or {}).get("torchrun") == torchrun


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
        CheckpointError: If it does not tell them, as a converted one, or if they cannot be used.
    """
    config = content["genesis"].get("config")
    if not isinstance(config, dict):
        raise CheckpointError(
            "the file does not tell the settings of its pretraining",
            where=file,
            mend="use a file that genesis-pretrain-nnunet wrote, or start anew with --output",
        )
    try:
        PretrainingConfig.from_dict(config)
    except SetupError as error:
        raise CheckpointError(
            f"the settings in the file cannot be used: {error.problem}",
            where=file,
            mend="use another checkpoint of the same folder, or start anew with --output; if a later version wrote the"
            f" file, {UPDATE}",
        ) from error
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
    wanted, before = config.as_dict(), PretrainingConfig.from_dict(stored).as_dict()
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


def mending_command(planned: PlannedConfiguration, pools: Sequence[str]) -> str:
    """What makes damaged preprocessed cases anew, in words and commands."""
    own = f"nnUNetv2_preprocess -d {planned.dataset_name[7:10]} -p {planned.plans_name} -c {planned.configuration}"
    again = f"or, for cases of a pool, its genesis preprocess-unlabeled command ({planned.pools_folder}/POOL/pool.json)"
    return f"preprocess again: {own}" + (f", {again}" if pools else "")


class RunFiles:
    """Writes the checkpoints of a run, and bears a disk that is full or away for a while.

    Args:
        folder: Output folder.
        description: The constant part of the ``genesis`` entry.
        adaptation_plan: The ``nnssl_adaptation_plan`` entry.
    """

    def __init__(self, folder: Path, description: dict[str, Any], adaptation_plan: dict[str, Any]) -> None:
        self.folder, self.description, self.adaptation_plan = folder, description, adaptation_plan
        self._failing: dict[str, float] = {}
        """Names of files that could not be written the last time, and when this was told, on the monotonic clock."""
        self._best: dict[str, Any] | None = None
        """The best weights, as long as they could not be written."""

    def write_latest(
        self,
        network: nn.Module,
        progress: Mapping[str, Any],
        training_state: Mapping[str, Any],
        *,
        must: bool = False,
    ) -> bool:
        """Write the file that ``--c`` continues from.

        Args:
            network: Without heads.
            progress: See `_content`.
            training_state: What else continuing takes.
            must: Whether the run begins or ends here.

        Returns:
            Whether it is written. If not, that was told, and the file holds what it held.

        Raises:
            StorageError: If it cannot be written and must be.
        """
        content = {**self._content(network, progress), "training_state": dict(training_state)}
        written = self._try(checkpoint.LATEST_NAME, content)
        if must and not written:
            self._insist(checkpoint.LATEST_NAME, content, SECONDS_TO_INSIST_WHEN_STOPPED)
            written = True
        if written:
            self._retry_best()
        return written

    def write_best(self, network: nn.Module, progress: Mapping[str, Any]) -> None:
        """Write the weights with the lowest validation loss so far; where that fails, with the next save."""
        content = self._content(network, progress)
        # On a CPU the content holds the network's own tensors, which the next step changes.
        self._best = None if self._try(checkpoint.BEST_NAME, content) else deepcopy(content)

    def write_final(self, network: nn.Module, progress: Mapping[str, Any]) -> Path:
        """Write the result, and remove the file for continuing, as nnU-Net does.

        Raises:
            StorageError: If it cannot be written for minutes; the file for continuing is left.
        """
        file = self._insist(checkpoint.FINAL_NAME, self._content(network, progress), SECONDS_TO_INSIST_WHEN_FINISHED)
        (self.folder / checkpoint.LATEST_NAME).unlink(missing_ok=True)
        self._retry_best()
        return file

    def check_space(self, network: nn.Module) -> None:
        """Make sure that there is room for the checkpoints of a run, its earlier ones counted as room.

        Raises:
            StorageError: If there is not.
        """
        weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        names = (checkpoint.LATEST_NAME, checkpoint.BEST_NAME)
        there = sum(file.stat().st_size for name in names if (file := self.folder / name).exists())
        check_free_space(self.folder, max(0, WEIGHTS_ON_DISK * weights - there), "a run with this network")

    def _content(self, network: nn.Module, progress: Mapping[str, Any]) -> dict[str, Any]:
        weights = on_cpu(network.state_dict())
        return {
            "network_weights": weights,
            "genesis": {**self.description, **progress, checkpoint.CHECKSUM_KEY: weights_digest(weights)},
            "nnssl_adaptation_plan": self.adaptation_plan,
        }

    def _retry_best(self) -> None:
        if self._best is not None and self._try(checkpoint.BEST_NAME, self._best):
            self._best = None

    def _try(self, name: str, content: dict[str, Any]) -> bool:
        now = time.monotonic()
        try:
            checkpoint.write(self.folder / name, content)
        except StorageError as error:
            if now - self._failing.get(name, -math.inf) > SECONDS_BETWEEN_COMPLAINTS:
                self._failing[name] = now
                LOGGER.error(
                    "%s could not be saved: %s\n  training goes on and tries again; %s", name, error, self._kept()
                )
            return False
        if self._failing.pop(name, None) is not None:
            LOGGER.warning("%s could be saved again", name)
        return True

    def _insist(self, name: str, content: dict[str, Any], seconds: float) -> Path:
        deadline = time.monotonic() + seconds
        while not self._try(name, content):
            if time.monotonic() > deadline:
                return self._give_up(name, content)
            time.sleep(seconds / 10)
        return self.folder / name

    def _give_up(self, name: str, content: dict[str, Any]) -> Path:
        """Try for the last time, and say what that comes to."""
        file = self.folder / name
        try:
            checkpoint.write(file, content)
        except StorageError as error:
            raise StorageError(
                f"{name} cannot be written: {error.problem}\n  {self._kept()}",
                where=error.where,
                mend=f"{error.mend or 'look at the folder'}; then go on with --c, which repeats the steps since",
            ) from error
        return file

    def _kept(self) -> str:
        latest = self.folder / checkpoint.LATEST_NAME
        try:
            exists = latest.exists()
        except OSError:
            exists = False
        return f"{latest.name} of the last good save is as it was" if exists else f"there is no {latest.name} (yet)"


def _first_difference(stored: Any, now: Any) -> str:
    if not isinstance(stored, dict):
        return f": {stored} in the file, {now} now"
    names = sorted(name for name in {*stored, *now} if stored.get(name) != now.get(name))
    return f", the first difference is at {names[0]}"


def on_cpu(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring tensors to the CPU; names that share a tensor go on sharing it, so that it is stored once.

    Returns:
        Copies, except of tensors that are there already: these are the network's own.
    """
    copies: dict[tuple[int, torch.Size], torch.Tensor] = {}
    result = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in copies:
            copies[key] = tensor.detach().cpu()
        result[name] = copies[key]
    return result
