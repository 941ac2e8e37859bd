"""Our commands, run in this process to their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def pretrain(*arguments: object) -> int:
    """Run ``genesis-pretrain-nnunet``; returns its exit code."""
    return _exit_code(cli.pretrain, arguments)


def genesis(*arguments: object) -> int:
    """Run ``genesis``; returns its exit code."""
    return _exit_code(cli.genesis, arguments)


def _exit_code(command: Callable[[Sequence[str]], None], arguments: Sequence[object]) -> int:
    with pytest.raises(SystemExit) as ended:
        command([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code
