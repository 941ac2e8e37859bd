"""Self-discovery as a whole: sizes, separation, the seed, what is kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
import torch

from nnunet_genesis.config import DiscoveryConfig, PretrainingConfig
from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.pretraining.discovery import autoencoder
from nnunet_genesis.pretraining.discovery.crop_size import choose_crop_size
from nnunet_genesis.pretraining.discovery.crops import held_out_crops, training_crops
from nnunet_genesis.pretraining.pretexts import prepare_pretext
from tests.commands import genesis
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.pretraining.discovery.scans import coordinate_scans, open_written, run
from tests.transfer.networks import build, describe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "MIN_STEPS", 5)
    monkeypatch.setattr(autoencoder, "EPOCHS", 1)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.*"))


def test_the_same_seed_gives_the_same_classes_and_another_one_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path, coordinate_scans(12, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    config = DiscoveryConfig(num_classes=4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(planned, sources, tmp_path / "first", config)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    assert run(planned, sources, tmp_path / "second", config) == first
    assert run(planned, sources, tmp_path / "first", config, seed=1).classes != first.classes
    assert len(kept(tmp_path / "first")) == 2, "one beside the other"
    used = [one.reference for one in first.classes]
    assert len(set(used)) == len(used), "each reference once"


def test_a_kept_discovery_is_read_again_only_for_the_same_cases_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset(tmp_path, coordinate_scans(12, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    caplog.set_level("INFO", "nnunet_genesis")
    config = DiscoveryConfig(num_classes=4)
    first = run(planned, sources, tmp_path, config)
    (file,) = tmp_path.glob("discovery/*/discovery.json")
    written = file.read_bytes()
    caplog.clear()
    assert run(planned, sources, tmp_path, config) == first
    assert f"taken from {file}" in caplog.text
    changed = replace(sources[0], train=replace(sources[0].train, sha256=sources[0].train.sha256[::-1].copy()))
    run(planned, [changed], tmp_path, config)
    run(planned, sources, tmp_path, DiscoveryConfig(num_classes=3))
    assert len(list(tmp_path.glob("discovery/*/discovery.json"))) == 3
    assert file.read_bytes() == written
    file.write_bytes(written[: len(written) // 2])
    with pytest.raises(CheckpointError, match="the kept discovery cannot be read"):
        run(planned, sources, tmp_path, config)
    assert file.read_bytes() == written[: len(written) // 2], "nothing is replaced in silence"


def test_a_continued_run_finds_its_own_discovery_whatever_it_followed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path, coordinate_scans(12, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    own = run(planned, sources, tmp_path, DiscoveryConfig(num_classes=4), seed=1)
    run(planned, sources, tmp_path, DiscoveryConfig(num_classes=4))
    config = PretrainingConfig("semantic-genesis", batch_size=2)
    earlier = {"pretext_settings": {"discovered": own.digest()}}
    assert prepare_pretext(config, planned, sources, folders=[], folder=tmp_path, workers=1, earlier=earlier) == own


def test_places_are_apart_and_crops_lie_in_the_box_of_their_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset(tmp_path, coordinate_scans(30, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    found = run(planned, sources, tmp_path, DiscoveryConfig(min_distance=0.9))
    assert found.num_classes < 13
    assert f"{found.num_classes} classes instead of 13" in caplog.text
    side = np.array(found.crop_size) * np.array([3.0, 1.0, 1.0])
    for one, other in combinations(found.classes, 2):
        assert np.linalg.norm((np.array(one.place) - np.array(other.place)) / side) >= 0.9
    for one in found.classes:
        box = np.array(found.scans[one.reference].box)
        room = (box[:, 1] - box[:, 0]) * np.array([3.0, 1.0, 1.0]) / 2 - side / 2
        assert (np.abs(one.place) <= room + 1e-6).all()
        assert one.train[0] == one.reference
        assert 4 <= len(one.train) <= 9 == 27 // 3


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((12, 100, 90), (6, 48, 44)),
        ((40, 200, 30), (8, 64, 12)),  # no larger than the patch
        ((1, 9, 3), (1, 8, 8)),  # two cells of the bottleneck at least
    ],
)
def test_crops_are_half_of_the_box_in_whole_cells_of_the_bottleneck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    write_dataset(tmp_path, smooth_cases(2, (4, 8, 8)), (8, 64, 64), monkeypatch)
    planned, _ = open_written()
    boxes = np.array([[(1, 1 + side) for side in box]] * 3, dtype=np.int32)
    strides = {"arch_kwargs": {"strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]]}}
    assert choose_crop_size(replace(planned, architecture=strides), boxes) == expected


SHAPES = {
    "anisotropic": ((16, 96, 96), (16, 64, 64), 1),
    "four channels": ((12, 24, 24), (12, 24, 24), 4),
    "tiny": ((2, 9, 7), (2, 8, 8), 1),
    "2d": ((6, 40, 40), (32, 32), 2),
    "single slices": ((1, 40, 48), (32, 32), 1),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_command_discovers_draws_and_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    shape, patch_size, channels = SHAPES[kind]
    write_dataset(tmp_path, smooth_cases(8, shape, channels=channels), patch_size, monkeypatch)
    configuration = "2d" if len(patch_size) == 2 else "3d_fullres"
    assert genesis("discover", "777", "-c", configuration, "-np", "1", "--seed", "3") == 0
    said = capsys.readouterr().out
    pretraining = f"GenesisPretraining_semantic-genesis__nnUNetPlans__{configuration}"
    output = tmp_path / "nnUNet_results" / DATASET / pretraining
    names = [file.name for file in kept(output)]
    assert names == ["discovery.json", "discovery.png"], "thumbnails are gone"
    assert all(str(file) in said for file in kept(output))
    assert "auto-encoder's error on held-out scans: " in said
    picture = matplotlib.image.imread(kept(output)[1])
    assert picture[..., :3].std() > 0.05, "not blank"
    planned, sources = open_written(seed=3, configuration=configuration)
    discovery = run(planned, sources, output, DiscoveryConfig(), seed=3)
    assert [file.name for file in kept(output)] == names, "pretraining takes the very same"
    for crops in (training_crops(sources, discovery, 3), held_out_crops(sources[0], discovery, 3)):
        for number in range(12):
            crop, inside, labels = crops[number]
            assert crop.shape == (channels, *discovery.crop_size)
            assert inside.shape == (len(patch_size), 2)
            assert 0 <= labels["class"] < discovery.num_classes


def test_features_of_a_pretrained_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, coordinate_scans(10, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    file = tmp_path / "encoder.safetensors"
    write_encoder(file, dim=3)
    found = run(planned, sources, tmp_path, DiscoveryConfig(num_classes=3, features=str(file)))
    assert found.num_classes == 3
    assert "reconstruction_error" not in found.report
    moved = file.rename(tmp_path / "moved.safetensors")
    again = run(planned, sources, tmp_path, DiscoveryConfig(num_classes=3, features=str(moved)))
    assert again == found, "the content of the file counts"
    assert len(list(tmp_path.glob("discovery/*"))) == 1
    write_encoder(tmp_path / "flat.safetensors", dim=2)
    with pytest.raises(SetupError, match="the encoder is 2D, the configuration 3d_fullres is 3D"):
        run(planned, sources, tmp_path, DiscoveryConfig(features=str(tmp_path / "flat.safetensors")))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        run(planned, sources, tmp_path, DiscoveryConfig(features=str(tmp_path / "missing.pth")))


@pytest.mark.parametrize("residual", [False, True])
def test_features_of_an_encoder_whose_stride_is_longer_than_the_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, residual: bool
) -> None:
    write_dataset(tmp_path, coordinate_scans(10, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, sources = open_written()
    file = tmp_path / "encoder.safetensors"
    write_encoder(file, dim=3, residual=residual, features=(4,) * 6)
    found = run(planned, sources, tmp_path, DiscoveryConfig(num_classes=3, features=str(file)))
    assert max(found.crop_size) < 32, "one cell of the encoder"
    assert found.num_classes == 3


def write_encoder(file: Path, dim: int, **description: Any) -> None:
    from nnunet_genesis import encoder_file

    network = build(channels=3, dim=dim, **description)
    weights = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("encoder.")}
    weights = {name: tensor for name, tensor in weights.items() if ".all_modules." not in name}
    file.write_bytes(
        encoder_file.to_bytes(weights, {"architecture": describe(dim=dim, **description), "num_input_channels": 3})
    )


def test_classes_are_shared_by_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, coordinate_scans(6, (16, 48, 56), (2, 6, 6)), (8, 32, 32), monkeypatch)
    planned, _ = open_written()
    write_pool(planned, "archive", coordinate_scans(9, (16, 48, 56), (2, 6, 6), seed=1))
    planned, sources = open_written(pools=("archive",))
    found = run(planned, sources, tmp_path, DiscoveryConfig())
    assert {scan.source for scan in found.scans} == {"labelled", "archive"}
    crops = training_crops(sources, found, 0)
    assert {crops[number][2]["source"] for number in range(40)} == {0, 1}
    for source in sources:
        if source.name in found.held_out_sources():
            assert held_out_crops(source, found, 0)[0][2]["source"] == 0


def test_too_few_scans_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, smooth_cases(7, (8, 24, 24)), (8, 16, 16), monkeypatch)
    planned, sources = open_written()
    with pytest.raises(SetupError, match=r"has 7 scans \(1 of them held out\), at least 8 are needed") as error:
        run(planned, sources, tmp_path / "out", DiscoveryConfig())
    assert error.value.mend is not None
    assert "--pools" in error.value.mend
    assert not (tmp_path / "out").exists()


def test_a_split_that_leaves_little_to_learn_from_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, smooth_cases(9, (8, 24, 24)), (8, 16, 16), monkeypatch)
    planned, sources = open_written(val_fraction=0.9)
    with pytest.raises(SetupError, match=r"has 9 scans \(8 of them held out\), .* 4 of them to learn from"):
        run(planned, sources, tmp_path / "out", DiscoveryConfig())
