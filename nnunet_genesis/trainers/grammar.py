"""The grammar of trainer names: ``nnUNetTrainerGenesis[_scratch][_<N>epochs][_<M>iters]``.

A name is the whole recipe: results folders carry it, and prediction finds the class by it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nnunet_genesis._discovery import BASE_NAME
from nnunet_genesis.errors import TrainerNameError

TOKENS = {
    "_scratch": "the control: the same schedule, seeds and network with nothing loaded",
    "_<N>epochs": "train N epochs instead of nnU-Net's 1000, e.g. _100epochs",
    "_<M>iters": "M iterations per epoch instead of nnU-Net's 250, e.g. _50iters; validation takes a fifth of it",
}
_PATTERN = re.compile(
    rf"{BASE_NAME}(?P<scratch>_scratch)?(?:_(?P<epochs>[1-9]\d*)epochs)?(?:_(?P<iterations>[1-9]\d*)iters)?"
)


@dataclass(frozen=True)
class TrainerRecipe:
    """What a trainer name asks for.

    Attributes:
        name: The class name, as nnU-Net records it.
        scratch: Whether to load nothing (the control of an experiment).
        epochs: Number of epochs, or None for nnU-Net's default.
        iterations_per_epoch: Training iterations per epoch, or None for nnU-Net's default.
    """

    name: str
    scratch: bool = False
    epochs: int | None = None
    iterations_per_epoch: int | None = None


def parse_trainer_name(name: str) -> TrainerRecipe:
    """Read a recipe from a trainer name.

    Raises:
        TrainerNameError: If the name does not follow the grammar; it lists the tokens and their order.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        tokens = "\n".join(f"    {token:<12} {meaning}" for token, meaning in TOKENS.items())
        raise TrainerNameError(
            f"'{name}' is no trainer of nnunet-genesis.\n"
            f"  Names are {BASE_NAME} followed by any of these tokens, each at most once and in this order:\n{tokens}",
            mend=f"correct the name after -tr, e.g. -tr {BASE_NAME} or -tr {BASE_NAME}_scratch_100epochs",
        )
    epochs, iterations = match["epochs"], match["iterations"]
    return TrainerRecipe(
        name=name,
        scratch=match["scratch"] is not None,
        epochs=None if epochs is None else int(epochs),
        iterations_per_epoch=None if iterations is None else int(iterations),
    )
