"""How many processes a run will have, known before any of them is started, and how many work beside it."""

from __future__ import annotations

import hashlib
import os
import socket
from datetime import timedelta
from pathlib import Path

from nnunet_genesis.errors import SetupError
from nnunet_genesis.machine import count_cores

LONGEST_WAIT = timedelta(hours=24)
"""So long processes may wait for one another: the first one reads all cases, and discovers classes, for all.
torch's own limits are 10 minutes (NCCL) and 30; that a process has died, `RankWatch` tells within a minute."""
TORCHRUN_ID_VARIABLE = "TORCHELASTIC_RUN_ID"
"""Set by torchrun, to the id of the run."""
TORCHRUN_WITHOUT_ID = "none"
"""What torchrun sets where it was given no ``--rdzv_id``: all such runs have it in common."""


def count_processes(num_devices: int) -> tuple[int, int]:
    """Processes per host and number of hosts: torchrun's where it started us, else `num_devices` on this host.

    Raises:
        SetupError: If `num_devices` is below 1.
    """
    if num_devices < 1:
        raise SetupError(f"-num_gpus {num_devices}: must be at least 1", mend="-num_gpus 1")
    if TORCHRUN_ID_VARIABLE not in os.environ:
        return num_devices, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def may_be_restarted() -> bool:
    """Whether torchrun may have started the run before (``--max-restarts``).

    Its count of restarts does not tell: on several hosts, it counts those alone that the own host's processes caused.
    """
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def torchrun_name() -> str | None:
    """What only one torchrun has, through all of its restarts; None without torchrun.

    Its id, or where it was given none a hash of the host and the folder for logs that it made up there. On several
    hosts these are several: then None, as all processes must come to the same answer.
    """
    name = os.environ.get(TORCHRUN_ID_VARIABLE)
    if name != TORCHRUN_WITHOUT_ID:
        return name
    # FOLDER/attempt_0/RANK/error.json; empty or missing where torchrun was told to keep no logs.
    above = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")).parents
    if len(above) < 4 or os.environ.get("WORLD_SIZE") != os.environ.get("LOCAL_WORLD_SIZE"):
        return None
    return hashlib.sha256(f"{socket.gethostname()}:{above[2]}".encode()).hexdigest()[:16]


def same_launcher() -> str:
    """Said with a command that must be started like this process was; empty where nothing started it."""
    return ", by the same launcher as before," if TORCHRUN_ID_VARIABLE in os.environ else ""


def is_first_process() -> bool:
    """Whether this process is the first of its run, by the environment that its launcher made.

    SLURM's variables do not count: several tasks of one job may be runs of their own. Nor does a RANK that is not
    torchrun's, as pods of Kubeflow have one.
    """
    variable = "RANK" if TORCHRUN_ID_VARIABLE in os.environ else "LOCAL_RANK"
    return os.environ.get(variable, "0") == "0"


def loader_workers(num_devices: int = 1) -> int:
    """Follow nnU-Net's variable for training, else leave one core to the main process, up to eight workers.

    Args:
        num_devices: Processes on this host that we start ourselves, and that share its cores.
    """
    # What other launchers start may have cores of its own, as SLURM's tasks do.
    cores = count_cores() // (1 if TORCHRUN_ID_VARIABLE in os.environ else max(1, num_devices))
    return _from_environment("nnUNet_n_proc_DA", least=0, otherwise=max(1, min(8, cores - 1)))


def preprocessing_workers() -> int:
    """Follow nnU-Net's variable for preprocessing, else one per core, up to eight: each may hold a whole scan."""
    return _from_environment("nnUNet_def_n_proc", least=1, otherwise=min(8, count_cores()))


def _from_environment(variable: str, *, least: int, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) >= least else otherwise
