"""Cores that a process may use, told of a real process with fewer of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nnunet_genesis.machine import count_cores

COUNT = """
import os
from nnunet_genesis.machine import count_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(count_cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system gives processes no cores of their own")
def test_cores_of_a_job_count_not_those_of_its_machine() -> None:
    told = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True)
    assert told.stdout == "1\n"


@pytest.mark.parametrize(("told", "cores"), [(None, 1), (6, 6)])
def test_a_system_that_gives_no_cores_to_processes(
    monkeypatch: pytest.MonkeyPatch, told: int | None, cores: int
) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: told)
    assert count_cores() == cores
