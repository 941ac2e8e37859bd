"""Trainer names follow one grammar; what does not is explained."""

from __future__ import annotations

import pytest

from nnunet_genesis.errors import TrainerNameError
from nnunet_genesis.trainers.grammar import TrainerRecipe, parse_trainer_name


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("nnUNetTrainerGenesis", (False, None, None)),
        ("nnUNetTrainerGenesis_scratch", (True, None, None)),
        ("nnUNetTrainerGenesis_100epochs", (False, 100, None)),
        ("nnUNetTrainerGenesis_5iters", (False, None, 5)),
        ("nnUNetTrainerGenesis_scratch_20epochs_50iters", (True, 20, 50)),
    ],
)
def test_names_are_read(name: str, recipe: tuple[bool, int | None, int | None]) -> None:
    assert parse_trainer_name(name) == TrainerRecipe(name, *recipe)


@pytest.mark.parametrize(
    "name",
    [
        "nnUNetTrainerGenesis_scrach",
        "nnUNetTrainerGenesis_100epochs_scratch",
        "nnUNetTrainerGenesis_scratch_scratch",
        "nnUNetTrainerGenesis_0epochs",
        "nnUNetTrainerGenesis_epochs",
        "nnUNetTrainerGenesis_",
    ],
)
def test_misspelt_names_list_the_tokens(name: str) -> None:
    with pytest.raises(TrainerNameError) as raised:
        parse_trainer_name(name)
    text = str(raised.value)
    assert f"'{name}' is no trainer" in text
    for token in ("_scratch", "_<N>epochs", "_<M>iters"):
        assert token in text
