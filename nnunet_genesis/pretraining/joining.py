"""Processes that torchrun started find one another, also after it has restarted them.

torchrun's agents keep one store for all starts of a job. What an earlier start left there, addresses of processes that
are dead, is what a later one reads first (https://github.com/pytorch/pytorch/issues/135712). So every start meets under
a word of its own: rank 0 makes it up, and all living processes repeat it.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import torch
from torch import distributed

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.processes import LONGEST_WAIT

MINUTES_TO_JOIN = 30
SECONDS_BETWEEN_LOOKS = 0.1


def join_processes(device: str) -> None:
    """Connect this process with the others, where torchrun's agents keep the store; else Fabric does."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    make = cast("Any", distributed)
    store = make.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(minutes=MINUTES_TO_JOIN),
    )
    word = agree_on_word(store, rank, world_size)
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    make.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=make.PrefixStore(word, store),
        rank=rank,
        world_size=world_size,
        timeout=LONGEST_WAIT,
    )


def agree_on_word(store: Any, rank: int, world_size: int) -> str:
    """A word that only the processes of this start know, whatever earlier ones left in the store.

    Args:
        store: Of torch, the same for all processes.
        rank: Of this process.
        world_size: Number of processes.

    Raises:
        SetupError: If not all of them come within `MINUTES_TO_JOIN`.
    """
    own, end = uuid4().hex, time.monotonic() + 60 * MINUTES_TO_JOIN
    if rank == 0:
        store.set("genesis/word", own)
        answers = {other: _wait_for_answer(store, other, own, end) for other in range(1, world_size)}
        for answer in answers.values():
            store.set(f"genesis/begin/{answer}", "yes")
        return own
    while True:
        _wait_a_moment(end, rank)
        if store.check(["genesis/word"]):
            word = str(store.get("genesis/word").decode())
            store.set(f"genesis/answer/{rank}", f"{word}/{own}")
            # Nobody but this start's rank 0 can have answered to a word that this process has just made up.
            if store.check([f"genesis/begin/{word}/{own}"]):
                return word


def _wait_for_answer(store: Any, rank: int, word: str, end: float) -> str:
    key = f"genesis/answer/{rank}"
    while True:
        _wait_a_moment(end, rank)
        if store.check([key]) and (answer := str(store.get(key).decode())).startswith(f"{word}/"):
            return answer


def _wait_a_moment(end: float, rank: int) -> None:
    if time.monotonic() > end:
        raise SetupError(
            f"rank {rank} and the others did not find one another within {MINUTES_TO_JOIN} minutes",
            mend="see what torchrun says on the other hosts, and whether they reach the host of rank 0",
        )
    time.sleep(SECONDS_BETWEEN_LOOKS)
