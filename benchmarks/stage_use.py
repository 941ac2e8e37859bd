"""What a trained network loses without a stage of its encoder: does the segmentation hang on it at all?

    python -m benchmarks.stage_use FOLDER [--picture FILE] [--save]

FOLDER is one of `genesis benchmark` on this machine (schedule `standard`, checkpoints kept). What a stage hands to the
decoder is replaced by its mean over the patch, channel by channel: the skip connection of a stage alone, and for the
deepest one all that it says. Nothing is trained again. Judged on one patch of every test case, cut or padded around its
middle, without mirroring, so that the Dice of the whole network is not quite that of nnU-Net's prediction.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from benchmarks.charts import draw_stage_use
from benchmarks.finished_runs import finished_runs, open_benchmark
from benchmarks.machine import report
from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import read_json_object
from nnunet_genesis.plans_files import plan_again

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.planned_networks import PlannedNetwork

WHOLE = "whole"


def read_patches(record: Record, planned: PlannedNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (cases, channels, *patch_size) and classes (cases, *patch_size) of the middles of the test cases."""
    settings = record.settings
    plans = read_json_object(planned.file, plan_again(settings.dataset))
    identifier = plans["configurations"][settings.configuration]["data_identifier"]
    dataset = nnUNetDatasetBlosc2(str(Path(nnUNet_preprocessed, settings.dataset, identifier)))
    images, classes = [], []
    for case in settings.test_cases:
        image, segmentation, _, _ = dataset.load_case(case)
        corners = [(size - side) // 2 for size, side in zip(image.shape[1:], planned.patch_size, strict=True)]
        box = [[corner, corner + side] for corner, side in zip(corners, planned.patch_size, strict=True)]
        images.append(torch.from_numpy(crop_and_pad_nd(image, box, 0)))
        classes.append(torch.from_numpy(crop_and_pad_nd(segmentation, box, 0))[0])
    return torch.stack(images).float(), torch.stack(classes)


def mean_dice(network: Any, images: torch.Tensor, classes: torch.Tensor, without: int | None) -> float:
    """Mean over cases and classes that are there, of an nnU-Net U-Net with one stage of its encoder silenced."""
    scores: list[float] = []
    for image, truth in zip(images, classes, strict=True):
        with torch.no_grad():
            stages = list(network.encoder(image[None]))
            if without is not None:
                axes = tuple(range(2, stages[without].ndim))
                stages[without] = stages[without].mean(axes, keepdim=True).expand_as(stages[without])
            predicted = network.decoder(stages)[0].argmax(0)
        for label in truth.unique():
            if label > 0:
                both = (predicted == label).sum() + (truth == label).sum()
                scores.append((2 * ((predicted == label) & (truth == label)).sum() / both).item())
    return float(np.mean(scores))


def main() -> None:
    """Silence every stage of all finished trainings of a benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    record, planned = open_benchmark(options.folder)
    images, classes = read_patches(record, planned)
    dice: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, _, weights in finished_runs(options.folder, record):
        network: Any = planned.build().eval()
        network.load_state_dict(weights)
        stages = len(network.encoder.output_channels)
        for without in (None, *range(stages)):
            part = WHOLE if without is None else f"without {without + 1} of {stages}"
            dice[name][part].append(mean_dice(network, images, classes, without))
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
    except SetupError as error:
        sys.exit(str(error))
