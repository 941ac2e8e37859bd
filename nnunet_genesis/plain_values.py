"""Values that any reader knows: what files of weights say of themselves."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Mappings, sequences and scalars as dict, list and builtins, so that JSON and weights_only know them."""
    if hasattr(value, "items"):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
