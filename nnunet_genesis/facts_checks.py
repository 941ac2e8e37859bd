"""Whether what a file of weights says of itself can be what it stands for, before anything is made of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOGGER = logging.getLogger("nnunet_genesis")
LARGEST_NUMBER = 1 << 63
"""Python refuses to show much longer ones."""
_DEEPEST = 20
_SOURCE = {"name": str, "kind": str, "num_cases": int, "chance": (int, float)}
_WENT_BACK = {"step": int, "to_step": int}


def check_facts(facts: Mapping[str, Any], file: Path) -> None:
    """Refuse facts that are none; what a file does not tell is not missed.

    Args:
        facts: The ``genesis`` entry of a checkpoint of ours, or `SourceModel.facts`.
        file: For the message.

    Raises:
        CheckpointError: Naming the first such fact.
    """
    for name, value in facts.items():
        if not _is_fact(name, value):
            raise CheckpointError(
                f"what the file says of itself cannot be used: {name} {shown(value)}",
                where=file,
                mend="copy or download the file again, or use another checkpoint of the same folder",
            )


def usable_facts(facts: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Facts of a file that others wrote: those that are none are left out, with a warning; the weights count."""
    usable = {name: value for name, value in facts.items() if value is not None and _is_fact(name, value)}
    for name, value in facts.items():
        if value is not None and name not in usable:
            LOGGER.warning("%s: what it says of its %s is left out, as it is none: %s", file, name, shown(value))
    return usable


def shown(value: object) -> str:
    """The beginning of a value for a message; Python refuses to show numbers of thousands of digits, and deep nests."""
    try:
        return repr(value)[:200]
    except (ValueError, RecursionError):
        return f"({type(value).__name__}, too long or too deep to show)"


def is_number(value: object) -> bool:
    """Whether a value is a number, NaN and infinite ones included, no boolean."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER
    )


def is_integer(value: object) -> bool:
    """Whether a value is a whole number that any machine can count to, no boolean."""
    return isinstance(value, int) and is_number(value)


def _is_fact(name: object, value: Any) -> bool:
    known = _FACTS.get(name) if isinstance(name, str) else None
    return known is None or known(value)


def _is_text(value: object) -> bool:
    """Half characters (lone surrogates) can be neither written to a file nor shown."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and is_integer(value) and value >= 0


def _is_plain(value: object, depth: int = 0) -> bool:
    """Whether values of any kind can be shown."""
    if isinstance(value, (Mapping, list, tuple)):
        entries = [*value, *value.values()] if isinstance(value, Mapping) else value
        return depth < _DEEPEST and all(_is_plain(entry, depth + 1) for entry in entries)
    return value is None or isinstance(value, bool) or is_number(value) or _is_text(value)


def _list_of(is_entry: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(is_entry, value))


def _mapping_to(is_entry: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(_is_text, value)) and all(map(is_entry, value.values()))


def _has(entry: Any, kinds: Mapping[str, Any]) -> bool:
    is_shown = isinstance(entry, Mapping) and _is_plain(entry)
    return is_shown and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())


def _is_source(entry: Any) -> bool:
    return _has(entry, _SOURCE) and ("own" in entry or not entry.get("num_without_key"))


def _is_epoch(entry: Any) -> bool:
    return _has(entry, {"epoch": int}) and isinstance(entry.get("val_loss"), (int, float, type(None)))


def _is_baselines(value: Any) -> bool:
    names = ("identity", "blurred", "constant")
    return _mapping_to(_is_plain)(value) and all(is_number(value[name]) for name in names if name in value)


def _is_divergence(value: Any) -> bool:
    return (
        _mapping_to(_is_plain)(value)
        and _is_count(value.get("skipped_steps", 0))
        and _list_of(lambda entry: _has(entry, _WENT_BACK))(value.get("went_back", ()))
    )


def _is_architecture(value: Any) -> bool:
    return value is None or (_mapping_to(_is_plain)(value) and isinstance(value.get("arch_kwargs", {}), Mapping))


_TEXTS, _TEXT_BY_TEXT = _list_of(_is_text), _mapping_to(_is_text)
_FACTS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("pretext", "method", "dataset", "plans", "configuration", "trainer", "exported_from"), _is_text),
    **dict.fromkeys(("num_cases", "num_channels", "num_input_channels", "epochs", "steps", "seed"), _is_count),
    **dict.fromkeys(("channel_names", "normalization_schemes", "citations", "notes"), _TEXTS),
    **dict.fromkeys(("scans", "excluded_cases"), _TEXTS),
    **dict.fromkeys(("cases", "validation_cases", "package_versions", "converted"), _TEXT_BY_TEXT),
    **dict.fromkeys(("config", "pretext_settings"), _mapping_to(_is_plain)),
    "patch_size": _list_of(_is_count),
    "spacing": _list_of(is_number),
    "foreground_intensities": _list_of(_mapping_to(_is_plain)),
    "sources": _list_of(_is_source),
    "history": _list_of(_is_epoch),
    "baselines": _is_baselines,
    "divergence": _is_divergence,
    "architecture": _is_architecture,
}
"""What every entry must be, under the names of the ``genesis`` entry and of `SourceModel.facts`."""


def crop_size(facts: Mapping[str, Any]) -> list[int] | None:
    """Voxels per axis of the crops that Semantic Genesis learned from; None for what learned from the plans' patches.

    Args:
        facts: The ``genesis`` entry, or `SourceModel.facts`.
    """
    told = (facts.get("pretext_settings") or {}).get("crop_size")
    axes = len(facts.get("patch_size") or ())
    return told if isinstance(told, list) and len(told) == axes and all(map(_is_count, told)) else None
