"""A pretext whose numbers go wrong at chosen steps, in place of the one that a run asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.pretraining import run
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import pytest
    from torch import nn

    from nnunet_genesis.pretraining.pretexts.base import RestorationPairs


class GoesWrong(ModelsGenesis):
    """Models Genesis with infinite outputs at some steps, as broken scans or overflow give them."""

    steps: Container[int] = ()
    now = -1

    def enter_step(self, heads: nn.Module | None, step: int, progress: float) -> None:
        super().enter_step(heads, step, progress)
        self.now = step

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        if torch.is_grad_enabled() and self.now in self.steps:
            restored = restored * torch.inf
        return super().restoration_losses(restored, pairs)


class Collapses(ModelsGenesis):
    """Models Genesis that teaches to restore nothing but zeros, and is judged as ever."""

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        if torch.is_grad_enabled():
            pairs = replace(pairs, target=torch.zeros_like(pairs.target))
        return super().restoration_losses(restored, pairs)


def collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on runs of this process are of `Collapses`."""
    monkeypatch.setattr(
        run,
        "build_pretext",
        lambda config, planned, intensities, _: Collapses(config.models_genesis, planned.patch_size, intensities),
    )


def break_steps(monkeypatch: pytest.MonkeyPatch, steps: Container[int]) -> None:
    """From now on runs of this process are of `GoesWrong`."""
    monkeypatch.setattr(run, "build_pretext", lambda *arguments: build_broken(steps, *arguments))


def build_broken(
    steps: Container[int], config: Any, planned: Any, intensities: Any, _: Any, *, kind: type[GoesWrong] = GoesWrong
) -> GoesWrong:
    pretext = kind(config.models_genesis, planned.patch_size, intensities)
    pretext.steps = steps
    return pretext
