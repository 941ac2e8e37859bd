"""The Universal Model is made of parts: restoration is Models Genesis', the others are on or off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.config import ADVERSARIES, ModelsGenesisConfig, PretrainingConfig, UniversalModelConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.modalities import find_modalities
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts.discriminant import FisherDiscriminant
from nnunet_genesis.pretraining.pretexts.gradient_reversal import Adversary
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from nnunet_genesis.pretraining.pretexts.parts import PartHeads
from nnunet_genesis.pretraining.pretexts.universal_model import UniversalModel
from nnunet_genesis.pretraining.scales.patches import NO_LABEL, ScaledPatches
from nnunet_genesis.pretraining.source_folders import SourceFolder
from nnunet_genesis.pretraining.sources import Source
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from tests.indices import written_index
from tests.planned import CT, MR, planned
from tests.preprocessed import smooth_cases, write_dataset
from tests.pretraining.pretexts.devices import SIZES, generator
from tests.transfer.networks import build

if TYPE_CHECKING:
    from pathlib import Path

MODALITIES = {"labelled": ("T1",), "sts_ct": ("CT",), "brain": ("T1",)}


def restoration(sides: tuple[int, ...], channels: int = 1) -> ModelsGenesis:
    intensities = IntensityRange((-1.0,) * channels, (2.0,) * channels, (False,) * channels)
    return ModelsGenesis(ModelsGenesisConfig(), sides, intensities)


def universal(config: UniversalModelConfig, sides: tuple[int, ...] = (8, 16, 16), channels: int = 1) -> UniversalModel:
    return UniversalModel(restoration(sides, channels), config, MODALITIES)


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_pairs_and_losses_of_restoration_are_those_of_models_genesis(channels: int, sides: tuple[int, ...]) -> None:
    ours, theirs = universal(UniversalModelConfig(), sides, channels), restoration(sides, channels)
    patches = torch.randn(3, channels, *sides, generator=generator(0))
    inside = torch.tensor([[0, side] for side in sides]).expand(3, -1, -1)
    pairs, expected = (
        pretext.make_pairs(patches, inside, pretext.sample(3, generator(1))) for pretext in (ours, theirs)
    )
    assert torch.equal(pairs.distorted, expected.distorted)
    assert torch.equal(pairs.target, expected.target)
    restored = torch.zeros_like(patches)
    assert torch.equal(
        ours.restoration_losses(restored, pairs)["restoration"],
        theirs.restoration_losses(restored, expected)["restoration"],
    )


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (UniversalModelConfig(), ["scale", "modality"]),
        (UniversalModelConfig(scale_weight=0.0), ["modality"]),
        (UniversalModelConfig(adversary_weight=0.0), ["scale"]),
        (UniversalModelConfig(scale_weight=0.0, adversary_weight=0.0), []),
    ],
)
def test_parts_are_on_or_off(config: UniversalModelConfig, parts: list[str]) -> None:
    pretext = universal(config)
    assert pretext.settings()["parts"] == ["restoration", *parts]
    plans = replace(planned(MR), architecture={"arch_kwargs": {"features_per_stage": [4, 6]}})
    heads = pretext.build_heads(plans)
    assert (heads is None) == (not parts)
    assert (pretext.minimum_validation_patches == 0) == (not parts)
    labels = {"source": torch.tensor([0, 1, 2]), "scale": torch.tensor([0, 2, NO_LABEL])}
    outputs = {} if heads is None else heads(torch.randn(3, 6, 2, 2, 2, generator=generator(2)))
    assert list(pretext.head_losses(heads, outputs, labels)) == parts
    assert list(pretext.head_scores(heads, outputs, labels)) == [f"{part}_accuracy" for part in parts]
    assert pretext.chances == {
        name: pytest.approx(chance)
        for name, chance in (("scale_accuracy", 1 / 3), ("modality_accuracy", 1 / 2))
        if name.removesuffix("_accuracy") in parts
    }


@pytest.mark.parametrize(("side", "sharp_share"), [(15, 1.0), (20, 0.5)])
def test_nothing_is_blurred_where_no_scan_can_carry_the_scales(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    side: int,
    sharp_share: float,
) -> None:
    """The held-out scans are large enough in both: what the run learns from decides for both."""
    learned = smooth_cases(2, (side, 20, 20))
    held_out = {"large": smooth_cases(1, (20, 20, 20), seed=1)["case_000"]}
    folder = write_dataset(tmp_path, {**learned, **held_out}, (8, 8, 8), monkeypatch) / "nnUNetPlans_cases"
    train, validation = (written_index(folder, cases) for cases in (learned, held_out))
    source = Source("labelled", "labelled cases", train, validation, (), (), 1.0)
    config = PretrainingConfig("universal-model", batch_size=2)
    pretext = universal(config.universal_model, (8, 8, 8))
    for patches in (pretext.training_patches([source], config), pretext.validation_patches(source, config)):
        assert isinstance(patches, ScaledPatches)
        places = [patches.locate(number) for number in range(200)]
        sharp = sum(place.sharpness is None for place in places) / len(places)
        assert sharp == pytest.approx(sharp_share, abs=0.12 if sharp_share < 1 else 0)
        assert {place.label for place in places} == ({NO_LABEL} if sharp_share == 1 else {NO_LABEL, 0, 1, 2})
    assert ("the scale is not learned, and no patch is blurred to hide it" in caplog.text) == (sharp_share == 1)


def test_one_modality_leaves_nothing_to_hide(caplog: pytest.LogCaptureFixture) -> None:
    pretext = UniversalModel(restoration((8, 8, 8)), UniversalModelConfig(), {"labelled": ("T1",), "brain": ("T1",)})
    assert [part.name for part in pretext.parts] == ["scale"]
    folders = [SourceFolder("labelled", planned(MR))]
    assert find_modalities(["labelled"], folders, UniversalModelConfig()) == {"labelled": ("T1",)}
    assert "all sources are T1: there is no modality to hide, the adversary is off" in caplog.text


@pytest.mark.parametrize("kind", ADVERSARIES)
def test_the_strength_of_the_adversary_follows_the_run(kind: str) -> None:
    pretext = universal(UniversalModelConfig(adversary=kind, adversary_weight=0.2))
    heads = pretext.build_heads(replace(planned(MR), architecture={"arch_kwargs": {"features_per_stage": 6}}))
    assert isinstance(heads, PartHeads)
    adversary = heads.heads["modality"]
    assert isinstance(adversary, FisherDiscriminant if kind == "discriminant" else Adversary)
    strengths = []
    for progress in (0.0, 0.1, 1.0):
        pretext.enter_step(heads, 0, progress)
        strengths.append(float(adversary.strength))
    assert strengths == [0.0, pytest.approx(0.2 * 0.46212, rel=1e-3), pytest.approx(0.2 * 0.99991, rel=1e-3)]


def test_a_pool_of_unknown_modality_is_refused_where_it_matters(tmp_path: Path) -> None:
    folders = [SourceFolder("labelled", planned(MR)), SourceFolder("archive", Pool(tmp_path / "archive"))]
    with pytest.raises(SetupError, match="nothing tells the modality of pool archive") as raised:
        find_modalities([], folders, UniversalModelConfig())
    assert "--modality archive=MR" in str(raised.value)
    find_modalities([], folders, UniversalModelConfig(modality=("archive=CT",)))
    find_modalities([], folders, UniversalModelConfig(adversary_weight=0.0))


def test_heads_look_at_targets_and_what_they_hide_tells_no_best_epoch() -> None:
    pretext = universal(UniversalModelConfig())
    assert pretext.heads_see_targets
    assert pretext.adversarial_losses == {"modality"}
    assert not restoration((8, 8, 8)).adversarial_losses
    network = PretextNetwork(build(outputs=1, seed=5), PartHeads(pretext.parts, 16)).eval()
    patches, targets = torch.randn(2, 2, 1, 8, 8, 8, generator=generator(3))
    outputs = network(patches, targets)
    own = network(targets, targets)
    torch.testing.assert_close(outputs.heads["modality"], own.heads["modality"])
    assert not torch.equal(outputs.restored, own.restored)


def test_a_discriminant_has_no_turns() -> None:
    with pytest.raises(SetupError, match="--adversary discriminant has nothing to train in turns") as raised:
        UniversalModelConfig(alternating=True)
    assert raised.value.mend == "--adversary classifier --alternating"
    assert UniversalModelConfig(adversary="classifier", alternating=True).adversary_strength == 0.1
    with pytest.raises(SetupError, match="--adversary network: unknown"):
        UniversalModelConfig(adversary="network")


def test_weights_without_end_are_refused() -> None:
    with pytest.raises(SetupError, match="--scale-weight inf: must be a number from 0 on"):
        UniversalModelConfig(scale_weight=float("inf"))
    with pytest.raises(SetupError, match="--adversary-weight nan: must be a number from 0 on"):
        UniversalModelConfig(adversary_weight=float("nan"))


def test_modalities_that_differ_in_case_alone_are_one() -> None:
    folders = [SourceFolder("labelled", planned(CT)), SourceFolder("other", planned(("ct", "CTNormalization", False)))]
    assert find_modalities(["labelled", "other"], folders, UniversalModelConfig()) == {
        "labelled": ("CT",),
        "other": ("CT",),
    }
