"""What frozen encoders know of the classes: logistic regression per voxel, on few labelled scans.

    python -m benchmarks.voxel_probe FOLDER [--labelled 6 10] [--trained scratch ...] [--picture FILE] [--save [NAME]]

FOLDER is one of `genesis benchmark` on this machine; its pretrained files are compared with random weights (three
seeds), on its labelled and its test cases, and with `--trained` also the encoders that its trainings on the fewest of
them ended with. Features are the encoder's stages, interpolated to the patch. No network is trained here: this says
what an encoder brings, not what nnU-Net makes of it. One patch per case, around its middle; larger cases are cut.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.case_patches import mean_dice, read_patches
from benchmarks.charts import draw_probes
from benchmarks.finished_runs import finished_runs, open_benchmark
from benchmarks.machine import report
from nnunet_genesis.benchmark.settings import FIXED
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.interop import open_source
from nnunet_genesis.pretraining.seeds import Stream, initial_weights
from nnunet_genesis.transfer import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sklearn.pipeline import Pipeline

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.planned_networks import PlannedNetwork

RANDOM = "random weights"
RANDOM_SEEDS = (0, 1, 2)
VOXELS = 1000
"""Per labelled case and class that are learned from, and twice as many of the background."""
STRENGTH = 0.01
"""scikit-learn's C, chosen beforehand."""
ALL = "all stages"


def encoders(
    folder: Path, record: Record, planned: PlannedNetwork, trained: list[str], labelled: int
) -> Iterator[tuple[str, Any]]:
    """Names and encoders: random ones first, then pretrained ones, then those of finished trainings."""
    for seed in RANDOM_SEEDS:
        with initial_weights(seed, Stream.INITIAL_WEIGHTS):
            network: Any = planned.build().eval()
        yield RANDOM, network.encoder
    for name, told in record.initialisations.items():
        network = planned.build().eval()
        load_weights(network, open_source(Path(told["file"])), image_channels=planned.image_channels)
        yield name, network.encoder
    for name, _, weights in finished_runs(folder, record, labelled, trained) if trained else ():
        network = planned.build().eval()
        network.load_state_dict(weights)
        yield f"{name}, trained", network.encoder


def list_labelled(record: Record, numbers: list[int]) -> list[str]:
    """Labelled cases in the order in which the first n are the subset of n.

    Raises:
        SetupError: If seeds draw their own cases, or there is no subset of such a number.
    """
    known = {subset.labelled: subset.cases for subset in record.subsets}
    if record.settings.subset_draws != FIXED or not known.keys() >= set(numbers):
        raise SetupError(
            f"--labelled {numbers}: the benchmark has {sorted(known)} labelled cases, {record.settings.subset_draws}",
            mend=f"--labelled {min(known)}, in a benchmark with --subset-draws {FIXED}",
        )
    return list(dict.fromkeys(case for number in sorted(numbers) for case in known[number]))


def features_of(encoder: Any, image: torch.Tensor) -> list[torch.Tensor]:
    """Features of every voxel, per stage (voxels, features)."""
    with torch.no_grad():
        stages = encoder(image[None])
        sized = [torch.nn.functional.interpolate(stage, image.shape[1:], mode="trilinear") for stage in stages]
    return [stage[0].flatten(1).T for stage in sized]


def choose(stages: list[torch.Tensor], which: str) -> torch.Tensor:
    """The features of all stages, or of the one that is named by its number."""
    return torch.cat(stages, 1) if which == ALL else stages[int(which) - 1]


def fit(
    encoder: Any, images: torch.Tensor, classes: torch.Tensor, views: list[tuple[int, str]]
) -> dict[tuple[int, str], Pipeline]:
    """Logistic regressions, one per number of labelled cases and choice of stages."""
    generator = np.random.default_rng(0)
    cases, targets = [], []
    for image, truth in zip(images, classes, strict=True):
        flat = truth.flatten().numpy()
        chosen = []
        for label in np.unique(flat[flat >= 0]):
            found = np.flatnonzero(flat == label)
            chosen.append(generator.permutation(found)[: VOXELS if label else 2 * VOXELS])
        kept = np.concatenate(chosen)
        cases.append([stage[kept] for stage in features_of(encoder, image)])
        targets.append(flat[kept])
    models = {}
    for count, which in views:
        known = torch.cat([choose(stages, which) for stages in cases[:count]])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
        models[count, which] = model.fit(known.numpy(), np.concatenate(targets[:count]))
    return models


def judge(
    encoder: Any, images: torch.Tensor, classes: torch.Tensor, models: Mapping[Any, Pipeline]
) -> dict[Any, float]:
    """Mean Dice over test cases of every model."""
    scores: dict[Any, list[float]] = defaultdict(list)
    for image, truth in zip(images, classes, strict=True):
        stages = features_of(encoder, image)
        for view, model in models.items():
            predicted = torch.from_numpy(model.predict(choose(stages, view[1]).numpy())).reshape(truth.shape)
            scores[view].append(mean_dice(predicted, truth))
    return {view: float(np.mean(values)) for view, values in scores.items()}


def main() -> None:
    """Probe all encoders of a benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labelled", type=int, nargs="+", default=[6, 10])
    parser.add_argument("--trained", nargs="+", default=[], metavar="NAME", help="initialisations of such trainings")
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument(
        "--save", metavar="NAME", nargs="?", const="voxel_probe", help="of the file in benchmarks/results"
    )
    options = parser.parse_args()
    record, planned = open_benchmark(options.folder)
    images, classes = read_patches(list_labelled(record, options.labelled), record.settings, planned)
    test_images, test_classes = read_patches(record.settings.test_cases, record.settings, planned)
    dice: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, encoder in encoders(options.folder, record, planned, options.trained, min(options.labelled)):
        stages = [str(stage + 1) for stage in range(len(encoder.output_channels))]
        views = [(count, ALL) for count in options.labelled] + [(min(options.labelled), stage) for stage in stages]
        models = fit(encoder, images, classes, views)
        for (count, which), score in judge(encoder, test_images, test_classes, models).items():
            what = which if which == ALL else f"stage {which}"
            dice[f"{count} labelled, {what}"][name].append(score)
    figures, lines = {}, [f"mean Dice of {len(test_images)} patches"]
    for view, by_encoder in dice.items():
        lines.append(view)
        for name, values in by_encoder.items():
            figures[f"{view}/{name}"] = float(np.mean(values))
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            lines.append(f"  {name:26s} {np.mean(values):.3f}{spread}")
    if options.picture:
        draw_probes(options.picture, dice)
    report(options.save or "", "\n".join(lines), figures, save=options.save is not None, as_json=False)


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
