"""Fisher's discriminant: its gradient, its answers, its memory, and that an encoder forgets what it lowers."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from torch import nn

from nnunet_genesis.pretraining.pretexts.discriminant import (
    FEWEST_PATCHES,
    PATCHES_PER_CLASS,
    RIDGE,
    FisherDiscriminant,
)
from nnunet_genesis.pretraining.pretexts.modality_parts import ModalityAdversary, ModalityDiscriminant, ModalityPart
from nnunet_genesis.pretraining.scales.patches import NO_LABEL
from tests.pretraining.pretexts.devices import generator

PAIR = [("CT",), ("MR",)]
STEPS = 600


def filled(num_features: int, num_classes: int, *, seed: int = 0) -> FisherDiscriminant:
    """A discriminant whose memory is full of patches of classes with different means."""
    discriminant = FisherDiscriminant(num_features, num_classes)
    patches = PATCHES_PER_CLASS * num_classes
    classes = torch.randint(num_classes, (patches,), generator=generator(seed))
    means = torch.randn(num_classes, num_features, generator=generator(seed + 1))
    discriminant.remember(means[classes] + torch.randn(patches, num_features, generator=generator(seed + 2)), classes)
    return discriminant


def criterion(features: torch.Tensor, classes: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    """tr((S + ridge)^-1 sum_c p_c (m_c - m)(m_c - m)^T), written down anew."""
    mean = features.mean(0)
    within, between = torch.zeros(2, features.shape[1], features.shape[1])
    for number in classes.unique():
        own = features[classes == number]
        within = within + (own - own.mean(0)).T @ (own - own.mean(0)) / len(features)
        apart = own.mean(0) - mean
        between = between + len(own) / len(features) * torch.outer(apart, apart)
    apart_by: torch.Tensor = torch.linalg.solve(within + ridge * torch.eye(len(within)), between).trace()
    return apart_by


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_gradient_is_that_of_fishers_criterion(num_classes: int) -> None:
    discriminant = filled(6, num_classes)
    features, classes = discriminant.features.clone().requires_grad_(), discriminant.classes
    within = features.detach() - torch.stack([features[classes == one].mean(0) for one in classes]).detach()
    ridge = RIDGE * within.square().mean()
    (wanted,) = torch.autograd.grad(criterion(features, classes, ridge), features)
    (found,) = torch.autograd.grad(discriminant.fit().hiding_loss(features, classes).mean(), features)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    for _ in range(100):
        (gradient,) = torch.autograd.grad(discriminant.fit().hiding_loss(features, classes).mean(), features)
        features = (features.detach() - 2 * gradient).requires_grad_()
        discriminant.remember(features.detach(), classes)
    before = criterion(filled(6, num_classes).features, classes, ridge)
    assert float(criterion(features.detach(), classes, ridge)) < 0.05 * float(before)
    assert float(features.detach().std()) > 0.5, "classes are hidden, not all that is told"


@pytest.mark.parametrize(("num_classes", "num_features"), [(2, 8), (3, 64), (2, 320)])
def test_the_gradient_of_patches_that_are_yet_to_be_remembered_has_about_the_direction_of_the_criterion(
    num_classes: int, num_features: int
) -> None:
    """The whole criterion has a ridge that follows the features, and knows the newest patches."""
    head, before = filled(num_features, num_classes), FisherDiscriminant(num_features, num_classes)
    before.remember(head.features[:-4], head.classes[:-4])
    new = head.features[-4:].clone().requires_grad_()
    (found,) = torch.autograd.grad(before.fit().hiding_loss(new, head.classes[-4:]).sum(), new)
    features = torch.cat([head.features[:-4], new])
    means = torch.stack([features[head.classes == one].mean(0) for one in range(num_classes)])
    ridge = RIDGE * (features - means[head.classes]).square().mean()
    (wanted,) = torch.autograd.grad(criterion(features, head.classes, ridge), new)
    assert float(torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)) > 0.8


def test_half_precision_changes_nothing() -> None:
    part, labels = ModalityDiscriminant(PAIR, 1.0), {"source": torch.tensor([0, 1, 1])}
    head = filled(6, 2)
    part.enter_step(head, 0, 1.0)
    found = []
    for enabled in (False, True):
        features = torch.randn(3, 6, generator=generator(9), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = part.losses(head.eval(), head(features), labels)["modality"]
            scores = part.scores(head, head(features), labels)["modality_accuracy"]
        found.append((losses, scores, *torch.autograd.grad(losses.sum(), features)))
    for full, half in zip(*found, strict=True):
        assert torch.equal(full, half)


def test_it_answers_as_linear_discriminant_analysis_does() -> None:
    discriminant = filled(5, 3)
    seen, classes = discriminant.features.numpy(), discriminant.classes.numpy()
    centred = seen - [seen[classes == one].mean(0) for one in classes]
    covariance = centred.T @ centred / len(seen) + RIDGE * (centred**2).mean() * torch.eye(5).numpy()
    reference = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3, covariance_estimator=Known(covariance))
    reference.fit(seen, classes)
    patches = 2 * torch.randn(200, 5, generator=generator(7))
    wanted = torch.from_numpy(reference.predict_log_proba(patches.numpy())).float()
    torch.testing.assert_close(discriminant.fit().classify(patches).log_softmax(1), wanted, rtol=1e-3, atol=1e-3)


class Known:
    """What scikit-learn takes for an estimator of the covariance."""

    def __init__(self, covariance: object) -> None:
        self.covariance_ = covariance

    def fit(self, _: object) -> None:
        """Nothing to estimate."""


def test_the_memory_holds_the_newest_patches_that_are_any() -> None:
    discriminant = FisherDiscriminant(2, 2)
    size = 2 * PATCHES_PER_CLASS
    for number in range(size):
        discriminant.remember(torch.full((2, 2), float(number)), torch.tensor([0, 1]))
    assert discriminant.features[:, 0].tolist() == [float(number // 2) for number in range(size, 2 * size)]
    broken = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [1.0, 2.0], [3.0, 4.0]])
    discriminant.remember(broken, torch.tensor([0, 1, NO_LABEL, 1]))
    assert discriminant.classes[-4:].tolist() == [NO_LABEL, NO_LABEL, NO_LABEL, 1]
    assert discriminant.features.isfinite().all()
    assert discriminant.fit().classify(torch.zeros(1, 2)).isfinite().all()


def test_classes_with_too_few_patches_are_not_judged() -> None:
    part = ModalityDiscriminant([("CT",), ("MR",), ("PET",)], 1.0)
    head = part.build(4)
    sources = torch.tensor([0, 1, 2])
    features = torch.randn(3, 4, generator=generator(0), requires_grad=True)
    part.enter_step(head, 0, 1.0)
    losses = part.losses(head, features, {"source": sources})["modality"]
    assert losses.tolist() == pytest.approx([math.log(3)] * 3), "nobody knows anything yet"
    assert part.scores(head, features, {"source": sources})["modality_accuracy"].isnan().all()
    assert isinstance(head, FisherDiscriminant)
    head.remember(torch.randn(2 * FEWEST_PATCHES, 4, generator=generator(1)), torch.tensor([0, 1] * FEWEST_PATCHES))
    losses = part.losses(head, features, {"source": sources})["modality"]
    assert losses.isfinite().all()
    assert float(losses[2].detach()) == pytest.approx(math.log(3))
    (gradient,) = torch.autograd.grad(losses.sum(), features)
    assert gradient[:2].abs().min(1).values.gt(0).all()
    assert gradient[2].eq(0).all()
    scores = part.scores(head, features, {"source": sources})["modality_accuracy"]
    assert scores.isnan().tolist() == [False, False, True]


def test_one_known_class_is_told_from_nothing() -> None:
    part = ModalityDiscriminant([("CT",), ("MR",)], 1.0)
    head = part.build(4)
    assert isinstance(head, FisherDiscriminant)
    head.remember(torch.randn(2 * FEWEST_PATCHES, 4, generator=generator(1)), torch.zeros(2 * FEWEST_PATCHES).long())
    labels = {"source": torch.tensor([0, 1])}
    features = torch.randn(2, 4, generator=generator(0))
    assert part.scores(head, features, labels)["modality_accuracy"].isnan().all()
    assert part.losses(head.eval(), features, labels)["modality"].tolist() == pytest.approx([math.log(2)] * 2)


def test_judging_held_out_patches_changes_nothing() -> None:
    part = ModalityDiscriminant([("CT",), ("MR",)], 1.0)
    head = part.build(4)
    labels = {"source": torch.tensor([0, 1])}
    part.losses(head.eval(), torch.ones(2, 4), labels)
    assert isinstance(head, FisherDiscriminant)
    assert head.classes.eq(NO_LABEL).all()
    part.losses(head.train(), torch.ones(2, 4), labels)
    assert head.classes[-2:].tolist() == [0, 1]


def test_an_encoder_forgets_what_a_network_with_a_reversed_gradient_leaves() -> None:
    """Probed by a fresh linear classifier, after steps on batches of four patches."""
    assert probed(None) > 0.95
    assert probed(ModalityAdversary(PAIR, 0.1)) > 0.7
    assert probed(ModalityDiscriminant(PAIR, 1.0)) < 0.67


def probed(part: ModalityPart | None) -> float:
    """Accuracy of a linear classifier of the modality, on features from which images are restored."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 12))
        decoder, mixing = nn.Linear(12, 24), torch.randn(8, 24) / 3
        head = part.build(12) if part else nn.Identity()
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters(), *head.parameters()], 1e-3)

    def draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        content = torch.randn(count, 8, generator=generator(seed))
        source = torch.randint(2, (count,), generator=generator(seed + 1))
        seen = torch.tanh(content @ mixing) + 0.3 * (2 * source[:, None] - 1)
        return seen + 0.1 * torch.randn(count, 24, generator=generator(seed + 2)), source

    for step in range(STEPS):
        images, source = draw(4, 10 * step)
        features = encoder(images)
        loss = (decoder(features) - images).square().mean()
        if part:
            part.enter_step(head, step, step / STEPS)
            loss = loss + part.losses(head, head(features), {"source": source})["modality"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        images, source = draw(2000, 100_000)
        features = encoder(images)
    features = (features - features.mean(0)) / features.std(0)
    learned, tested = slice(1000), slice(1000, None)
    probe = LogisticRegression(max_iter=2000).fit(features[learned].numpy(), source[learned].numpy())
    return float(probe.score(features[tested].numpy(), source[tested].numpy()))
