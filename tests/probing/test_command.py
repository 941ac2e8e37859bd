"""``genesis probe`` on written cases, from the command line to the picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.encoder import load_encoder
from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_network
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pooled_features import pool_deepest
from nnunet_genesis.pretraining.pretext_network import build_pretext_network
from nnunet_genesis.pretraining.pretexts import build_pretext
from nnunet_genesis.pretraining.single_channel import single_channel_plans
from nnunet_genesis.probing.encoders import initial_encoder, name_files
from nnunet_genesis.probing.features import scan_patches, show_channel
from nnunet_genesis.probing.scans import ProbeScan
from tests.commands import genesis
from tests.indices import written_index
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.transfer.networks import describe

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

Cases = dict[str, "npt.NDArray[np.float32]"]
PROBE = ["-np", "1", "-device", "cpu", "--patches", "3"]


def sharp_cases(count: int, shape: tuple[int, ...], *, channels: int = 1, seed: int = 1) -> Cases:
    """Another modality: few bright spots on a dark ground, z-scored as the smooth cases are."""
    generator = np.random.default_rng(seed)
    cases = {}
    for number in range(count):
        field = gaussian_filter(generator.normal(size=(channels, *shape)), sigma=(0, 0, 1, 1))
        image = np.exp(6 * field)
        cases[f"case_{number:03d}"] = ((image - image.mean()) / image.std()).astype(np.float32)
    return cases


def write_checkpoint(file: Path, **facts: Any) -> Path:
    """A checkpoint as pretraining writes it, with random weights."""
    configuration = str(facts.get("configuration", "3d_fullres"))
    planned = load_planned_configuration("777", configuration=configuration)
    torch.manual_seed(5)
    told: dict[str, Any] = {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": "models-genesis",
        "dataset": DATASET,
        "plans": "nnUNetPlans",
        "configuration": configuration,
        "num_channels": planned.num_channels,
        "architecture": dict(planned.architecture),
        "spacing": list(planned.spacing),
        **facts,
    }
    network = build_network(told["architecture"], told["num_channels"], told["num_channels"])
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(file, {"network_weights": network.state_dict(), "genesis": told})
    return file


def write_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Cases, pool: Cases, patch_size: tuple[int, ...] = (8, 16, 16)
) -> None:
    write_dataset(tmp_path, own, patch_size, monkeypatch)
    configuration = "2d" if len(patch_size) == 2 else "3d_fullres"
    write_pool(load_planned_configuration("777", configuration=configuration), "ct", pool)


def probe(*arguments: object) -> int:
    return genesis("probe", *arguments)


def run(tmp_path: Path, *arguments: str, name: str = "out") -> dict[str, Any]:
    output = tmp_path / name
    assert probe(*arguments, *PROBE, "--output", str(output)) == 0
    content: dict[str, Any] = json.loads((output / "probe.json").read_text())
    return content


def test_modalities_that_look_different_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sources(tmp_path, monkeypatch, smooth_cases(8, (8, 20, 20)), sharp_cases(8, (8, 20, 20)))
    cases = {f"case_{number:03d}": "" for number in range(4)}
    learned = {**cases, **{f"ct/{name}": "" for name in cases}}
    told = {"kind": "pool", "num_cases": 4, "chance": 0.5}
    sources = [{"name": "labelled", "own": True, **told}, {"name": "ct", "own": False, **told}]
    file = write_checkpoint(tmp_path / "a" / "checkpoint_final.pth", cases=learned, sources=sources)
    found = run(tmp_path, str(file), "--modality", "ct=CT")
    random, after = found["encoders"]
    assert (random["name"], after["name"]) == ("random weights", "a")
    for name in ("modality", "source"):
        outcome = random["probes"][name]
        assert outcome["low"] > 0.6
        assert outcome["chance"] == 0.5
        assert outcome["low"] <= outcome["balanced_accuracy"] <= outcome["high"]
    assert found["split"] == {"kind": "held-out scans", "folds": 1}
    tested = {scan["name"] for scan in found["scans"] if scan["tested_in_fold"] is not None}
    assert tested == {f"{prefix}case_{number:03d}" for prefix in ("", "ct/") for number in range(4, 8)}
    said = capsys.readouterr().out
    assert "labelled: modality channel 0, 8 scans, 4 of them test" in said
    assert "few test scans (4, 4)" in said
    assert "random weights  " in said
    assert "chance          0.50" in said
    picture = matplotlib.image.imread(tmp_path / "out" / "probe.png")
    assert picture[..., :3].std() > 0.05, "not blank"
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"probe.json", "probe.png"}
    assert run(tmp_path, str(file), "--modality", "ct=CT", name="again") == found, "the same seed, the same numbers"
    assert probe(str(file), *PROBE, "--output", str(tmp_path / "out")) == 1
    assert "the output folder of the probe is there already" in capsys.readouterr().err


def test_names_alone_are_not_found_in_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = list(smooth_cases(16, (8, 20, 20)).values())
    own, pool = ({f"case_{n:03d}": image for n, image in enumerate(part)} for part in (every[::2], every[1::2]))
    write_sources(tmp_path, monkeypatch, own, pool)
    file = write_checkpoint(tmp_path / "a" / "checkpoint_final.pth", cases={"case_000": ""})
    accuracies = []
    for seed in range(2):
        found = run(tmp_path, str(file), "--sources", "labelled", "ct", "--seed", str(seed), name=f"out{seed}")
        accuracies += [one["probes"]["source"]["balanced_accuracy"] for one in found["encoders"]]
        for one in found["encoders"]:
            outcome = one["probes"]["source"]
            assert outcome["low"] - 0.05 <= 0.5 <= outcome["high"] + 0.05
        tested = [scan["name"] for scan in found["scans"] if scan["tested_in_fold"] is not None]
        assert "case_000" not in tested
        assert len(tested) == 15
    assert abs(np.mean(accuracies) - 0.5) < 0.15
    said = capsys.readouterr().out
    assert "SPLIT: CROSS-VALIDATION over scans, 7 folds" in said
    assert "no modality was told: its name stands for it; --modality ct=..." in said


def test_groups_of_scans_test_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sources(tmp_path, monkeypatch, smooth_cases(6, (8, 20, 20)), sharp_cases(6, (8, 20, 20)))
    file = write_checkpoint(tmp_path / "a" / "checkpoint_final.pth", cases={"case_000": ""})
    table = tmp_path / "patients.csv"
    lines = [f"{prefix}case_{n:03d},patient {n}" for prefix in ("", "ct/") for n in range(6)]
    table.write_text("\n".join(["case,group", *lines]) + "\n")
    found = run(tmp_path, str(file), "--sources", "777", "ct", "--groups", str(table))
    folds = {scan["name"]: scan["tested_in_fold"] for scan in found["scans"]}
    assert folds["case_000"] is folds["ct/case_000"] is None
    for number in range(1, 6):
        assert folds[f"case_{number:03d}"] == folds[f"ct/case_{number:03d}"] is not None


SHAPES = {
    "anisotropic": ((16, 96, 96), (16, 64, 64), 1),
    "four channels": ((8, 20, 20), (8, 16, 16), 4),
    "tiny": ((2, 9, 7), (2, 8, 8), 1),
    "2d": ((6, 40, 40), (32, 32), 2),
}


@pytest.mark.parametrize("kind", [*SHAPES, pytest.param("large", marks=pytest.mark.slow)])
def test_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    shape, patch_size, channels = SHAPES.get(kind, ((16, 256, 256), (16, 64, 64), 4))
    own, pool = (make(4, shape, channels=channels) for make in (smooth_cases, sharp_cases))
    write_sources(tmp_path, monkeypatch, own, pool, patch_size)
    configuration = "2d" if len(patch_size) == 2 else "3d_fullres"
    file = write_checkpoint(tmp_path / "checkpoint_best.pth", configuration=configuration)
    found = run(tmp_path, str(file), "--sources", "labelled", "ct", "--scans", "4", "--names", "ours")
    assert [one["name"] for one in found["encoders"]] == ["random weights", "ours"]
    assert found["patch_size"] == list(patch_size)


@pytest.mark.parametrize(("residual", "padded"), [(True, (32, 64, 32)), (False, (8, 64, 16))])
def test_patches_are_padded_for_an_encoder_whose_strides_do_not_divide_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    residual: bool,
    padded: tuple[int, ...],
) -> None:
    write_sources(tmp_path, monkeypatch, smooth_cases(4, (8, 20, 20)), sharp_cases(4, (8, 20, 20)))
    file = write_checkpoint(tmp_path / "a" / "checkpoint_final.pth", architecture=describe((4,) * 6, residual=residual))
    found = run(tmp_path, str(file), "--sources", "labelled", "ct", "--scans", "4")
    assert found["encoders"][1]["input_size"] == list(padded)
    assert f"a: its encoder does not take patches of (8, 16, 16) voxels: they are padded with zeros to {padded}" in (
        caplog.text
    )
    encoder = load_encoder(file).eval()
    patch = torch.rand(2, 1, 8, 16, 16)
    image = torch.zeros(2, 1, *padded)
    begins = [(wide - side) // 2 for wide, side in zip(padded, (8, 16, 16), strict=True)]
    z, y, x = (slice(begin, begin + side) for begin, side in zip(begins, (8, 16, 16), strict=True))
    image[:, :, z, y, x] = patch
    assert torch.equal(pool_deepest(encoder, patch), encoder(image)[-1].mean((2, 3, 4)))


def test_a_pretraining_of_single_channels_is_judged_on_single_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smooth, sharp = smooth_cases(6, (8, 20, 20), channels=2), sharp_cases(6, (8, 20, 20))
    own = {name: np.concatenate([smooth[name], 3 * sharp[name]]) for name in smooth}
    write_dataset(tmp_path, own, (8, 16, 16), monkeypatch)
    planned = load_planned_configuration("777")
    write_pool(single_channel_plans(planned), "ct", sharp_cases(6, (8, 20, 20), seed=2))
    told = {"kind": "pool", "num_cases": 6, "chance": 0.5}
    sources = [{"name": "labelled", "own": True, **told}, {"name": "ct", "own": False, **told}]
    file = write_checkpoint(tmp_path / "a.pth", num_channels=1, sources=sources)
    found = run(tmp_path, str(file), "--modality", "labelled=T1+T2+CT", "ct=CT")
    assert found["single_channel"] is True
    assert [one["name"] for one in found["scans"]] == [f"{at}case_{n:03d}" for at in ("", "ct/") for n in range(6)]
    probes = found["encoders"][0]["probes"]
    assert probes["modality"]["classes"] == ["T1", "T2", "CT"]
    assert probes["modality"]["recalls"][2] > 0.8, "sharp channels are told by what they show"
    assert probes["source"]["classes"] == ["labelled", "ct"]
    said = capsys.readouterr().out
    assert "labelled: modality T1+T2+CT, 6 scans" in said
    assert "every patch shows one channel of its scan, all of them in turn: --single-channel" in said
    assert run(tmp_path, str(file), name="named")["sources"][0]["modality"] == "channel 0+channel 1+channel 2"
    assert probe(str(file), "-np", "1", "--patches", "2", "--output", str(tmp_path / "few")) == 1
    assert "--patches 2: scans have 3 channels, and patches show them in turn" in capsys.readouterr().err
    whole = write_checkpoint(tmp_path / "b.pth")
    assert probe(str(file), str(whole), *PROBE, "--output", str(tmp_path / "both")) == 1
    assert "b learned from all channels of a scan, and this probe shows one at a time" in capsys.readouterr().err
    assert probe(str(whole), str(file), "--sources", "labelled", "ct", *PROBE, "--output", str(tmp_path / "both")) == 1
    assert "the scans of pool ct have one channel, the plans have 3" in capsys.readouterr().err


def test_a_checkpoint_of_single_channels_beside_one_of_all_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, pool = (make(3, (8, 20, 20), channels=2) for make in (smooth_cases, sharp_cases))
    write_sources(tmp_path, monkeypatch, own, pool)
    whole, single = write_checkpoint(tmp_path / "a.pth"), write_checkpoint(tmp_path / "b.pth", num_channels=1)
    assert probe(str(whole), str(single), "--sources", "labelled", "ct", *PROBE, "--output", str(tmp_path / "o")) == 1
    assert (
        "b learned from one channel at a time (--single-channel), and this probe shows all" in capsys.readouterr().err
    )


def test_patches_show_the_channels_of_their_scan_in_turn() -> None:
    patch = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 2, 2)
    shown = [show_channel(patch, number) for number in range(5)]
    assert [int(one[0, 0, 0, 0]) for one in shown] == [0, 1, 2, 0, 1]
    assert all(one.shape == (1, 2, 2, 2) for one in shown)


def test_the_first_panel_is_what_pretraining_with_this_seed_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path, smooth_cases(2, (8, 20, 20)), (8, 16, 16), monkeypatch)
    source = open_source(write_checkpoint(tmp_path / "checkpoint_final.pth"))
    planned = load_planned_configuration("777")
    config = PretrainingConfig(pretext="models-genesis", batch_size=1)
    pretext = build_pretext(config, planned, IntensityRange((0.0,), (1.0,), (False,)), None)
    before = build_pretext_network(planned, pretext, 3).network.get_submodule("encoder").state_dict()
    ours = initial_encoder(source, 1, 3).encoder.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in before.items())
    written = load_encoder(tmp_path / "checkpoint_final.pth").encoder.state_dict()
    assert not all(torch.equal(ours[name], tensor) for name, tensor in written.items())


def test_patches_are_of_their_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {f"case_{n:03d}": np.full((1, 8, 20, 20), n + 1, dtype=np.float32) for n in range(3)}
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    index = written_index(folder, cases)
    for number in range(3):
        scan = ProbeScan(f"case_{number:03d}", 0, "", True, index, number)
        patches = scan_patches(scan, (8, 16, 16), max_background_share=0.75, seed=0)
        assert all(bool((patches[one][0] == number + 1).all()) for one in range(5))
    assert read_whole(index.file(2)).max() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sources", "labelled"], "a probe tells sources apart: there is one, labelled"),
        (["--sources", "labelled", "mr"], "--sources mr: there is no such pool; pools here: ct"),
        (["--sources", "labelled", "99"], "--datasets 99: no dataset has this id"),
        ([], "the first checkpoint does not tell sources of Dataset777_Written"),
        (["--sources", "labelled", "ct", "--modality", "cf=CT"], "there is no source cf"),
        (["--sources", "labelled", "ct", "--names", "a", "b"], "--names: 2 name(s) for 1 checkpoint(s)"),
        (["--sources", "labelled", "ct", "--names", "random weights"], "two panels would have the same name"),
        (["--sources", "labelled", "ct", "--scans", "3"], "--scans 3: must be at least 4"),
        (["--sources", "labelled", "ct", "--patches", "0"], "--patches 0: must be at least 1"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_sources(tmp_path, monkeypatch, smooth_cases(3, (8, 20, 20)), sharp_cases(3, (8, 20, 20)))
    file = write_checkpoint(tmp_path / "checkpoint_final.pth")
    assert probe(str(file), *arguments, "-np", "1", "--output", str(tmp_path / "out")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_all_scans_learned_from_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = smooth_cases(3, (8, 20, 20))
    write_sources(tmp_path, monkeypatch, own, sharp_cases(3, (8, 20, 20)))
    file = write_checkpoint(tmp_path / "checkpoint_final.pth", cases=dict.fromkeys(own, ""))
    assert probe(str(file), "--sources", "labelled", "ct", "-np", "1", "--output", str(tmp_path / "out")) == 1
    assert "source labelled: 0 of 3 scans can test a probe" in capsys.readouterr().err


def test_umap_is_asked_for_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert probe(str(tmp_path / "missing.pth"), "--umap") == 1
    assert "--umap: umap-learn is not installed" in capsys.readouterr().err


def test_names_follow_from_paths() -> None:
    pretraining = "/r/D/GenesisPretraining_masked__nnUNetPlans__3d_fullres/checkpoint_final.pth"
    assert name_files([pretraining, "runs/b/checkpoint_best.pth", "w.pth"]) == ["masked", "b/checkpoint_best", "w"]
    twice = [pretraining, pretraining.replace("/D/", "/E/")]
    assert name_files(twice) == twice
