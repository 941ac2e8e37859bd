"""What huggingface_hub raises, in words that a user can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from nnunet_genesis.errors import CheckpointError

if TYPE_CHECKING:
    from nnunet_genesis.hub import Address

HUB_ERRORS: tuple[type[Exception], ...] = (HfHubHTTPError.__bases__[0], OSError, ValueError, KeyError)
"""All that a call may raise. The first is the base of all errors of the HTTP library, which huggingface_hub has changed
before (requests, httpx, httpx2); the last two come from answers that are not the Hub's."""
LOG_IN = "hf auth login, or export HF_TOKEN=... with a token that has the right"


def is_unreachable(error: Exception) -> bool:
    """Whether the Hub gave no usable answer, so that a cached file is the next best thing."""
    status = _status(error)
    if isinstance(error, HFValidationError) or _is_local(error):
        return False
    return status is None or status >= 500 or status == 429


def told(error: Exception, address: Address, besides: str = "") -> CheckpointError:
    """The same error as ours.

    Args:
        error: One of `HUB_ERRORS`.
        address: What was asked for.
        besides: What else was tried, where the Hub could not be reached.
    """
    problem, mend = _refusal(error, address) or _failure(error, besides)
    return CheckpointError(problem, where=str(address), mend=mend)


def reason_of(error: Exception) -> str:
    """First line of an error's text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _refusal(error: Exception, address: Address) -> tuple[str, str] | None:
    """Problem and mend where the Hub answered, and says no."""
    repo, endpoint, status = address.repo, constants.ENDPOINT, _status(error)
    late = " (the revision comes last: hf://user/repo/file@revision)" if "/" in address.revision else ""
    told_apart: list[tuple[bool, str, str]] = [
        (
            isinstance(error, GatedRepoError),
            f"{repo} is gated: its owner grants access on request",
            f"ask for access at {endpoint}/{repo}, then {LOG_IN}",
        ),
        (
            isinstance(error, RepositoryNotFoundError),
            f"there is no repository {repo} at {endpoint}, or it is private and you may not see it",
            f"check the name; for a private one: {LOG_IN}",
        ),
        (
            isinstance(error, RevisionNotFoundError),
            f"{repo} has no branch, tag or commit {address.revision}{late}",
            f"choose one of those at {endpoint}/{repo}/commits/main",
        ),
        (
            isinstance(error, HFValidationError),
            f"'{repo}' is no name of a repository ({reason_of(error)})",
            "write user/repo",
        ),
        (status in (401, 403), f"{endpoint} does not let you do this ({reason_of(error)})", LOG_IN),
        (
            status is not None and status < 500 and status != 429,
            f"{endpoint} answered with status {status} ({reason_of(error)})",
            f"look at {endpoint}/{repo}",
        ),
    ]
    return next(((problem, mend) for applies, problem, mend in told_apart if applies), None)


def _failure(error: Exception, besides: str) -> tuple[str, str]:
    """Problem and mend where there was no usable answer."""
    if isinstance(error, OfflineModeIsEnabled):
        return (
            f"HF_HUB_OFFLINE is set, so that the Hub may not be asked{besides}",
            "unset HF_HUB_OFFLINE; or copy the cache from a machine that has the file (HF_HOME names its folder)",
        )
    if _is_local(error):
        return f"the file cannot be stored ({error})", "make room, or let HF_HOME name a folder that you can write to"
    return (
        f"{constants.ENDPOINT} cannot be reached or gave no usable answer"
        f" ({type(error).__name__}: {reason_of(error)}){besides}",
        "check the connection, the proxy and HF_ENDPOINT; or fetch the file by hand and give its path",
    )


def _status(error: Exception) -> int | None:
    """HTTP status of an answer; None where there was no answer."""
    response: Any = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _is_local(error: Exception) -> bool:
    """Whether this machine's disk refuses, not the network."""
    is_network = isinstance(error, (ConnectionError, TimeoutError)) or _status(error) is not None
    return isinstance(error, OSError) and error.errno is not None and not is_network
