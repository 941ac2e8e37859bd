"""What a trained network loses without a stage of its encoder: does the segmentation hang on it at all?

    python -m benchmarks.stage_use FOLDER [--labelled N] [--picture FILE] [--save]

FOLDER is one of `genesis benchmark` on this machine (schedule `standard`, checkpoints kept). What a stage hands to the
decoder is replaced by its mean over the patch, channel by channel: the skip connection of a stage alone, and for the
deepest one all that it says. Nothing is trained again. Judged on one patch of every test case, cut or padded around its
middle, without mirroring: the Dice of the whole network is not quite that of nnU-Net's prediction.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.case_patches import mean_dice, read_patches
from benchmarks.charts import draw_stage_use
from benchmarks.finished_runs import finished_runs, open_benchmark
from benchmarks.machine import report
from nnunet_genesis.errors import GenesisError

WHOLE = "whole"


def dice_without(network: Any, images: torch.Tensor, classes: torch.Tensor, silenced: int | None) -> float:
    """Mean Dice over cases of an nnU-Net U-Net, with one stage of its encoder silenced."""
    scores = []
    for image, truth in zip(images, classes, strict=True):
        with torch.no_grad():
            stages = list(network.encoder(image[None]))
            if silenced is not None:
                axes = tuple(range(2, stages[silenced].ndim))
                stages[silenced] = stages[silenced].mean(axes, keepdim=True).expand_as(stages[silenced])
            scores.append(mean_dice(network.decoder(stages)[0].argmax(0), truth))
    return float(np.nanmean(scores))


def main() -> None:
    """Silence every stage of all finished trainings of a benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labelled", type=int, help="cases that they were trained on (default: the fewest)")
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    record, planned = open_benchmark(options.folder)
    images, classes = read_patches(record.settings.test_cases, record.settings, planned)
    dice: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, _, weights in finished_runs(options.folder, record, options.labelled):
        network: Any = planned.build().eval()
        network.load_state_dict(weights)
        stages = len(network.encoder.output_channels)
        for silenced in (None, *range(stages)):
            part = WHOLE if silenced is None else f"without {silenced + 1} of {stages}"
            dice[name][part].append(dice_without(network, images, classes, silenced))
    figures, lines = {}, []
    for name, parts in dice.items():
        lines.append(f"{name} ({len(parts[WHOLE])} trainings), mean Dice of {len(images)} patches (least to most)")
        for part, values in parts.items():
            figures[f"{name}/{part}"] = float(np.mean(values))
            lines.append(f"  {part:15s} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    if options.picture:
        draw_stage_use(options.picture, dice)
    report("stage_use", "\n".join(lines), figures, save=options.save, as_json=False)


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
