"""nnU-Net's own commands under our schedules: continued is undisturbed, and the control differs in weights alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.networks import build_network
from nnunet_genesis.trainers.seeding import Stream, seed_generators
from tests.integration.workspace import HIPPOCAMPUS, TINY, read_until

if TYPE_CHECKING:
    from tests.integration.workspace import Workspace

pytestmark = pytest.mark.slow

SEED = "7"


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("nnUNet_genesis_seed", SEED)


def train(trainer: str, fold: int) -> tuple[str, ...]:
    return ("nnUNetv2_train", "4", "3d_fullres", str(fold), *TINY, "-device", "cpu", "-tr", trainer)


def fold_folder(workspace: Workspace, trainer: str, fold: int) -> Path:
    return workspace.results / HIPPOCAMPUS / f"{trainer}__nnUNetPlansTiny__3d_fullres" / f"fold_{fold}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    # Written by nnU-Net in this test; it holds numpy numbers.
    content = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    found: dict[str, torch.Tensor] = content["network_weights"]
    return found


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


@pytest.mark.parametrize(("name", "epochs"), [("_sawtooth_layerwise_6epochs_2iters", 6), ("_full_4epochs_2iters", 4)])
def test_continued_after_every_epoch_equals_undisturbed(
    hippocampus: Workspace, pretrained: Path, name: str, epochs: int
) -> None:
    assert pretrained.is_file()
    program = str(Path(__file__).with_name("continue_everywhere.py"))
    output = hippocampus.run(
        "python",
        program,
        f"nnUNetTrainerGenesis{name}",
        "nnUNetPlansTiny",
        "1",
        nnUNet_genesis_checkpoint=str(pretrained),
    )
    told = [line for line in output.splitlines() if line.startswith("after_")]
    assert len(told) == epochs - 1
    assert all(line.endswith("differing: []") for line in told), told


def test_a_killed_command_continues_across_a_stage_border(hippocampus: Workspace, pretrained: Path) -> None:
    trainer = "nnUNetTrainerGenesis_sawtooth_5epochs_2iters"  # the encoder begins to train in epoch 2
    folder = fold_folder(hippocampus, trainer, 2)
    output = hippocampus.run(*train(trainer, 2), nnUNet_genesis_checkpoint=str(pretrained))
    assert f"starting from {pretrained}" in output
    assert "schedule: sawtooth, peak 0.001: decoder only, linear up (epoch 0);" in output
    assert f"seed: {SEED}" in output
    record = json.loads((folder / "genesis_init.json").read_text())
    assert record["schedule"]["name"] == "sawtooth"
    assert record["schedule"]["stages"][2] == "whole network, linear up (epoch 2)"
    assert record["seed"] == int(SEED)
    assert record["differences_from_pretraining"] == []
    undisturbed = weights(folder)
    shutil.rmtree(folder)

    process = hippocampus.start(*train(trainer, 2), nnUNet_genesis_checkpoint=str(pretrained))
    read_until(process, "Epoch 1")
    process.kill()
    process.communicate()
    assert not (folder / "checkpoint_final.pth").exists()
    # The seed is on record: it need not be given again.
    output = hippocampus.run(*train(trainer, 2), "--c", nnUNet_n_proc_DA="2", nnUNet_genesis_seed="")
    assert f"seed: {SEED}" in output
    assert "starting from" not in output
    assert "Epoch 0" not in output
    # The same weights, although two worker processes made the batches this time.
    assert_equal(undisturbed, weights(folder))


def test_the_control_is_the_same_run_with_nothing_loaded(hippocampus: Workspace, tmp_path: Path) -> None:
    control = "nnUNetTrainerGenesis_warmup_scratch_2epochs_2iters"
    hippocampus.run(*train(control, 3))
    # A file that holds the very weights that the control starts from: what else differs would be seen.
    plans = json.loads((hippocampus.preprocessed / HIPPOCAMPUS / "nnUNetPlansTiny.json").read_text())
    seed_generators(int(SEED), Stream.INITIAL_WEIGHTS)
    network = build_network(plans["configurations"]["3d_fullres"]["architecture"], 1, 3)
    torch.save(network.state_dict(), tmp_path / "initial.pth")
    trainer = control.replace("_scratch", "")
    output = hippocampus.run(*train(trainer, 3), nnUNet_genesis_checkpoint=str(tmp_path / "initial.pth"))
    assert "100 % of the encoder's parameters" in output
    assert_equal(weights(fold_folder(hippocampus, control, 3)), weights(fold_folder(hippocampus, trainer, 3)))
    told = [
        json.loads((fold_folder(hippocampus, name, 3) / "genesis_init.json").read_text()) for name in (control, trainer)
    ]
    assert [entry["initialization"] for entry in told] == ["scratch", "pretrained encoder"]
    assert told[0]["schedule"] == told[1]["schedule"]
