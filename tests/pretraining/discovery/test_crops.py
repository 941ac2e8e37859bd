"""Crops of the classes: the same relative place in every scan, by seed, training and held-out scans apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.ndimage import binary_erosion

from nnunet_genesis.config import DiscoveryConfig, SemanticGenesisConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.damage import FURTHER_DRAWS
from nnunet_genesis.pretraining.data import StepSampler, build_loader
from nnunet_genesis.pretraining.discovery import autoencoder
from nnunet_genesis.pretraining.discovery.crops import SemanticPatches, held_out_crops, training_crops
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.monitor import Monitor
from nnunet_genesis.pretraining.pretexts.semantic_genesis import SemanticGenesis
from nnunet_genesis.pretraining.validation import ValidationPairs, ValidationSource
from tests.preprocessed import write_dataset
from tests.pretraining.discovery.scans import OFFSET, coordinate_scans, open_written, run

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.discovery.result import DiscoveredScan, Discovery, PseudoClass
    from nnunet_genesis.pretraining.sources import Source

PLANE = np.zeros((3, 3, 3), dtype=bool)
PLANE[1] = True
SPACING = np.array([3.0, 1.0, 1.0])
CLASSES = DiscoveryConfig(num_classes=6)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where crops are cut does not depend on how well the auto-encoder learned."""
    monkeypatch.setattr(autoencoder, "MIN_STEPS", 5)
    monkeypatch.setattr(autoencoder, "EPOCHS", 1)


