"""What is written is UTF-8 whatever the locale, as names of classes, cases and pools may hold anything."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SCRIPT = r"""
    import locale, logging, sys
    from dataclasses import replace
    from pathlib import Path
    from types import SimpleNamespace
    from nnunet_genesis.benchmark.planning import write_test_cases
    from nnunet_genesis.benchmark.scores import CaseScore, RunKey, read_case_scores, write_case_scores
    from nnunet_genesis.pretraining.best_effort import LogFile
    from nnunet_genesis.pretraining.monitor import write_csv
    from tests.benchmark.test_run_folder import SETTINGS

    assert locale.getpreferredencoding(False) != "UTF-8"
    folder, case, undecodable = Path(sys.argv[1]), "fall_\xe4", "fall_\udce4"
    scores = [CaseScore(RunKey("scratch", 5, "standard", 0), case, case, "L\xe4sion", "dice", 0.5, True)]
    write_case_scores(scores, folder / "results.csv")
    assert read_case_scores(folder / "results.csv") == scores
    planned = SimpleNamespace(dataset_name="Dataset001_A", configuration="3d_fullres", plans_name="nnUNetPlans")
    write_test_cases(folder, replace(SETTINGS, test_cases=(case,)), planned)
    write_csv(folder / "progress.csv", [{"loss of \xe4": 1.0}])
    record = logging.LogRecord("a", logging.INFO, "", 0, f"{case} {undecodable}", None, None)
    LogFile(folder / "log.txt").emit(record)
    """


def test_tables_and_logs_are_utf8_in_any_locale(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        env={**os.environ, **ASCII},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    files = ("results.csv", "test_cases.txt", "progress.csv", "log.txt")
    texts = [(tmp_path / name).read_text(encoding="utf-8") for name in files]
    assert ["ä" in text for text in texts] == [True] * 4
    assert texts[-1].endswith("fall_ä fall_\\udce4\n")
