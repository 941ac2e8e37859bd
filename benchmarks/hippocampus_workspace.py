"""Everything that `genesis benchmark` needs for our own answer on hippocampus: folders, small plans, groups, commands.

    python -m benchmarks.hippocampus_workspace FOLDER

Copies the 206 scans of MSD Task04 (NNUNET_GENESIS_DATA) into nnU-Net's rooms below FOLDER, plans and preprocesses them
with a U-Net of 16, 32, 64, 128 features and batch 2, and writes groups.csv: the scans 2 k - 1 and 2 k look like the two
sides of one subject. Prints the commands that follow.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING

from benchmarks.small_workspace import PLANS, add_scans, export_lines, folder_argument, preprocess_with_small_plans
from tests.integration.workspace import HIPPOCAMPUS, make_workspace
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = """
{exports}
cd '{root}'
genesis benchmark 4 -p {plans} --name long --groups groups.csv --test-share 0.22 --labelled 5 10 --epochs 40 \\
    --iterations 50 -device cpu --cpu-bf16 --dry-run       # prints where test_cases.txt is
for PRETEXT in models-genesis semantic-genesis masked-genesis; do
    genesis-pretrain-nnunet 4 -p {plans} --pretext $PRETEXT --exclude TEST_CASES --output $PRETEXT --epochs 40 \\
        --iterations-per-epoch 50 -device cpu -np 0 --precision bf16-mixed
done
genesis benchmark 4 -p {plans} --name long --groups groups.csv --test-share 0.22 --labelled 5 --epochs 40 \\
    --iterations 50 -device cpu --cpu-bf16 --initialisation models-genesis=models-genesis/checkpoint_final.pth \\
    semantic-genesis=semantic-genesis/checkpoint_final.pth masked-genesis=masked-genesis/checkpoint_final.pth
"""


def write_groups(cases: list[str], file: Path) -> None:
    """Put both sides of a subject into one group."""
    numbers = {case: int(re.sub(r"\D", "", case)) for case in cases}
    lines = [f"{case},subject_{math.ceil(number / 2):03d}\n" for case, number in numbers.items()]
    file.write_text("case,group\n" + "".join(lines))


def main() -> None:
    """Make the workspace and print what to do in it."""
    root = folder_argument(__doc__)
    workspace = make_workspace(root)
    cases = add_scans(
        workspace,
        real_data_folder("hippocampus"),
        HIPPOCAMPUS,
        {"background": 0, "anterior": 1, "posterior": 2},
    )
    write_groups(cases, root / "groups.csv")
    # Planning takes its number of threads from nnUNet_n_proc_DA and refuses 0.
    workspace.run("nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "3d_fullres", "--no_pp", nnUNet_n_proc_DA="1")
    preprocess_with_small_plans(workspace, HIPPOCAMPUS, patch_size=None)
    sys.stdout.write(COMMANDS.format(exports=export_lines(root), plans=PLANS, root=root))


if __name__ == "__main__":
    main()
