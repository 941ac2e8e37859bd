"""What a process that reads hostile files must not do, and how much it may take."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

_RUNS_CODE = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "os.startfile", "webbrowser.open",
    "pty.spawn", "socket.connect", "socket.getaddrinfo", "urllib.Request", "ftplib.connect", "ctypes.dlopen",
}  # fmt: skip
_WRITES = {
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rename": 1,
    "os.rmdir": 0,
    "os.link": 1,
    "os.symlink": 1,
    "os.truncate": 0,
}
_MAY_BE_UNPICKLED = {"collections", "numpy", "torch", "_codecs", "builtins", "argparse"}
_UNSAFE_BUILTINS = {
    "eval",
    "exec",
    "compile",
    "open",
    "__import__",
    "getattr",
    "setattr",
    "delattr",
    "input",
    "breakpoint",
}


class Guard:
    """Notes what a process does that no reader may do; seen are Python's own calls (`sys.addaudithook`).

    Args:
        folder: The only place that may be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._inside = str(folder.resolve()) + os.sep
        self._violations: list[str] = []
        self._watching = False
        sys.addaudithook(self._note)

    def watch(self) -> None:
        """Begin to note."""
        self._violations, self._watching = [], True

    def seen(self) -> list[str]:
        """Stop, and tell what was noted."""
        self._watching = False
        return self._violations

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _RUNS_CODE:
            self._violations.append(f"runs or connects: {event} {arguments!r:.200}")
        elif event == "pickle.find_class":
            module, name = str(arguments[0]), str(arguments[1])
            if module.split(".", maxsplit=1)[0] not in _MAY_BE_UNPICKLED or name in _UNSAFE_BUILTINS:
                self._violations.append(f"unpickles {module}.{name}")
        elif event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            )
            if (writes or (isinstance(mode, str) and set(mode) & set("wax+"))) and not isinstance(path, int):
                self._refuse_outside(event, path)
        elif event in _WRITES:
            self._refuse_outside(event, arguments[_WRITES[event]])

    def _refuse_outside(self, event: str, path: Any) -> None:
        full = os.path.realpath(os.fsdecode(path))
        if not (full + os.sep).startswith(self._inside) and full != os.devnull:
            self._violations.append(f"writes outside: {event} {full}")


def limit_memory(room: int) -> None:
    """Let this process take so many bytes more than it has."""
    limit = _status("VmSize") + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forget_peak() -> int:
    """Let `peak` begin anew; returns what is in memory now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Most that was in memory since `forget_peak`, in bytes."""
    return _status("VmHWM")


def seconds_used(process: int) -> float:
    """Seconds of work of a process so far."""
    return sum(map(int, _stat(process)[11:13])) / os.sysconf("SC_CLK_TCK")


def is_asleep(process: int) -> bool:
    """Whether a process waits for something else than a processor."""
    return _stat(process)[0] in "SD"


def _stat(process: int) -> list[str]:
    """What follows the name in ``/proc/PID/stat``, beginning with the state."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
