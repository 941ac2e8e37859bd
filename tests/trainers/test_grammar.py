"""Trainer names follow one grammar; what does not is explained."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from nnunet_genesis import trainers
from nnunet_genesis.errors import TrainerNameError
from nnunet_genesis.trainers.grammar import TOKENS, TrainerRecipe, parse_trainer_name
from nnunet_genesis.trainers.schedules import SAWTOOTH, WARMUP, Schedule

BASE = "nnUNetTrainerGenesis"


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("", TrainerRecipe("")),
        ("_scratch", TrainerRecipe("", scratch=True)),
        ("_100epochs", TrainerRecipe("", epochs=100)),
        ("_5iters", TrainerRecipe("", iterations_per_epoch=5)),
        ("_scratch_20epochs_50iters", TrainerRecipe("", scratch=True, epochs=20, iterations_per_epoch=50)),
        ("_full_warmup", TrainerRecipe("", full=True, schedule=Schedule(WARMUP))),
        ("_warmup_frozen_scratch", TrainerRecipe("", scratch=True, schedule=Schedule(WARMUP, frozen=True))),
        ("_sawtooth_layerwise_4epochs", TrainerRecipe("", epochs=4, schedule=Schedule(SAWTOOTH, layerwise=True))),
        ("_layerwise", TrainerRecipe("", schedule=Schedule(layerwise=True))),
    ],
)
def test_names_are_read(name: str, recipe: TrainerRecipe) -> None:
    assert parse_trainer_name(BASE + name) == replace(recipe, name=BASE + name)


def error_of(name: str) -> str:
    with pytest.raises(TrainerNameError) as raised:
        parse_trainer_name(name)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("_scrach", "'_scrach' is none of the tokens; _scratch is"),
        ("_warmpu_100epochs", "'_warmpu' is none of the tokens; _warmup is"),
        ("_scratch_scratch", "_scratch is there twice"),
        ("_0epochs", "'_0epochs' is none of the tokens"),
        ("_epochs", "'_epochs' is none of the tokens"),
        ("_<N>epochs", "'_<N>epochs' is none of the tokens"),
        ("_007iters", "'_007iters' is none of the tokens"),
        ("_", "'_' is none of the tokens"),
        ("_100epochs_scratch", "the tokens are in another order"),
        ("_warmup_sawtooth", "_warmup and _sawtooth contradict each other"),
        ("_sawtooth_frozen", "_sawtooth and _frozen contradict each other"),
        ("_frozen_layerwise", "_frozen and _layerwise contradict each other"),
        ("_full_warmup_scratch", "_full and _scratch contradict each other"),
        ("_sawtooth_3epochs", "_sawtooth needs at least 4 epochs"),
    ],
)
def test_wrong_names_get_a_reason_and_the_table(name: str, reason: str) -> None:
    text = error_of(BASE + name)
    assert f"'{BASE}{name}' is no trainer of nnunet-genesis: {reason}" in text
    for token in TOKENS:
        assert re.search(rf"^ +{re.escape(token)} +\w", text, re.MULTILINE), token


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("_100epochs_scratch", "_scratch_100epochs"),
        ("_scratch_5iters_sawtooth_9epochs", "_sawtooth_scratch_9epochs_5iters"),
        ("_full_sawtooth_scratch", "_sawtooth_scratch"),
        ("_full_warmup_sawtooth_frozen_layerwise_scratch", "_layerwise_scratch"),
        ("_sawtooth_scratch_2epochs", "_sawtooth_scratch_4epochs"),
    ],
)
def test_the_nearest_good_name_is_offered(name: str, better: str) -> None:
    assert error_of(BASE + name).endswith(f"-tr {BASE}{better}")
    parse_trainer_name(BASE + better)


def recipe_or_none(name: str) -> TrainerRecipe | None:
    """The recipe without its name, or None where the name contradicts itself; other errors are not expected."""
    try:
        return replace(parse_trainer_name(name), name="")
    except TrainerNameError as error:
        if "contradict each other" not in str(error):
            raise
        return None


def test_every_set_of_tokens_is_a_trainer_or_explained_and_no_two_are_the_same() -> None:
    words = [token.replace("<N>", "8").replace("<M>", "3") for token in TOKENS]
    sets = [chosen for number in range(len(words) + 1) for chosen in itertools.combinations(words, number)]
    recipes = [recipe for chosen in sets if (recipe := recipe_or_none(BASE + "".join(chosen))) is not None]
    # Shapes and freezing: standard x (plain, frozen, layerwise), warm-up the same, sawtooth (plain, layerwise).
    assert len(recipes) == 8 * 3 * 4  # full, scratch or neither; epochs and iterations or not
    assert len(set(recipes)) == len(recipes)


def test_classes_carry_their_full_name_and_are_made_once() -> None:
    name = f"{BASE}_full_sawtooth_layerwise_8epochs_3iters"
    made = getattr(trainers, name)
    assert made.__name__ == name
    assert made.__module__ == "nnunet_genesis.trainers"
    assert getattr(trainers, name) is made
    assert getattr(trainers, BASE) in made.__mro__
    with pytest.raises(TrainerNameError):
        getattr(trainers, f"{BASE}_sawtooth_frozen")
