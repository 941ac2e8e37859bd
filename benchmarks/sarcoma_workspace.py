"""Everything that `genesis benchmark` needs for our own answer on sarcomas: folders, small plans, test sets, commands.

    python -m benchmarks.sarcoma_workspace FOLDER

Copies the 12 T1 scans with tumour labels (NNUNET_GENESIS_DATA) into nnU-Net's rooms below FOLDER, plans and
preprocesses them at about 3 mm, so that a patch of 32 x 48 x 48 voxels holds a tumour and what is around it, and writes
three files with four test patients each, which together name every patient once. Prints the commands that follow.
"""

from __future__ import annotations

import sys

from benchmarks.small_workspace import PLANS, add_scans, export_lines, folder_argument, preprocess_with_small_plans
from tests.integration.workspace import make_workspace
from tests.real_data import real_data_folder

SARCOMA = "Dataset020_Sarcoma"
SPACING = (3.27, 2.93, 2.93)
"""In mm; z as scanned, three pixels in one within the slice."""
PATCH_SIZE = (32, 48, 48)
THIRDS = 3
COMMANDS = """
{exports}
cd '{root}'
for THIRD in 0 1 2; do
    genesis-pretrain-nnunet 20 -p {plans} --exclude third$THIRD.txt --output models-genesis$THIRD --epochs 40 \\
        --iterations-per-epoch 50 -device cpu -np 0 --precision bf16-mixed
    genesis benchmark 20 -p {plans} --name third$THIRD --test-cases third$THIRD.txt --labelled 4 all --seeds $THIRD \\
        --epochs 30 --iterations 50 -device cpu --cpu-bf16 \\
        --initialisation models-genesis=models-genesis$THIRD/checkpoint_final.pth
done
"""


def main() -> None:
    """Make the workspace and print what to do in it."""
    root = folder_argument(__doc__)
    workspace = make_workspace(root)
    cases = add_scans(workspace, real_data_folder("sts_mr_t1"), SARCOMA, {"background": 0, "tumour": 1})
    for third in range(THIRDS):
        (root / f"third{third}.txt").write_text("".join(f"{case}\n" for case in cases[third::THIRDS]))
    plan = ("nnUNetv2_plan_and_preprocess", "-d", "20", "-c", "3d_fullres", "--no_pp")
    spacing = ("-overwrite_target_spacing", *(str(side) for side in SPACING))
    workspace.run(*plan, *spacing, nnUNet_n_proc_DA="1")
    preprocess_with_small_plans(workspace, SARCOMA, PATCH_SIZE)
    sys.stdout.write(COMMANDS.format(exports=export_lines(root), plans=PLANS, root=root))


if __name__ == "__main__":
    main()
