"""Nothing asks for the network but an address that begins with ``hf://``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.reliability.effort import Effort

ROOT = Path(__file__).parents[2]
WATCHED = Path(__file__).with_name("watched")

PRETRAIN = """
import sys
from pathlib import Path
import pytest
from tests.commands import genesis, pretrain
from tests.preprocessed import DATASET, smooth_cases, write_dataset

root = Path(sys.argv[1])
write_dataset(root, smooth_cases(4, (8, 24, 24)), (8, 16, 16), pytest.MonkeyPatch())
assert pretrain(
    DATASET, "-device", "cpu", "-np", 1, "--epochs", 1, "--iterations-per-epoch", 1, "--pretext", "models-genesis",
    "--output", root / "out",
) == 0
assert genesis("inspect", root / "out" / "checkpoint_final.pth") == 0
"""
IMPORT = """
import monai.metrics, matplotlib.pyplot, huggingface_hub, torch.utils.tensorboard, lightning_fabric
import nnunetv2.run.run_training, nnunetv2.inference.predict_from_raw_data
import nnunet_genesis.hub_download, nnunet_genesis.benchmark.surface_metrics, nnunet_genesis.submission.prediction
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
import nnunetv2.training.nnUNetTrainer as there

name = "nnUNetTrainerGenesis_1epochs_1iters"
found = recursive_find_python_class(there.__path__[0], name, "nnunetv2.training.nnUNetTrainer")
assert found.__name__ == name
"""
FETCH = """
import pytest
from nnunet_genesis import hub
from nnunet_genesis.errors import CheckpointError

with pytest.raises(CheckpointError, match="cannot be reached"):
    hub.resolve("hf://ann/liver")
"""


def without_network() -> list[str]:
    """What starts a command in a namespace without any network; nothing where that is not allowed."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return []


def run_watched(program: str, folder: Path) -> list[str]:
    """Run a program without network; returns who asked for it all the same."""
    log = folder / "network.log"
    log.touch()
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "NETWORK_LOG": str(log), "PYTHONPATH": os.pathsep.join((str(WATCHED), str(ROOT))), "HOME": str(folder),
        "HF_HOME": str(folder / "hf"), "nnUNet_compile": "0", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    environment.pop("HF_HUB_OFFLINE", None)
    command = [*without_network(), sys.executable, "-c", program, str(folder / "work")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return log.read_text().splitlines()


@pytest.mark.parametrize(
    "program", [pytest.param(PRETRAIN, id="pretraining", marks=pytest.mark.slow), pytest.param(IMPORT, id="imports")]
)
def test_nothing_asks_for_the_network(tmp_path: Path, effort: Effort, program: str) -> None:
    asked = run_watched(program, tmp_path)
    assert not asked, "\n".join(asked)
    kind = " ".join(without_network()) or "Python's calls watched, no namespace"
    effort.record("no_network", {"how": kind, "asked for the network": 0})


@pytest.mark.slow
def test_an_address_on_the_hub_does(tmp_path: Path) -> None:
    """So that the test above would see it."""
    asked = run_watched(FETCH, tmp_path)
    assert any("huggingface.co" in line for line in asked)
