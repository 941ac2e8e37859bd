"""Names of tensors in files of others: where the state dict is, prefixes of wrappers, tensors listed twice."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.transfer.names import is_alias, plain_names

if TYPE_CHECKING:
    from pathlib import Path

STATE_DICT_KEYS = ("network_weights", "state_dict", "model_state_dict")
_WRAPPERS = {"module", "_orig_mod"}
"""What DistributedDataParallel and torch.compile put into names."""


def find_state_dict(content: Mapping[str, Any], file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file: under a known key, or at its top level.

    Raises:
        CheckpointError: If there are none, or only under an unknown key.
    """
    for key in STATE_DICT_KEYS:
        if tensors := _tensors(content.get(key)):
            return tensors
    if tensors := _tensors(content):
        return tensors
    elsewhere = [str(key) for key, value in content.items() if _tensors(value)]
    if not elsewhere:
        raise CheckpointError(
            f"the file holds no tensor at all (its keys: {', '.join(sorted(map(str, content))[:8]) or 'none'})",
            where=file,
            mend="give the file of the weights, e.g. checkpoint_final.pth",
        )
    close = [key for name in elsewhere for key in difflib.get_close_matches(name, STATE_DICT_KEYS, n=1)]
    raise CheckpointError(
        f"the tensors of the file are under {', '.join(map(repr, elsewhere))}, and weights are looked for under"
        f" {', '.join(STATE_DICT_KEYS)} or at the top level" + (f"; did you mean {close[0]}?" if close else ""),
        where=file,
        mend=f"save them under such a key: torch.save({{'state_dict': content[{elsewhere[0]!r}]}}, NEW_FILE)",
    )


def tidy(weights: Mapping[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """Weights under their plain names: no prefixes of wrappers, no tensor twice, only finite numbers.

    Raises:
        CheckpointError: If a tensor holds NaN or infinite values, or if two names of one tensor disagree.
    """
    check_finite(weights, file)
    unwrapped: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        plain = unwrapped_name(name)
        if plain in unwrapped and not _same(unwrapped[plain], tensor):
            raise _disagree(name, plain, file)
        unwrapped[plain] = tensor
    tidied = {name: tensor for name, tensor in unwrapped.items() if not is_alias(name)}
    for name in filter(is_alias, unwrapped):
        candidates = plain_names(name)
        present = [candidate for candidate in candidates if candidate in tidied]
        if not present:
            tidied[candidates[0]] = unwrapped[name]
        elif not any(_same(tidied[candidate], unwrapped[name]) for candidate in present):
            raise _disagree(name, present[0], file)
    return tidied


def check_finite(weights: Mapping[str, torch.Tensor], file: Path) -> None:
    """Refuse NaN and infinite values.

    Raises:
        CheckpointError: It names the first tensor that holds one.
    """
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"the tensor {name} holds NaN or infinite values: its training diverged, or the file is damaged",
                where=file,
                mend="use an earlier checkpoint of the same run",
            )


def unwrapped_name(name: str) -> str:
    """A tensor's name without what wrappers put into it, at any depth."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _tensors(value: Any) -> dict[str, torch.Tensor]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): entry.detach() for name, entry in value.items() if isinstance(entry, torch.Tensor)}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _disagree(name: str, other: str, file: Path) -> CheckpointError:
    return CheckpointError(
        f"{name} and {other} are two names of one tensor, but their values differ: the file was edited in one place",
        where=file,
        mend="edit both, or use the file as it was before",
    )
