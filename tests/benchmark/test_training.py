"""What a training that ends leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.benchmark import training
from nnunet_genesis.benchmark.command import Command
from nnunet_genesis.benchmark.run_folder import RunFolder, try_lock
from nnunet_genesis.benchmark.training import TrainingError, train

if TYPE_CHECKING:
    from pathlib import Path

TRAINING = """#!{python}
import os, signal, time
print(os.getpid(), flush=True)
if os.fork() == 0:  # a loader process
    time.sleep(600)
    os._exit(0)
{end}
"""


@pytest.mark.parametrize("is_killed", [True, False])
def test_no_loader_process_outlives_its_training_and_keeps_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    # As the system does when memory runs out.
    end = "os.kill(os.getpid(), signal.SIGKILL)" if is_killed else "os._exit(0)"
    command = tmp_path / "nnUNetv2_train"
    command.write_text(TRAINING.format(python=sys.executable, end=end))
    command.chmod(0o755)
    monkeypatch.setattr(training, "find_command", lambda: str(command))
    files = RunFolder(tmp_path / "run")
    failure = pytest.raises(TrainingError, match="ended with code -9") if is_killed else nullcontext()
    with try_lock(files.folder) as lock, failure:
        assert lock is not None
        train(
            Command(("nnUNetv2_train",), {}), files, user_results=tmp_path / "results", lock=lock, tick=lambda _: None
        )
    try:
        assert is_free_soon(files)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(int(files.log_file.read_text().split()[-1]), signal.SIGKILL)


def is_free_soon(files: RunFolder) -> bool:
    """Whether the lock is free once the system had time to end what was killed."""
    for _ in range(100):
        with try_lock(files.folder) as lock:
            if lock is not None:
                return True
        time.sleep(0.1)
    return False
