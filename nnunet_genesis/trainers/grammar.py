"""The grammar of trainer names: `BASE_NAME` and then any of `TOKENS`, each at most once and in their order.

A name is the whole recipe: results folders carry it, and prediction finds the class by it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from nnunet_genesis._discovery import BASE_NAME, is_genesis_name
from nnunet_genesis.errors import TrainerNameError
from nnunet_genesis.trainers.schedules import NNUNETS_OWN, SAWTOOTH, STANDARD, WARMUP, Schedule, minimum_epochs

_EPOCHS, _ITERATIONS = "_<N>epochs", "_<M>iters"
TOKENS = {
    "_full": "load the decoder, too (all but the segmentation heads); it can hurt, see docs/trainers.md",
    "_warmup": "peak 1e-3 instead of 1e-2; up linearly over the first 50 of 1000 epochs, then poly down",
    "_sawtooth": "peak 1e-3; decoder alone 25 epochs up and 25 down, then the whole network 50 up, then poly down",
    "_frozen": "the encoder never trains: for probing what it knows, not for a good segmentation",
    "_layerwise": "each encoder stage learns at 0.75 of the rate of the next deeper one, the decoder at the full rate",
    "_scratch": "the control: the same schedule, seeds and network with nothing loaded",
    _EPOCHS: "train N epochs instead of nnU-Net's 1000, e.g. _100epochs; stages keep their shares",
    _ITERATIONS: "M iterations per epoch instead of nnU-Net's 250, e.g. _50iters; validation takes a fifth of it",
}
_CONTRADICTIONS = {
    ("_warmup", "_sawtooth"): "both say how the learning rate runs; take one of them",
    ("_sawtooth", "_frozen"): "_sawtooth is about when the encoder begins to train, and with _frozen it never does",
    ("_frozen", "_layerwise"): "_layerwise is about how fast the encoder trains, and with _frozen it does not",
    ("_full", "_scratch"): "_full says what is loaded, and with _scratch nothing is; the control of every trainer is"
    " its name without _full and with _scratch",
}
_NUMBERED = {re.compile(r"([1-9]\d*)epochs"): _EPOCHS, re.compile(r"([1-9]\d*)iters"): _ITERATIONS}


@dataclass(frozen=True)
class TrainerRecipe:
    """What a trainer name asks for.

    Attributes:
        name: The class name, as nnU-Net records it.
        scratch: Whether to load nothing (the control of an experiment).
        epochs: Number of epochs, or None for nnU-Net's default.
        iterations_per_epoch: Training iterations per epoch, or None for nnU-Net's default.
        full: Whether to load the decoder, too.
        schedule: How the learning rate runs.
    """

    name: str
    scratch: bool = False
    epochs: int | None = None
    iterations_per_epoch: int | None = None
    full: bool = False
    schedule: Schedule = NNUNETS_OWN


def parse_trainer_name(name: str) -> TrainerRecipe:
    """Read a recipe from a trainer name.

    Raises:
        TrainerNameError: If the name does not follow the grammar, or contradicts itself; it lists the tokens and their
            order, and the nearest name that does.
    """
    if not is_genesis_name(name):
        raise _error(name, f"it does not begin with {BASE_NAME}")
    words = name.removeprefix(BASE_NAME).split("_")[1:]
    found: dict[str, str] = {}
    for word in words:
        token = _find_token(word)
        if token is None:
            near = get_close_matches(f"_{word}", TOKENS, n=1)
            raise _error(name, f"'_{word}' is none of the tokens{f'; {near[0]} is' if near else ''}")
        if token in found:
            raise _error(name, f"{token} is there twice")
        found[token] = word
    for (first, second), reason in _CONTRADICTIONS.items():
        if first in found and second in found:
            raise _error(
                name,
                f"{first} and {second} contradict each other: {reason}",
                mend=_join(_without_contradictions(found)),
            )
    if name != _join(found):
        raise _error(name, "the tokens are in another order", mend=_join(found))
    shape = WARMUP if "_warmup" in found else SAWTOOTH if "_sawtooth" in found else STANDARD
    schedule = Schedule(shape, frozen="_frozen" in found, layerwise="_layerwise" in found)
    epochs = _number(found, _EPOCHS)
    if epochs is not None and epochs < minimum_epochs(schedule):
        fewest = minimum_epochs(schedule)
        raise _error(
            name,
            f"_{shape} needs at least {fewest} epochs, one for each of its stages",
            mend=_join({**found, _EPOCHS: f"{fewest}epochs"}),
        )
    return TrainerRecipe(
        name=name,
        scratch="_scratch" in found,
        epochs=epochs,
        iterations_per_epoch=_number(found, _ITERATIONS),
        full="_full" in found,
        schedule=schedule,
    )


def describe_grammar() -> list[str]:
    """The tokens with a line each, and what cannot be combined."""
    width = max(map(len, TOKENS))
    return [
        f"Names are {BASE_NAME} followed by any of these tokens, each at most once and in this order:",
        *(f"    {token:<{width}} {meaning}" for token, meaning in TOKENS.items()),
        "Not together: " + ", ".join(f"{first} and {second}" for first, second in _CONTRADICTIONS) + ".",
        f"{BASE_NAME} alone loads the encoder and trains by nnU-Net's own schedule.",
    ]


def _find_token(word: str) -> str | None:
    if f"_{word}" in TOKENS and "<" not in word:
        return f"_{word}"
    return next((token for pattern, token in _NUMBERED.items() if pattern.fullmatch(word)), None)


def _join(found: dict[str, str]) -> str:
    """The name in canonical order."""
    return "".join([BASE_NAME, *(f"_{found[token]}" for token in TOKENS if token in found)])


def _without_contradictions(found: dict[str, str]) -> dict[str, str]:
    kept = dict(found)
    for first, second in _CONTRADICTIONS:
        if first in kept and second in kept:
            del kept[first]
    return kept


def _number(found: dict[str, str], token: str) -> int | None:
    digits = re.match(r"\d+", found.get(token, ""))
    return None if digits is None else int(digits[0])


def _error(name: str, reason: str, mend: str = f"{BASE_NAME}_scratch_100epochs") -> TrainerNameError:
    table = "\n".join(f"  {line}" for line in describe_grammar())
    return TrainerNameError(
        f"'{name}' is no trainer of nnunet-genesis: {reason}.\n{table}",
        mend=f"correct the name after -tr, e.g. -tr {mend}",
    )
