"""What stops a benchmark, and how it goes on."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.benchmark import training
from nnunet_genesis.benchmark.collect import report_on
from nnunet_genesis.benchmark.execution import ExecutionOptions, execute, terminated_as_interrupted
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.scoring import fold_folder
from tests.benchmark.test_scoring import LABELS, RUN, make_run
from tests.benchmark.written import write_planned

if TYPE_CHECKING:
    from pathlib import Path

TRAINING = """#!{python}
import sys
from pathlib import Path
fold = Path({fold!r})
print(sys.argv[-1], (fold / "validation" / "summary.json").exists())
(fold / "checkpoint_final.pth").write_bytes((fold / "whole").read_bytes())
(fold / "validation" / "summary.json.earlier").rename(fold / "validation" / "summary.json")
"""
NAMES = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_scheduler_and_a_closed_terminal_stop_it_like_the_keyboard(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # nohup may have it ignored
    try:
        with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up")
def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_as_interrupted():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_last_weights_that_were_damaged_after_they_were_evaluated_are_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut: nnU-Net's evaluation is whole, and so is an earlier checkpoint, but not the last one."""
    record, files, dataset = make_run(tmp_path, LABELS)
    record.runs[RUN.identifier] = RUN
    fold = fold_folder(RUN, record, files)
    final, whole = fold / "checkpoint_final.pth", fold / "whole"
    final.rename(whole)
    final.write_bytes(whole.read_bytes()[:700])
    files.write({"status": "failed", "problem": "the scores could not be made: RuntimeError: PytorchStreamReader"})
    command = tmp_path / "nnUNetv2_train"
    command.write_text(TRAINING.format(python=sys.executable, fold=str(fold)))
    command.chmod(0o755)
    monkeypatch.setattr(training, "find_command", lambda: str(command))
    planned = replace(write_planned(tmp_path / "planned", monkeypatch), dataset_folder=dataset)
    outcome = execute([RUN], record, tmp_path, planned, ExecutionOptions(retry_failed=True))
    assert (outcome.finished, outcome.failed) == ([RUN.identifier], [])
    assert report_on(tmp_path, RUN).state is State.FINISHED
    # It goes on from the whole checkpoint, and no evaluation of before is taken for its own.
    assert files.log_file.read_text().splitlines()[-1] == "--c False"
    assert (fold / "checkpoint_final.pth.damaged").stat().st_size == 700