@pytest.fixture
def discovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Source], Discovery]:
    """Fifteen scans with three channels that hold the coordinates relative to a box that differs from scan to scan."""
    write_dataset(tmp_path, coordinate_scans(15, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written(val_fraction=0.2)
    return sources, run(planned, sources, tmp_path / "out", CLASSES)


def valid_voxels(crop: torch.Tensor) -> npt.NDArray[np.bool_]:
    """Voxels of the box, away from its in-plane borders, where resizing mixes them with what is outside."""
    inside = (crop > 0.9 * OFFSET).all(0).numpy()
    valid: npt.NDArray[np.bool_] = binary_erosion(inside, PLANE, iterations=2)
    return valid


def centre_of(crop: torch.Tensor, inside: torch.Tensor) -> npt.NDArray[np.float64]:
    """Read off the voxels where the middle of a crop lies, in millimetres from the middle of the box."""
    whole = crop.numpy() - OFFSET
    valid = valid_voxels(crop)
    voxels = np.argwhere(valid)
    assert len(voxels), "the crop shows something"
    size = np.array(crop.shape[1:])
    # Along every axis the coordinate grows linearly: extended from the voxels that are there to the middle of the crop.
    middle = []
    for axis in range(3):
        lines = np.polynomial.polynomial.polyfit(voxels[:, axis] + 0.5, whole[axis][valid], 1)
        middle.append(lines[0] + lines[1] * size[axis] / 2)
    assert inside.shape == (3, 2)
    return np.asarray(np.array(middle) * SPACING, dtype=np.float64)


def test_exact_crops_lie_at_the_place_of_their_class(discovered: tuple[list[Source], Discovery]) -> None:
    sources, discovery = discovered
    assert discovery.num_classes == 6
    crops = SemanticPatches(sources, discovery, seed=(3,), held_out=True)
    seen = set()
    for number in range(60):
        crop, inside, labels = crops[number]
        assert crop.shape == (3, *discovery.crop_size)
        place = np.array(discovery.classes[labels["class"]].place)
        assert (np.abs(centre_of(crop, inside) - place) <= SPACING * 0.5 + 1e-3).all(), "to half a voxel"
        seen.add(labels["class"])
    assert len(seen) == 6


def test_varied_crops_are_scaled_and_moved_in_plane_only(discovered: tuple[list[Source], Discovery]) -> None:
    sources, discovery = discovered
    crops = training_crops(sources, discovery, seed=0)
    size = np.array(discovery.crop_size)
    scales, shifts = [], []
    for number in range(150):
        crop, inside, labels = crops[number]
        valid = valid_voxels(crop)
        z, y, x = np.argwhere(valid).T
        slopes = [
            np.polynomial.polynomial.polyfit(at, crop[axis].numpy()[valid], 1)[1] for axis, at in enumerate((z, y, x))
        ]
        assert slopes[0] == pytest.approx(1, abs=1e-3), "z is never scaled"
        shift = centre_of(crop, inside) - np.array(discovery.classes[labels["class"]].place)
        assert abs(shift[0]) <= 1.5 + 1e-3
        scales.append(np.mean(slopes[1:]))
        shifts.append(shift[1:] / size[1:])
    exact = np.isclose(scales, 1, atol=1e-3)
    assert 0.2 < exact.mean() < 0.47, "one of three"
    varied = np.array(scales)[~exact]
    assert 50 / 64 - 0.05 < varied.min() < 0.85
    assert 1.15 < varied.max() < 80 / 64 + 0.05
    assert 0.1 < np.abs(np.array(shifts)[~exact]).max() < 10 / 64 + 0.05


def test_crops_are_a_function_of_seed_and_index(discovered: tuple[list[Source], Discovery]) -> None:
    sources, discovery = discovered
    first, again, other = (training_crops(sources, discovery, seed) for seed in (1, 1, 2))
    for number in range(10):
        crop, inside, labels = first[number]
        crop_again, inside_again, labels_again = again[number]
        assert torch.equal(crop, crop_again)
        assert torch.equal(inside, inside_again)
        assert labels == labels_again
    assert any(first[number][2] != other[number][2] for number in range(10))


def test_loader_workers_give_the_same_labels(discovered: tuple[list[Source], Discovery]) -> None:
    sources, discovery = discovered
    crops = training_crops(sources, discovery, seed=0)
    (patches, inside, labels), _ = list(build_loader(crops, StepSampler(0, 2, 4), workers=1, pin_memory=False))
    assert patches.shape == (4, 3, *discovery.crop_size)
    assert inside.shape == (4, 3, 2)
    assert labels["class"].tolist() == [crops[number][2]["class"] for number in range(4)]
    assert labels["source"].tolist() == [0] * 4


def test_held_out_scans_are_never_cut_in_training(discovered: tuple[list[Source], Discovery]) -> None:
    """Training goes on when the files of all held-out scans are gone, and the other way round."""
    sources, discovery = discovered
    (source,) = sources
    held_out = {str(case) for case in source.validation.identifiers}
    for one in discovery.classes:
        assert not {discovery.scans[scan].case for scan in one.train} & held_out
        assert {discovery.scans[scan].case for scan in one.held_out} <= held_out
    for number in range(len(source.validation)):
        source.validation.file(number).rename(source.validation.file(number).with_suffix(".away"))
    crops = training_crops(sources, discovery, seed=0)
    for number in range(60):
        crops[number]
    for number in range(len(source.validation)):
        source.validation.file(number).with_suffix(".away").rename(source.validation.file(number))
    for number in range(len(source.train)):
        source.train.file(number).unlink()
    validation = held_out_crops(source, discovery, seed=0)
    for number in range(20):
        validation[number]


def test_held_out_crops_go_through_all_classes_and_scans_before_any_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop that is judged again adds nothing to what the accuracy's interval is computed from."""
    alike = coordinate_scans(15, (16, 48, 56), (2, 6, 6))
    scans_told_apart = {name: image + np.float32(number / 8) for number, (name, image) in enumerate(alike.items())}
    write_dataset(tmp_path, scans_told_apart, (8, 32, 32), monkeypatch)
    planned, sources = open_written(val_fraction=0.2)
    discovery = run(planned, sources, tmp_path / "out", CLASSES)
    crops = held_out_crops(sources[0], discovery, seed=0)
    scans = [len(one.held_out) for one in discovery.classes]
    assert min(scans) > 1
    items = [crops[number] for number in range(2 * len(scans) * min(scans))]
    labels = [labels["class"] for _, _, labels in items]
    first = labels[: len(scans)]
    assert sorted(first) == list(range(len(scans))), "every class once"
    assert labels == first * (len(labels) // len(scans)), "and again in the same turn"
    whole = len(scans) * min(scans)
    different = {(label, crop.numpy().tobytes()) for (crop, _, _), label in zip(items[:whole], labels, strict=False)}
    assert len(different) == whole, "no crop twice"


@pytest.mark.parametrize(("classes", "scans"), [(4, 2), (2, 2), (6, 3), (4, 3)])
def test_what_replaces_a_damaged_held_out_crop_comes_to_other_scans(
    discovered: tuple[list[Source], Discovery], classes: int, scans: int
) -> None:
    sources, several = discovered
    few = tuple(replace(one, held_out=one.held_out[:scans]) for one in several.classes[:classes])
    crops = held_out_crops(sources[0], replace(several, classes=few), seed=0)
    all_scans = {case for one in few for case in one.held_out}
    for index in range(classes * scans):
        replacing = {crops.case_of(index + attempt * FURTHER_DRAWS) for attempt in range(1, 64)}
        assert len(replacing) == len(all_scans)


def test_the_interval_of_the_accuracy_counts_every_crop_once(
    discovered: tuple[list[Source], Discovery], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Six classes in one of three held-out scans each are six crops, however many pairs are made of them."""
    sources, several = discovered
    discovery = replace(several, classes=tuple(replace(one, held_out=one.held_out[:1]) for one in several.classes))
    assert sum(len(one.held_out) for one in discovery.classes) == 6
    intensities = IntensityRange((900.0,) * 3, (1100.0,) * 3, (False,) * 3)
    pretext = SemanticGenesis(SemanticGenesisConfig(), intensities, discovery)
    held_out = ValidationSource(sources[0].name, held_out_crops(sources[0], discovery, 0), 1.0)
    fabric = Fabric(accelerator="cpu", devices=1)
    validation = ValidationPairs([held_out], pretext, seed=0, count=64, fabric=fabric)
    assert (len(validation.names), validation.num_distinct) == (64, 6)
    caplog.set_level("INFO", "nnunet_genesis")
    monitor = Monitor(tmp_path, title="", spacing=(3.0, 1.0, 1.0), total_steps=1, first_step=0)
    entry: dict[str, Any] = {
        "epoch": 0,
        "step": 1,
        "train_loss": 1.0,
        "val_loss": 1.0,
        "steps_per_second": 1.0,
        "val_accuracy": 0.5,
    }
    monitor.epoch([entry], validation, validation.baselines())
    monitor.close()
    # Wilson at one half: 1 / 2 +- 1.96 / 2 / sqrt(n + 1.96 ** 2).
    assert (
        "accuracy on held-out scans: 0.500 (95 % interval over 6 patches 0.188 to 0.812, chance 0.167)" in caplog.text
    )


def test_a_discovery_of_another_split_is_refused(discovered: tuple[list[Source], Discovery]) -> None:
    sources, discovery = discovered
    swapped = replace(sources[0], train=sources[0].validation, validation=sources[0].train)
    with pytest.raises(SetupError, match="discovered in other cases"):
        training_crops([swapped], discovery, seed=0)
    with pytest.raises(SetupError, match="no class has a held-out scan of pool"):
        held_out_crops(replace(sources[0], name="pool"), discovery, seed=0)


def test_labels_can_be_told_from_crops_and_shuffled_places_cannot(
    discovered: tuple[list[Source], Discovery],
) -> None:
    sources, discovery = discovered
    assert accuracy(sources, discovery) > 0.9
    generator = np.random.default_rng(0)
    shuffled = [accuracy(sources, shuffle_places(discovery, generator)) for _ in range(3)]
    assert np.mean(shuffled) < 0.45, "chance is 0.17"


def shuffle_places(discovery: Discovery, generator: np.random.Generator) -> Discovery:
    """Move the box of every scan of every class so that the crop is cut at the place of a random class."""
    scans: list[DiscoveredScan] = []

    def move(one: PseudoClass, numbers: tuple[int, ...]) -> tuple[int, ...]:
        for number in numbers:
            other = discovery.classes[int(generator.integers(discovery.num_classes))]
            steps = np.rint((np.array(other.place) - np.array(one.place)) / SPACING).astype(int).tolist()
            scan = discovery.scans[number]
            box = tuple((first + step, stop + step) for (first, stop), step in zip(scan.box, steps, strict=True))
            scans.append(replace(scan, box=box))
        return tuple(range(len(scans) - len(numbers), len(scans)))

    classes = tuple(
        replace(one, train=move(one, one.train), held_out=move(one, one.held_out)) for one in discovery.classes
    )
    return replace(discovery, classes=classes, scans=tuple(scans))


def accuracy(sources: list[Source], discovery: Discovery) -> float:
    """Share of held-out crops whose content is nearest to that of their own class in training crops."""
    side = np.array(discovery.crop_size) * SPACING

    def contents(crops: SemanticPatches, count: int) -> tuple[list[torch.Tensor], list[int]]:
        items = [item for item in (crops[number] for number in range(count)) if valid_voxels(item[0]).any()]
        found = [torch.from_numpy(centre_of(crop, inside) / side) for crop, inside, _ in items]
        return found, [labels["class"] for _, _, labels in items]

    by_class: dict[int, list[torch.Tensor]] = defaultdict(list)
    for content, number in zip(*contents(SemanticPatches(sources, discovery, seed=(0,)), 150), strict=True):
        by_class[number].append(content)
    numbers = sorted(by_class)
    centroids = torch.stack([torch.stack(by_class[number]).mean(0) for number in numbers])
    held_out, labels = contents(SemanticPatches(sources, discovery, seed=(1,), held_out=True), 80)
    nearest = torch.cdist(torch.stack(held_out), centroids).argmin(1)
    return float(np.mean([numbers[guess] == label for guess, label in zip(nearest.tolist(), labels, strict=True)]))
