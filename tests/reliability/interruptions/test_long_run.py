"""A long run takes no more memory, file handles, threads and shared memory at its end than at its beginning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.reliability.effort import Effort
    from tests.reliability.interruptions.conftest import Place
    from tests.reliability.interruptions.lives import Life

STEPS_PER_EPOCH = 25
SAMPLES = 40
MEGABYTES_THAT_ARE_NO_GROWTH = 8
"""Arenas of the allocator come and go; a batch kept per step, or a picture per epoch, is far more."""
HANDLES_OF_BATCHES_UNDER_WAY = 8
BYTES_PER_EPOCH = 2000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def sample(life: Life) -> dict[str, float]:
    """What the main process and its loader processes hold together."""
    children = Path(f"/proc/{life.pid}/task/{life.pid}/children").read_text().split()
    folders = [Path("/proc", process) for process in (str(life.pid), *children)]
    return {
        "step": life.steps[1],
        "processes": len(folders),
        "megabytes": sum(resident_megabytes(folder) for folder in folders),
        "handles": sum(len(list((folder / "fd").iterdir())) for folder in folders),
        "threads": sum(len(list((folder / "task").iterdir())) for folder in folders),
        "shared": len(names_in_shared_memory(life)),
    }


def resident_megabytes(folder: Path) -> float:
    """Memory of a process in RAM that is not a mapped file."""
    lines = (folder / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024


def names_in_shared_memory(life: Life) -> list[str]:
    """Files that the processes of a life have in /dev/shm, named by torch with their numbers."""
    return [file.name for file in Path("/dev/shm").glob(f"*{life.pid}*")]


def growth(samples: list[dict[str, float]], name: str) -> float:
    """How much a straight line through the samples rises from the first to the last."""
    steps = np.array([one["step"] for one in samples])
    slope, _ = np.polyfit(steps, [one[name] for one in samples], 1)
    return float(slope * (steps[-1] - steps[0]))


def test_a_long_run_stays_as_large_as_it_was(effort: Effort, place: Place) -> None:
    epochs = effort.times(8, 200)
    output = place.root / "long"
    life = place.start(
        output, "--epochs", str(epochs), "--iterations-per-epoch", str(STEPS_PER_EPOCH), "--save-every-epochs", "5",
        workers=2,
    )  # fmt: skip
    total = epochs * STEPS_PER_EPOCH
    warm = max(3 * STEPS_PER_EPOCH, total // 10)
    samples = []
    for step in np.linspace(warm, total - STEPS_PER_EPOCH, SAMPLES).astype(int).tolist():
        life.wait_for_step(step)
        samples.append(sample(life))
        if len(samples) == 1:
            names = {file.name for file in output.iterdir() if not file.name.startswith(".")}
    assert life.join() == 0, life.printed

    assert {one["processes"] for one in samples} == {3}
    assert len({one["threads"] for one in samples}) == 1, samples
    grown = {name: growth(samples, name) for name in ("megabytes", "handles", "shared")}
    assert grown["megabytes"] < MEGABYTES_THAT_ARE_NO_GROWTH, samples
    assert grown["handles"] < HANDLES_OF_BATCHES_UNDER_WAY, samples
    assert grown["shared"] < HANDLES_OF_BATCHES_UNDER_WAY, samples
    assert not names_in_shared_memory(life)

    left = {file.name for file in output.iterdir() if file.name != ".lock"}
    assert left == names - {"checkpoint_latest.pth"} | {"checkpoint_final.pth"}
    records = [*output.glob("pretraining_log_*.txt"), output / "progress.csv", *(output / "tensorboard").iterdir()]
    assert len(records) == 3
    written = {file.name.split("_")[0].split(".")[0]: file.stat().st_size for file in records}
    assert max(written.values()) < BYTES_PER_EPOCH * epochs, written
    effort.record(
        "long_run",
        {
            "steps": total,
            **{f"{name}_at_step_{samples[0]['step']}": samples[0][name] for name in ("megabytes", "handles")},
            "threads": samples[0]["threads"],
            **{f"{name}_grown": float(f"{value:.3g}") for name, value in grown.items()},
            **{f"bytes_per_epoch_{name}": round(size / epochs) for name, size in written.items()},
        },
    )
