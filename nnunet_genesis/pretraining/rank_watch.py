"""A process of several that dies ends the others within a minute, and they say which one it was, and why.

Without this, processes wait in a collective for one that is no more: for a day, as the first process may have to
prepare for long while the others wait. Every process tells every second that it lives, over a store (torch's TCPStore)
that rank 0 keeps; one that fails leaves its reason there.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from torch import distributed

from nnunet_genesis.errors import GenesisError
from nnunet_genesis.pretraining.launching import (
    end_children,
    ended_child,
    lost_first_process,
    wait_for_children,
)

if TYPE_CHECKING:
    from types import TracebackType

    from lightning_fabric import Fabric
    from typing_extensions import Self

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_IN_SILENCE = 30
"""A process that was not heard of for so many looks is taken for dead: its host or its network is."""
LOOKS_AFTER_ERROR = 3
"""The same, once a collective has failed."""
SECONDS_FOR_REASON = 10.0
"""So long a process whose collective has failed waits to hear which one is dead."""
SECONDS_TO_HEAR = 3 * SECONDS_BETWEEN_LOOKS
SECONDS_TO_END = 8.0
"""So long the main thread may take to end in order, before the process is ended from beside it."""
FAILURE = "failure"
ENDED = "the run ended, as one of its processes did"
SILENT = "is not heard of any more: it was killed, or its host or its network is gone"
MEND = "what that process says of it, then the same command with --c"


class RankWatch:
    """Context in which a run is of several processes; to be entered before they start, and harmless with one.

    Raises:
        GenesisError: On leaving it by an error of a collective, with the rank that died and its reason.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._done = threading.Event()
        self._known = threading.Event()
        self._fabric: Fabric | None = None
        self._store: Any = None
        self._talker: threading.Thread | None = None
        self._contacts, self._patience = 0, LOOKS_IN_SILENCE

    def __enter__(self) -> Self:
        """Start to look after the processes that this one starts."""
        threading.Thread(target=self._watch, daemon=True, name="rank-watch").start()
        return self

    def connect(self, fabric: Fabric) -> None:
        """Start to look after all processes, once they are connected."""
        if fabric.world_size == 1:
            return
        host, port = os.environ["MASTER_ADDR"], 0
        timeout = timedelta(seconds=SECONDS_BETWEEN_LOOKS * LOOKS_IN_SILENCE)
        make_store = cast("Any", distributed).TCPStore
        if fabric.is_global_zero:
            self._store = make_store(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)
            port = self._store.port
        host, port = fabric.broadcast((host, port))
        if self._store is None:
            self._store = make_store(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
        self._fabric = fabric
        self._talker = threading.Thread(target=self._talk, args=(fabric, self._store), daemon=True, name="rank-talk")
        self._talker.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the others, or tell them why this process ends."""
        if error is None:
            if self._fabric is not None:
                self._fabric.barrier()
            self._done.set()
            if self._fabric is not None and self._talker is not None:
                # Nobody may still talk to the store when rank 0 takes it away.
                self._talker.join()
                self._fabric.barrier()
            wait_for_children()
            return
        fabric, known = self._fabric, False
        if fabric is not None:
            # Where a collective failed, the reason is in another process, and known in a moment.
            self._patience = LOOKS_AFTER_ERROR
            known = isinstance(error, RuntimeError) and self._known.wait(SECONDS_FOR_REASON)
            own = f"rank {fabric.global_rank} (host {socket.gethostname()}, process {os.getpid()})"
            self._tell(self.problem if known and self.problem else f"{own}: {type(error).__name__}: {error}")
            if fabric.is_global_zero:
                time.sleep(SECONDS_TO_HEAR)  # the store ends with this process
        self._done.set()
        end_children()
        if known:
            end = threading.Timer(SECONDS_TO_END, os._exit, (1,))  # NCCL may wait for the dead when Python ends
            end.daemon = True
            end.start()
            raise GenesisError(f"{ENDED}: {self.problem}", mend=MEND) from error

    def _watch(self) -> None:
        """End this process if another one died and the main thread does not notice."""
        contacts, silence = 0, 0
        while not self._done.wait(SECONDS_BETWEEN_LOOKS):
            silence = silence + 1 if self._contacts == contacts and self._store is not None else 0
            contacts = self._contacts
            if silence > LOOKS_IN_SILENCE:
                self._learn(f"rank 0 {SILENT}")
            elif child := ended_child():
                self._learn(f"rank {child[0]}: {child[1]}")
            elif lost_first_process():
                self._learn("rank 0 was killed")
            if self.problem is None:
                continue
            self._tell(self.problem)
            if not self._done.wait(SECONDS_TO_END):
                sys.stderr.write(f"error: {GenesisError(f'{ENDED}: {self.problem}', mend=MEND)}\n")
                sys.stderr.flush()
                end_children()
                os._exit(1)
            return

    def _talk(self, fabric: Fabric, store: Any) -> None:
        """Tell that this process lives, and hear of failures; rank 0 looks whether all others do."""
        beats = [0] * fabric.world_size
        silence = [0] * fabric.world_size
        try:
            while not self._done.wait(SECONDS_BETWEEN_LOOKS):
                store.add(f"beat/{fabric.global_rank}", 1)
                if store.check([FAILURE]):
                    self._learn(store.get(FAILURE).decode())
                self._contacts += 1
                for rank in range(fabric.world_size) if fabric.is_global_zero else ():
                    beat = store.add(f"beat/{rank}", 0)
                    silence[rank] = silence[rank] + 1 if beat == beats[rank] else 0
                    beats[rank] = beat
                    if silence[rank] > self._patience:
                        self._learn(f"rank {rank} {SILENT}")
        except RuntimeError:  # the connection is lost, and with it the process that kept the store
            self._learn(f"rank 0 {SILENT}")

    def _learn(self, problem: str) -> None:
        if self.problem is None and not self._done.is_set():
            self.problem = problem
            self._known.set()

    def _tell(self, problem: str) -> None:
        """Leave a reason for the others, if there is a way to them."""
        teller = threading.Thread(target=self._leave_reason, args=(problem,), daemon=True)
        teller.start()
        teller.join(SECONDS_TO_HEAR)

    def _leave_reason(self, problem: str) -> None:
        try:
            if self._store is not None and not self._store.check([FAILURE]):  # the first one counts
                self._store.set(FAILURE, problem)
        except RuntimeError:
            pass  # nobody is there to hear of it
