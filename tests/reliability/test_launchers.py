"""Real launchers: -num_gpus, torchrun on one host and on two, SLURM's script; what dies ends the job or comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from tests.integration.workspace import SCRIPTS, Workspace, read_until
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.effort import Effort

pytestmark = pytest.mark.slow
SECONDS_TO_END = 60
"""What is promised of a job of which a process died."""
SECONDS_TO_FINISH = 900
"""Ends what hangs; busy machines take their time."""
SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "pretrain.slurm"
PRETRAIN = str(SCRIPTS / "genesis-pretrain-nnunet")
DATA = ("777", "-device", "cpu", "-np", "0", "--batch-size", "4", "--optimizer", "sgd")
SHORT = ("--epochs", "2", "--iterations-per-epoch", "3")
LONG = ("--epochs", "500", "--iterations-per-epoch", "20")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    write_dataset(tmp_path, smooth_cases(4, (8, 16, 16)), (4, 8, 8), monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Workspace(tmp_path)


JOBS: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_job_outlives_its_test() -> Iterator[None]:
    yield
    while JOBS:
        with suppress(ProcessLookupError):
            os.killpg(JOBS.pop().pid, signal.SIGKILL)


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a job in a process group of its own."""
    JOBS.append(
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    )
    return JOBS[-1]


def history(folder: Path) -> list[dict[str, float]]:
    entries: list[dict[str, float]] = checkpoint.read(folder / "checkpoint_final.pth")["genesis"]["history"]
    return entries


def same_losses(ours: Path, theirs: Path) -> float:
    """The largest difference between the losses of two runs, as a share."""
    pairs = [
        (one[name], other[name])
        for one, other in zip(history(ours), history(theirs), strict=True)
        for name in ("train_loss", "val_loss")
    ]
    return max((abs(one / other - 1) for one, other in pairs), default=float("inf"))


def children(process: int) -> list[int]:
    """Processes that a process started."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def workers(process: int) -> list[int]:
    """Ranks among them, in order: other helpers have no rank."""

    def rank(child: int) -> int:
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        named = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
        return int(named.get(b"RANK", named.get(b"LOCAL_RANK", b"-1")))

    return sorted((child for child in children(process) if rank(child) >= 0), key=rank)


def end_of(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What a job says until its end, and how long that takes; one that does not end within a minute fails."""
    start = time.monotonic()
    try:
        said, _ = process.communicate(timeout=SECONDS_TO_END)
    except subprocess.TimeoutExpired as hanging:
        pytest.fail(f"still there after {SECONDS_TO_END} s; it said: {hanging.stdout!r}")
    return said, time.monotonic() - start


def test_a_killed_rank_of_num_gpus_is_named_with_its_signal(workspace: Workspace, effort: Effort) -> None:
    output = workspace.root / "out"
    command = [PRETRAIN, *DATA, *LONG, "-num_gpus", "2", "--output", str(output)]
    process = start(command, workspace.environment())
    read_until(process, "epoch 1:")
    (rank_1,) = workers(process.pid)
    os.kill(rank_1, signal.SIGKILL)
    said, seconds = end_of(process)
    assert process.returncode == 1, said
    assert "rank 1: it was killed by signal 9 (Killed)" in said
    assert "Traceback" not in said
    effort.record("killed_rank_of_num_gpus", {"seconds to the end": round(seconds, 1)})


def test_killing_the_first_rank_leaves_no_other_behind(workspace: Workspace) -> None:
    output = workspace.root / "out"
    command = [PRETRAIN, *DATA, *LONG, "-num_gpus", "2", "--output", str(output)]
    process = start(command, workspace.environment())
    read_until(process, "epoch 1:")
    process.kill()
    said, _ = end_of(process)  # ends when rank 1 has closed the pipe, too
    assert "one of its processes did: rank 0" in said


def test_torchrun_restarts_from_the_checkpoint(workspace: Workspace, effort: Effort) -> None:
    output = workspace.root / "out"
    length = ("--epochs", "12", "--iterations-per-epoch", "10", "--save-every-epochs", "1")
    launch = [str(SCRIPTS / "torchrun"), "--standalone", "--nproc_per_node", "2", "--max-restarts", "1"]
    process = start([*launch, PRETRAIN, *DATA, *length, "--output", str(output)], workspace.environment())
    read_until(process, "epoch 3:")
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    killed = time.monotonic()
    read_until(process, "output: ")
    first = read_until(process, ": training")
    seconds = time.monotonic() - killed
    said, _ = process.communicate(timeout=SECONDS_TO_FINISH)
    assert process.returncode == 0, said
    assert "epoch 12:" in said
    assert "epoch 1:" not in first + said
    assert [entry["epoch"] for entry in history(output)] == list(range(12))
    effort.record(
        "torchrun_restart", {"killed after epoch": 3, "seconds to the end of a further epoch": round(seconds, 1)}
    )


WHO_STARTED_ME = """
import os, sys
from nnunet_genesis.pretraining.processes import torchrun_name
attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
print(attempt, os.environ["TORCHELASTIC_RUN_ID"], torchrun_name(), flush=True)
sys.exit(attempt == "0")
"""
"""A process that fails once."""


