"""Does the network wait? The pretraining loop against the same network on one ready batch.

    python -m benchmarks.feeding --json
    python -m benchmarks.feeding --device cuda --patch 128 --architecture resenc-l --precision bf16-mixed --json

Steps per second of the real training loop (loader processes, pairs, progress bar) over those of a plain loop that
trains the same network on one pair in memory. Both run in turns; the first steps of a turn are not counted. Beside it,
the time to make a batch of pairs over the time of a step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from benchmarks.machine import parse_size, report
from benchmarks.pairs import mean_ms
from benchmarks.workload import ARCHITECTURES, all_patches, measured_range, written_dataset
from nnunet_genesis.config import PRECISIONS, PretrainingConfig
from nnunet_genesis.pretraining.data import StepSampler, build_loader
from nnunet_genesis.pretraining.devices import launch_fabric, should_compile
from nnunet_genesis.pretraining.interruption import StopRequest
from nnunet_genesis.pretraining.loop import TrainingState, build_optimizer, train
from nnunet_genesis.pretraining.monitor import Monitor
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts import build_pretext
from nnunet_genesis.pretraining.processes import loader_workers
from nnunet_genesis.pretraining.saving import SaveSchedule
from nnunet_genesis.pretraining.validation import Baselines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lightning_fabric import Fabric
    from torch import nn

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import PatchDataset
    from nnunet_genesis.pretraining.feeding import Batch

SEED = 0
WARM_UP_STEPS = 5


@dataclass
class Turn:
    """Everything that trains, set up once: the loop and the plain loop share the network and the optimizer."""

    fabric: Fabric
    planned: PlannedConfiguration
    config: PretrainingConfig
    pretext: Any
    dataset: PatchDataset
    network: Any
    wrapped: Any
    optimizer: Any

    def run_loop(self, steps: int, workers: int) -> float:
        """Seconds per step of the real training loop."""
        sampler = StepSampler(0, WARM_UP_STEPS + steps + 1, self.config.batch_size)
        loader = build_loader(self.dataset, sampler, workers=workers, pin_memory=self.fabric.device.type == "cuda")
        marks: list[float] = []
        state = TrainingState(0)
        with TemporaryDirectory() as folder, StopRequest() as stop:
            stop.defer()
            monitor = Monitor(
                Path(folder), title="", spacing=self.planned.spacing, total_steps=len(sampler), first_step=0
            )
            train(
                self.fabric,
                self.config,
                network=self.network,
                wrapped=self.wrapped,
                optimizer=self.optimizer,
                pretext=self.pretext,
                batches=self._marked(loader, marks),
                validation=None,  # type: ignore[arg-type]
                baselines=Baselines(1, 1, 1),
                state=state,
                files=None,  # type: ignore[arg-type]
                monitor=monitor,
                schedule=SaveSchedule(),
                stop=stop,
            )
            monitor.close()
        return (marks[-1] - marks[WARM_UP_STEPS]) / (len(marks) - 1 - WARM_UP_STEPS)

    def run_ready(self, steps: int) -> float:
        """Seconds per step on one pair in memory."""
        patches, inside, _ = self._first_batch()
        generator = torch.Generator().manual_seed(SEED)
        pairs = self.pretext.make_pairs(patches, inside, self.pretext.sample(self.config.batch_size, generator))
        for step in range(WARM_UP_STEPS + steps):
            if step == WARM_UP_STEPS:
                self._wait()
                start = time.perf_counter()
            restored = self.wrapped(pairs.distorted).restored
            loss = self.pretext.restoration_losses(restored, pairs)["restoration"].mean()
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=self.config.gradient_clip, error_if_nonfinite=False
            )
            self.optimizer.step()
        self._wait()
        return (time.perf_counter() - start) / steps

    def pair_seconds(self) -> float:
        """Seconds to make one batch of pairs, parameters included."""
        patches, inside, _ = self._first_batch()
        generator = torch.Generator().manual_seed(SEED)
        pairs = None

        def make() -> None:
            nonlocal pairs
            pairs = self.pretext.make_pairs(
                patches, inside, self.pretext.sample(self.config.batch_size, generator), out=pairs
            )

        return mean_ms(make, 50, synchronize=self.fabric.device.type == "cuda") / 1000

    def _first_batch(self) -> Batch:
        loader = build_loader(self.dataset, StepSampler(0, 1, self.config.batch_size), workers=0, pin_memory=False)
        patches, inside, labels = next(iter(loader))
        return patches.to(self.fabric.device), inside, labels

    def _marked(self, loader: Iterable[Batch], marks: list[float]) -> Iterator[Batch]:
        for batch in loader:
            if len(marks) in (WARM_UP_STEPS, WARM_UP_STEPS + 1):
                self._wait()
            marks.append(time.perf_counter())
            yield batch
        self._wait()
        marks.append(time.perf_counter())

    def _wait(self) -> None:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()


def measure_loop(options: argparse.Namespace, planned: PlannedConfiguration, figures: dict[str, float]) -> list[str]:
    """Steps per second, and the share of a step that pairs take."""
    fabric = launch_fabric(options.device, 1, options.precision)
    config = PretrainingConfig(
        "models-genesis", options.batch, epochs=1, iterations_per_epoch=1_000_000, precision=options.precision
    )
    intensities = measured_range(planned)
    network = PretextNetwork(planned.build_restoration_network(), None)
    optimizer = build_optimizer(network, config)
    compiled = cast("nn.Module", torch.compile(network)) if should_compile(options.device) else network
    wrapped, prepared = fabric.setup(compiled, optimizer)
    pretext = build_pretext(config, planned, intensities)
    turn = Turn(fabric, planned, config, pretext, all_patches(planned), network, wrapped, prepared)
    turn.run_ready(1)
    ready, loop = [], []
    for _ in range(options.turns):
        ready.append(turn.run_ready(options.steps))
        loop.append(turn.run_loop(options.steps, options.workers))
    pair = turn.pair_seconds()
    share = float(np.median(ready)) / float(np.median(loop))
    figures |= {
        "loop_over_ready": share,
        "steps_per_second_ready": 1 / float(np.median(ready)),
        "steps_per_second_loop": 1 / float(np.median(loop)),
        "pairs_over_step": pair / float(np.median(ready)),
    }
    return [
        f"network: {options.architecture}, {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters,"
        f" patch {options.patch}, batch {options.batch}, {fabric.device}, {config.precision},"
        f" {options.workers} worker(s)",
        f"{'turn':>6} {'ready, s/step':>14} {'loop, s/step':>13}",
        *(f"{number:6d} {a:14.4f} {b:13.4f}" for number, (a, b) in enumerate(zip(ready, loop, strict=True), 1)),
        f"loop runs at {100 * share:.1f} % of the ready batch (medians)",
        f"pairs: {1000 * pair:.2f} ms per batch, {100 * pair / float(np.median(ready)):.2f} % of a step",
        "",
    ]


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--architecture", choices=tuple(ARCHITECTURES), default="plain")
    parser.add_argument("--base-features", type=int, default=32)
    parser.add_argument("--patch", default="40x56x40", help="e.g. 128 or 16x320x320 (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--workers", type=int, default=loader_workers())
    parser.add_argument("--steps", type=int, default=20, help="per turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--save", metavar="NAME", help="keep the results in benchmarks/results/NAME.txt and .json")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    size = parse_size(options.patch)
    with written_dataset(
        tuple(int(1.5 * side) for side in size),
        size,
        architecture=options.architecture,
        base_features=options.base_features,
    ) as planned:
        lines = measure_loop(options, planned, figures)
    report(options.save or "feeding", "\n".join(lines), figures, save=bool(options.save), as_json=options.json)


if __name__ == "__main__":
    main()
