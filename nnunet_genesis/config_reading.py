"""Settings from plain values that a file holds, each as what its class says that it is."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nnunet_genesis.errors import UPDATE, SetupError
from nnunet_genesis.facts_checks import is_integer, is_number, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

Settings = TypeVar("Settings")


def settings_from(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make a dataclass of settings, and those inside it; what the values do not have are the defaults.

    Args:
        kind: The dataclass.
        values: What `dataclasses.asdict` gave; lists stand for tuples.

    Raises:
        SetupError: If a setting is unknown, missing, or something else than the class says; or as of the class.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(map(str, values.keys() - known.keys()))
    if unknown:
        raise SetupError(
            f"settings that this version does not know: {', '.join(unknown)}",
            mend=f"{UPDATE}: a later version wrote the file",
        )
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise SetupError(f"settings that are missing: {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(**{name: _setting(name, value, hints[name]) for name, value in values.items()})


def _setting(name: str, value: Any, wanted: Any) -> Any:
    if is_dataclass(wanted) and isinstance(wanted, type) and isinstance(value, dict):
        return settings_from(wanted, value)
    value = tuple(value) if isinstance(value, list) else value
    if not _is_of(value, wanted):
        raise SetupError(f"{name} = {shown(value)}: must be {wanted if get_args(wanted) else wanted.__name__}")
    return value


def _is_of(value: Any, wanted: Any) -> bool:
    if wanted is float or wanted is int:
        return (is_number if wanted is float else is_integer)(value)
    arguments = get_args(wanted)
    if get_origin(wanted) in (Union, UnionType):
        return any(_is_of(value, one) for one in arguments)
    if get_origin(wanted) is tuple:
        if not isinstance(value, tuple):
            return False
        each = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(each) == len(value) and all(map(_is_of, value, each))
    return isinstance(value, wanted)
