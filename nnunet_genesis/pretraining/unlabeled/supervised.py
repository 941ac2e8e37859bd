"""Run a function on many items in processes that may crash or hang without taking the rest with them.

Readers of images are C++ that meets damaged files: a segmentation fault or an endless loop ends one item, not the run.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import threading
from collections import deque
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.unlabeled.threads import single_threaded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

Item = TypeVar("Item")
Value = TypeVar("Value")

ITEMS_PER_WORKER = 2
"""Items in flight per worker: one that it works at, one that waits."""
ITEMS_AHEAD = 64
"""Items per worker that may wait, done or not, for a slow one before them."""
MAX_STARTS = 4
"""Pools that may break one after the other, without any result between them, before the run gives up."""


class WorkerCrashed(GenesisError):
    """The process that worked at an item died."""


class WorkerTimedOut(GenesisError):
    """The process that worked at an item took too long and was ended."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of an item.

    Attributes:
        item: The item.
        value: What the function returned, None where it failed.
        error: What the function raised, `WorkerCrashed` or `WorkerTimedOut`; None where it did not fail.
    """

    item: Item
    value: Value | None
    error: Exception | None


def run_supervised(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    workers: int,
    seconds: float,
    initializer: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Generator[Outcome[Item, Value], None, None]:
    """Call a function on every item, in worker processes of one thread each.

    Results come in the order of the items, whichever is done first, so that what follows from them does not depend on
    timing. Behind a slow item the workers go on with later ones, up to `ITEMS_AHEAD` per worker; these results are held
    back until it is done, and a run that is killed loses them. Leaving the loop early, by an exception or Ctrl-C, ends
    the workers at once.

    Args:
        function: Module-level function. It may raise, crash or hang.
        items: Items, taken as they are needed; pickled.
        workers: Number of processes, at least 1.
        seconds: Most that one item may take.
        initializer: Called once in every new process.
        arguments: Its arguments.

    Yields:
        One outcome per item.

    Raises:
        SetupError: If no worker process can be started.
    """
    source = iter(items)
    waiting: deque[tuple[Item, Any]] = deque()
    something_ended = threading.Event()  # concurrent.futures.wait would miss futures that a broken pool cancels
    starts = 1
    with single_threaded():
        pool = _start(function, workers, initializer, arguments)
        try:
            while True:
                something_ended.clear()
                busy = sum(future is None or not future.done() for _, future in waiting)
                room = min(ITEMS_PER_WORKER * workers - busy, ITEMS_AHEAD * workers - len(waiting))
                waiting.extend((item, None) for item in islice(source, max(0, room)))
                if not waiting:
                    return
                try:
                    for number, (item, future) in enumerate(waiting):
                        if future is None:
                            scheduled = pool.schedule(_call, args=(function, item), timeout=seconds)
                            scheduled.add_done_callback(lambda _: something_ended.set())
                            waiting[number] = item, scheduled
                    if not waiting[0][1].done():
                        # A pool whose workers cannot start may break before it has seen an item, whose future then
                        # never ends.
                        if not something_ended.wait(1) and not pool.active and not waiting[0][1].done():
                            raise RuntimeError("the pool of workers broke")
                        continue
                    outcome = _wait_for(*waiting[0], seconds=seconds)
                except RuntimeError as error:  # BrokenProcessPool is one
                    # Workers died before any of them said what it works at: all that is not done is begun again.
                    _end(pool)
                    starts += 1
                    if starts > MAX_STARTS:
                        raise SetupError(
                            f"the worker processes end as soon as they are started ({error})",
                            mend='look at what python -c "import nnunetv2, SimpleITK, blosc2" says',
                        ) from error
                    pool = _start(function, workers, initializer, arguments)
                    for number, (item, future) in enumerate(waiting):
                        waiting[number] = item, future if _succeeded(future) else None
                    continue
                starts = 1
                waiting.popleft()
                yield outcome
        finally:
            _end(pool)


def _wait_for(item: Item, future: Any, *, seconds: float) -> Outcome[Item, Any]:
    try:
        value, error = future.result()
    except FutureTimeoutError:
        return Outcome(item, None, WorkerTimedOut(f"not done after {seconds:g} seconds"))
    except ProcessExpired as expired:
        return Outcome(item, None, WorkerCrashed(f"the process that read it died: {_name_exit(expired.exitcode)}"))
    return Outcome(item, value, error)


def _call(function: Callable[[Item], Value], item: Item) -> tuple[Value | None, Exception | None]:
    """Run in a worker; what the function raises is a value here, so that it is never taken for the pool's own error."""
    try:
        return function(item), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # exceptions with arguments of their own often cannot be pickled
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _start(
    function: Callable[..., Any], workers: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> ProcessPool:
    """Start workers that inherit no lock which another thread of this process may hold (ITK, OpenMP, blosc)."""
    if sys.platform == "linux":
        # A server that has imported the function's module, and has no threads, forks them: a worker that replaces a
        # crashed one is there at once, and libraries are in memory once. Elsewhere system libraries forbid it.
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([function.__module__])
    else:
        context = multiprocessing.get_context("spawn")
    return ProcessPool(max_workers=workers, initializer=initializer, initargs=arguments, context=context)


def _end(pool: Any) -> None:
    pool.stop()
    pool.join()


def _succeeded(future: Any) -> bool:
    return (
        future is not None
        and future.done()
        and not future.cancelled()
        and not isinstance(future.exception(), BrokenProcessPool)
    )


def _name_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return name + (", often for want of memory" if name == "SIGKILL" else "")