def test_restarted_processes_know_their_torchrun_from_others_without_an_id(tmp_path: Path) -> None:
    """All that were given no id have the same one; a restart took a finished run of yesterday for its own."""
    (tmp_path / "fails_once.py").write_text(WHO_STARTED_ME)
    names = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        where = ("--rdzv_backend", "c10d", "--rdzv_endpoint", endpoint, "--nproc_per_node", "1", "--max-restarts", "1")
        command = [str(SCRIPTS / "torchrun"), *where, str(tmp_path / "fails_once.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        first, second = (line.split() for line in done.stdout.splitlines())
        assert first[:2] == ["0", "none"]
        assert second == ["1", *first[1:]]
        names.append(first[2])
    assert names[0] != names[1]


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces that are joined by a cable: 10.77.0.1 and 10.77.0.2."""
    names = (f"genesis{os.getpid()}a", f"genesis{os.getpid()}b")
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    if shutil.which("ip") is None:
        pytest.skip("two hosts cannot be made here: there is no command ip (iproute2)")
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"two hosts cannot be made here: ip {' '.join(arguments)}: {done.stderr.strip()}")


def start_on(workspace: Workspace, host: str, number: int, *command: str) -> subprocess.Popen[str]:
    """One torchrun per host, with one process each."""
    launch = (
        SCRIPTS / "torchrun", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d",
        "--rdzv_id", "genesis",
        "--rdzv_endpoint", "10.77.0.1:29400", "--rdzv_conf", f"is_host={int(number == 1)}",
        "--local_addr", f"10.77.0.{number}",
    )  # fmt: skip
    return start(
        ["ip", "netns", "exec", host, *map(str, launch), PRETRAIN, *command],
        workspace.environment(GLOO_SOCKET_IFNAME="eth0"),
    )


def test_torchrun_on_two_hosts_takes_the_steps_of_one_process(workspace: Workspace, effort: Effort) -> None:
    one, two = workspace.root / "one", workspace.root / "two"
    workspace.run("genesis-pretrain-nnunet", *DATA, *SHORT, "--output", str(one))
    with two_hosts() as hosts:
        started = [
            start_on(workspace, host, number, *DATA, *SHORT, "--output", str(two))
            for number, host in enumerate(hosts, start=1)
        ]
        said = [process.communicate(timeout=SECONDS_TO_FINISH)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    difference = same_losses(two, one)
    assert difference < 1e-6
    effort.record("two_hosts", {"steps": 6, "largest difference": difference})


def test_a_host_that_vanishes_ends_the_job_on_the_other(workspace: Workspace, effort: Effort) -> None:
    """The cable is cut: nothing closes a connection, and no process ends."""
    command = (*DATA, *LONG, "--output", str(workspace.root / "out"))
    with two_hosts() as hosts:
        started = [start_on(workspace, host, number, *command) for number, host in enumerate(hosts, start=1)]
        read_until(started[0], "epoch 1:")  # ranks follow the addresses of the hosts
        _ip("-n", hosts[1], "link", "set", "eth0", "down")
        said, seconds = end_of(started[0])
    assert "is not heard of any more" in said
    effort.record("vanished_host", {"seconds to the end": round(seconds, 1)})


def test_the_script_for_slurm_saves_requeues_and_finishes(workspace: Workspace) -> None:
    """Its dry run: srun and scontrol stand in for SLURM's, with two tasks on this host."""
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    tools, output = workspace.root / "tools", workspace.root / "out"
    tools.mkdir()
    _write_tool(tools / "scontrol", 'if [ "$1" = show ]; then echo localhost; else echo "$@" >> "$SLURM_LOG"; fi')
    _write_tool(
        tools / "srun",
        "echo \"$SRUN_CPUS_PER_TASK cores per task\" >> \"$SLURM_LOG.srun\"\n"
        "pids=()\n"
        "for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank \"$@\" & pids+=($!); done\n"
        "trap 'kill -USR1 \"${pids[@]}\"' USR1\n"
        "worst=0\n"
        "for pid in \"${pids[@]}\"; do\n"
        "  while :; do wait \"$pid\"; code=$?; kill -0 \"$pid\" 2> /dev/null || break; done\n"
        "  [ \"$code\" -gt \"$worst\" ] && worst=$code\n"
        "done\n"
        "exit \"$worst\"",
    )  # fmt: skip
    slurm = {
        "PATH": f"{tools}:{SCRIPTS}:{os.environ['PATH']}",
        "SLURM_LOG": str(workspace.root / "slurm.log"),
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_CPUS_PER_TASK": "3",
    }
    arguments = (*DATA, "--epochs", "12", "--iterations-per-epoch", "10", "--output", str(output))
    environment = workspace.environment(**slurm)
    job = start(["bash", str(SCRIPT), *arguments], environment)
    read_until(job, "epoch 2:")
    (srun,) = (child for child in children(job.pid) if "srun" in Path(f"/proc/{child}/cmdline").read_text())
    os.kill(srun, signal.SIGUSR1)
    said, _ = job.communicate(timeout=SECONDS_TO_FINISH)
    assert job.returncode == 75, said
    assert (workspace.root / "slurm.log").read_text() == "requeue 77\n"
    assert (workspace.root / "slurm.log.srun").read_text() == "3 cores per task\n"
    again = start(["bash", str(SCRIPT), *arguments], environment)
    said, _ = again.communicate(timeout=SECONDS_TO_FINISH)
    assert again.returncode == 0, said
    assert [entry["epoch"] for entry in history(output)] == list(range(12))


def _write_tool(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(0o755)
