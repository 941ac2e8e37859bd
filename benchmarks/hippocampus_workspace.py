"""Everything that `genesis benchmark` needs for our own answer on hippocampus: folders, small plans, groups, commands.

    python -m benchmarks.hippocampus_workspace FOLDER

Copies the 206 scans of MSD Task04 (NNUNET_GENESIS_DATA) into nnU-Net's rooms below FOLDER, plans and preprocesses them
with a U-Net of 16, 32, 64, 128 features and batch 2, and writes groups.csv: the scans 2 k - 1 and 2 k look like the two
sides of one subject. Prints the commands that follow.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sys
from pathlib import Path

from tests.integration.workspace import HIPPOCAMPUS, Workspace, make_workspace, write_dataset_json
from tests.real_data import real_data_folder

PLANS = "nnUNetPlansSmall"
FEATURES = [16, 32, 64, 128]
COMMANDS = """
{exports}
cd '{root}'
genesis benchmark 4 -p {plans} --name long --groups groups.csv --test-share 0.22 --labelled 5 --epochs 40 \\
    --iterations 50 -device cpu --cpu-bf16 --dry-run       # prints where test_cases.txt is
for PRETEXT in models-genesis semantic-genesis masked-genesis; do
    genesis-pretrain-nnunet 4 -p {plans} --pretext $PRETEXT --exclude TEST_CASES --output $PRETEXT --epochs 40 \\
        --iterations-per-epoch 50 -device cpu -np 0 --precision bf16-mixed
done
genesis benchmark 4 -p {plans} --name long --groups groups.csv --test-share 0.22 --labelled 5 --epochs 40 \\
    --iterations 50 -device cpu --cpu-bf16 --initialisation models-genesis=models-genesis/checkpoint_final.pth \\
    semantic-genesis=semantic-genesis/checkpoint_final.pth masked-genesis=masked-genesis/checkpoint_final.pth
"""


def add_scans(workspace: Workspace, source: Path) -> list[str]:
    """Copy all scans and labels as a raw dataset; return the names of the cases."""
    folder = workspace.raw / HIPPOCAMPUS
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (source / "images").glob("*.nii.gz"))
    for case in cases:
        shutil.copy(source / "images" / f"{case}.nii.gz", folder / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(source / "labels" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz")
    write_dataset_json(folder, ("MRI",), {"background": 0, "anterior": 1, "posterior": 2}, len(cases))
    return cases


def write_small_plans(workspace: Workspace) -> None:
    """Copy nnU-Net's plans with fewer features and a batch of 2; patch and stages stay nnU-Net's."""
    folder = workspace.preprocessed / HIPPOCAMPUS
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    settings = plans["configurations"]["3d_fullres"]
    stages = settings["architecture"]["arch_kwargs"]["n_stages"]
    settings["architecture"]["arch_kwargs"]["features_per_stage"] = FEATURES[:stages]
    settings["batch_size"] = 2
    plans["plans_name"], plans["configurations"] = PLANS, {"3d_fullres": settings}
    (folder / f"{PLANS}.json").write_text(json.dumps(plans, indent=1))


def write_groups(cases: list[str], file: Path) -> None:
    """Put both sides of a subject into one group."""
    numbers = {case: int(re.sub(r"\D", "", case)) for case in cases}
    lines = [f"{case},subject_{math.ceil(number / 2):03d}\n" for case, number in numbers.items()]
    file.write_text("case,group\n" + "".join(lines))


def main() -> None:
    """Make the workspace and print what to do in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder")
    root = parser.parse_args().folder.absolute()
    workspace = make_workspace(root)
    cases = add_scans(workspace, real_data_folder("hippocampus"))
    write_groups(cases, root / "groups.csv")
    # Planning takes its number of threads from nnUNet_n_proc_DA and refuses 0.
    workspace.run("nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "3d_fullres", "--no_pp", nnUNet_n_proc_DA="1")
    write_small_plans(workspace)
    workspace.run("nnUNetv2_preprocess", "-d", "4", "-c", "3d_fullres", "-plans_name", PLANS, "-np", "2")
    variables = {room: str(root / room) for room in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    variables |= {"nnUNet_compile": "0", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
    exports = "\n".join(f"export {name}='{value}'" for name, value in variables.items())
    sys.stdout.write(COMMANDS.format(exports=exports, plans=PLANS, root=root))


if __name__ == "__main__":
    main()
