"""No file makes a reader crash, hang, run code, write elsewhere or take the machine's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.reliability.effort import Effort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, forks, and limits memory")
ROOT = Path(__file__).parents[2]


def fuzz(folder: Path, *arguments: str | int) -> dict[str, Any]:
    """Read files by all readers in a process of its own, without a terminal or credentials to lose."""
    environment = {**os.environ, "HOME": str(folder), "MPLCONFIGDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.reliability.fuzzing", str(folder / "work"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_no_file_harms_its_reader(tmp_path: Path, effort: Effort) -> None:
    files = effort.times(8, 1000)
    told = fuzz(tmp_path, "--runs", files, "--seed", 0)
    wrong = {name: one["wrong"] for name, one in told.items() if one["wrong"]}
    assert not wrong, json.dumps(wrong, indent=1)
    assert len(told) > 30
    assert all(one["files"] > files for one in told.values())
    assert all(one.get("accepted", 0) > 0 for one in told.values()), "every reader reads good files"
    slowest = max(told, key=lambda name: told[name]["slowest_seconds"])
    hungriest = max(told, key=lambda name: told[name]["memory_mb"])
    effort.record(
        "hostile_files",
        {
            "readers": len(told),
            "files": sum(one["files"] for one in told.values()),
            "refused in words": sum(one.get("refused", 0) for one in told.values()),
            "accepted": sum(one.get("accepted", 0) for one in told.values()),
            "crashes of readers, in workers that may die": sum(one.get("crashed", 0) for one in told.values()),
            "hung readers, in workers that are ended": sum(one.get("hung", 0) for one in told.values()),
            "findings": 0,
            "slowest file, seconds": f"{told[slowest]['slowest_seconds']} ({slowest})",
            "most memory for a file, MB": f"{told[hungriest]['memory_mb']} ({hungriest})",
        },
    )


HARMFUL = """
import os, subprocess, sys, time
from pathlib import Path
import tests.reliability.fuzzing.__main__ as fuzzing
from nnunet_genesis.errors import DataError
from tests.reliability.fuzzing.reader import Reader

def make(folder):
    (folder / "file").write_bytes(b"good")
    return [folder / "file"]

def harm(kind):
    def read(folder, file):
        if file.read_bytes() == b"good":
            return
        if kind == "dies":
            os.abort()
        if kind == "runs":
            subprocess.run(["true"])
        if kind == "writes":
            (folder.parent.parent / "outside").write_text("x")
        if kind == "raises":
            raise KeyError("a")
        if kind == "says little":
            raise DataError("bad")
        if kind == "changes":
            file.write_bytes(b"other")
        if kind == "fills":
            bytearray(2 << 30)
        if kind == "sleeps":
            time.sleep(60)
    return read

kinds = ["dies", "runs", "writes", "raises", "says little", "changes", "fills", "sleeps", "nothing"]
fuzzing.READERS = tuple(Reader(kind, make, harm(kind), lambda content, random: b"bad") for kind in kinds)
import tests.reliability.fuzzing.batch as batch
batch.SECONDS_PER_FILE = 1.0
fuzzing.main()
"""


@pytest.mark.slow
def test_every_kind_of_harm_is_seen(tmp_path: Path) -> None:
    """What the test above would not notice, it could not promise."""
    command = [sys.executable, "-c", HARMFUL, str(tmp_path / "work"), "--runs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    seen = {name: " ".join(one["wrong"]) for name, one in told.items()}
    expected = {
        "dies": "SIGABRT", "runs": "runs or connects", "writes": "writes outside", "raises": "KeyError",
        "says little": "no word on where", "changes": "the file was changed", "fills": "MemoryError", "sleeps": "hung",
    }  # fmt: skip
    for name, words in expected.items():
        assert words in seen[name], seen
    assert not seen["nothing"]
