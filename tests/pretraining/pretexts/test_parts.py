"""Parts of pretexts: the classifier of scales learns, the adversary makes the encoder hide what it could tell."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nnunet_genesis.pretraining.pretexts.gradient_reversal import Adversary, reversal_ramp, reverse_gradient
from nnunet_genesis.pretraining.pretexts.modality_parts import ModalityAdversary
from nnunet_genesis.pretraining.pretexts.parts import PartHeads, ScaleClassifier
from nnunet_genesis.pretraining.scales.patches import NO_LABEL
from tests.pretraining.pretexts.devices import generator


def test_the_gradient_is_reversed_and_scaled_and_the_value_kept() -> None:
    features = torch.randn(4, 3, generator=generator(0), requires_grad=True)
    weight = torch.randn(4, 3, generator=generator(1))
    reversed_ = reverse_gradient(features, torch.tensor(0.3))
    assert torch.equal(reversed_, features)
    (gradient,) = torch.autograd.grad((reversed_ * weight).sum(), features)
    torch.testing.assert_close(gradient, -0.3 * weight)


@pytest.mark.parametrize("learns", [True, False])
def test_a_head_that_does_not_learn_has_no_gradients_and_still_moves_the_encoder(learns: bool) -> None:
    layer = nn.Linear(3, 2)
    adversary = Adversary(layer)
    adversary.set_stage(0.5, learns=learns)
    features = torch.randn(4, 3, generator=generator(2), requires_grad=True)
    adversary(features).square().sum().backward()
    gradient, own = features.grad, [parameter.grad for parameter in layer.parameters()]
    plain = features.detach().clone().requires_grad_()
    layer.zero_grad()
    layer(plain).square().sum().backward()
    assert gradient is not None
    assert plain.grad is not None
    torch.testing.assert_close(gradient, -0.5 * plain.grad)
    for mine, parameter in zip(own, layer.parameters(), strict=True):
        if learns:
            torch.testing.assert_close(mine, parameter.grad)
        else:
            assert mine is None, "momentum would move it on"


def test_the_ramp_is_the_published_one() -> None:
    assert reversal_ramp(0) == 0
    for progress in (0.1, 0.5, 1.0):
        assert reversal_ramp(progress) == pytest.approx(math.tanh(5 * progress))


def test_classifier_and_encoder_learn_in_turns_if_asked_for() -> None:
    both = ModalityAdversary([("CT",), ("MR",)], 0.1)
    turns = ModalityAdversary([("CT",), ("MR",)], 0.1, alternating=True)
    seen = []
    for part in (both, turns):
        head = part.build(4)
        assert isinstance(head, Adversary)
        for step in (6, 7):
            part.enter_step(head, step, 0.5)
            seen.append((round(float(head.strength), 4), head.learns))
    strength = round(0.1 * math.tanh(2.5), 4)
    assert seen == [(strength, True), (strength, True), (0.0, True), (strength, False)]


def test_sources_of_one_modality_have_one_label() -> None:
    part = ModalityAdversary([("MR",), ("CT",), ("MR",)], 0.1)
    assert part.num_classes == 2
    assert part.labels({"source": torch.tensor([0, 1, 2, 1])}).tolist() == [1, 0, 1, 0]


def test_where_channels_are_drawn_each_has_its_modality() -> None:
    part = ModalityAdversary([("T2", "T1"), ("CT",)], 0.1)
    labels = {"source": torch.tensor([0, 0, 1, 1]), "channel": torch.tensor([0, 1, 0, 1])}
    assert [part.modalities[number] for number in part.labels(labels).tolist()] == ["T2", "T1", "CT", "CT"]
    part = ModalityAdversary([("CT", "PET"), ("T1",)], 0.1)  # one name stands for all channels
    assert [part.modalities[number] for number in part.labels(labels).tolist()] == ["CT", "PET", "T1", "T1"]


def test_patches_without_a_label_count_nowhere() -> None:
    part = ScaleClassifier((1.0, 1.5, 2.0), weight=0.5)
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 5.0, 0.0]])
    labels = {"scale": torch.tensor([0, NO_LABEL, 0])}
    head = part.build(4)
    losses, scores = part.losses(head, logits, labels)["scale"], part.scores(head, logits, labels)["scale_accuracy"]
    right, wrong = -math.log(math.exp(5) / (math.exp(5) + 2)), -math.log(1 / (math.exp(5) + 2))
    torch.testing.assert_close(losses, 0.5 * torch.tensor([right, 0.0, wrong]))
    assert scores[0] == 1
    assert scores[1].isnan()
    assert scores[2] == 0


def test_heads_share_the_mean_of_the_deepest_stage() -> None:
    parts = [ScaleClassifier((1.0, 2.0), 0.1), ModalityAdversary([("CT",), ("MR",), ("PET",)], 0.1)]
    heads = PartHeads(parts, 6)
    deepest = torch.randn(2, 6, 3, 4, 5, generator=generator(3))
    outputs = heads(deepest)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"scale": (2, 2), "modality": (2, 3)}
    shuffled = deepest.flatten(2)[..., torch.randperm(60, generator=generator(4))].view_as(deepest)
    torch.testing.assert_close(heads(shuffled)["scale"], outputs["scale"])


def test_a_step_of_the_encoder_raises_the_loss_that_a_step_of_the_classifier_lowers() -> None:
    torch.manual_seed(0)
    encoder, part = nn.Linear(5, 4), ModalityAdversary([("CT",), ("MR",)], 1.0, alternating=True)
    head = part.build(4)
    source = torch.randint(2, (64,), generator=generator(5))
    inputs = torch.cat([torch.randn(64, 4, generator=generator(6)), 2.0 * source[:, None] - 1], dim=1)
    plain = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.05)
    with_momentum = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)

    def take_step(step: int, optimizer: torch.optim.Optimizer) -> float:
        part.enter_step(head, step, 1.0)
        loss = part.losses(head, head(encoder(inputs)), {"source": source})["modality"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after = part.losses(head, head(encoder(inputs)), {"source": source})["modality"].mean()
        return float((after - loss).detach())

    for _ in range(20):
        before = [parameter.clone() for parameter in encoder.parameters()]
        assert take_step(0, plain) < 0, "the classifier's turn"
        assert all(torch.equal(*pair) for pair in zip(before, encoder.parameters(), strict=True))
    before = [parameter.clone() for parameter in head.parameters()]
    assert take_step(1, plain) > 0, "the encoder's turn"
    assert all(torch.equal(*pair) for pair in zip(before, head.parameters(), strict=True))
    for _ in range(2):  # its moments are filled in the classifier's turn
        take_step(0, with_momentum)
    before = [parameter.clone() for parameter in head.parameters()]
    take_step(1, with_momentum)
    assert all(torch.equal(*pair) for pair in zip(before, head.parameters(), strict=True)), "momentum moved it"


def test_guessing_is_naming_the_commonest_class() -> None:
    part = ScaleClassifier((1.0, 1.5, 2.0), 0.1)
    assert part.commonest({"scale": torch.tensor([0, 0, NO_LABEL, 2, 0])}) == 0.75
    assert part.commonest({"scale": torch.tensor([NO_LABEL])}) == pytest.approx(1 / 3)
