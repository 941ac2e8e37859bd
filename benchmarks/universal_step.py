"""Time of a pretraining step of the Universal Model, beside one of Models Genesis alone.

    python -m benchmarks.universal_step --sizes 40x56x40 --turns 7 --json

A step makes the pairs of a batch, runs network and heads, and takes a step of AdamW; reading is not in it. All variants
take turns, so that what else runs on the machine meets all of them; figures are medians of the turns, and the ratios
say more than the milliseconds.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.machine import add_report_flags, parse_size, report
from benchmarks.pairs import SEED, smooth_patch
from benchmarks.workload import written_dataset
from nnunet_genesis.config import ModelsGenesisConfig, UniversalModelConfig
from nnunet_genesis.machine import count_cores
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretext_network import build_pretext_network
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from nnunet_genesis.pretraining.pretexts.universal_model import UniversalModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.pretexts.base import Pretext

ALONE = "models-genesis"
VARIANTS = {
    "restoration": UniversalModelConfig(scale_weight=0.0, adversary_weight=0.0),
    "+ scale": UniversalModelConfig(adversary_weight=0.0),
    "+ adversary": UniversalModelConfig(scale_weight=0.0),
    "all": UniversalModelConfig(),
    "all, classifier": UniversalModelConfig(adversary="classifier"),
    "all, in turns": UniversalModelConfig(adversary="classifier", alternating=True),
}
MODALITIES = {"labelled": ("MRI",), "archive": ("CT",)}


def step_maker(
    planned: PlannedConfiguration, pretext: Pretext[Any], batch_size: int, device: str
) -> Callable[[], None]:
    """A training step as in `nnunet_genesis.pretraining.loop.train`, in the run's precision."""
    size = planned.patch_size
    patches = torch.from_numpy(smooth_patch(size) * 4 - 1.5).float().expand(batch_size, -1, *size).contiguous()
    patches, inside = patches.to(device), torch.tensor([[0, side] for side in size]).expand(batch_size, -1, -1)
    labels = {name: (torch.arange(batch_size) % 2).to(device) for name in ("source", "scale")}
    network = build_pretext_network(planned, pretext, SEED).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(SEED)
    number = 0

    def take_step() -> None:
        nonlocal number
        pretext.enter_step(network.heads, number, 0.5)
        pairs = pretext.make_pairs(patches, inside, pretext.sample(batch_size, generator))
        with torch.autocast(device, torch.bfloat16):
            outputs = network(pairs.distorted, pretext.seen_by_heads(pairs))
            losses = {
                **pretext.restoration_losses(outputs.restored, pairs),
                **pretext.head_losses(network.heads, outputs.heads, labels),
            }
            loss = torch.stack(list(losses.values())).sum(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        number += 1

    return take_step


def measure(planned: PlannedConfiguration, batch_size: int, turns: int, device: str) -> dict[str, float]:
    """Milliseconds per step: medians over the turns, the first of which does not count."""
    restoration = ModelsGenesis(ModelsGenesisConfig(), planned.patch_size, IntensityRange((-1.5,), (2.5,), (False,)))
    pretexts: dict[str, Pretext[Any]] = {ALONE: restoration}
    pretexts |= {name: UniversalModel(restoration, config, MODALITIES) for name, config in VARIANTS.items()}
    steps = {name: step_maker(planned, pretext, batch_size, device) for name, pretext in pretexts.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns + 1):
        for name, take_step in steps.items():
            _synchronize(device)
            begin = time.perf_counter()
            for _ in range(2):
                take_step()
            _synchronize(device)
            times[name].append((time.perf_counter() - begin) / 2 * 1000)
    return {name: median(of_turns[1:]) for name, of_turns in times.items()}


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure, and write a table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["40x56x40"])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--features", type=int, default=16, help="of the first stage")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"load before: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {count_cores()} cores"]
    lines += [f"batch {options.batch_size}, {options.features} features, bf16, {options.device}", ""]
    lines.append(f"{'size':>12} {'what':>16} {'ms':>9} {'/ models-genesis':>17}")
    figures: dict[str, float] = {}
    for text in options.sizes:
        size = parse_size(text)
        with written_dataset(size, size, base_features=options.features) as planned:
            times = measure(planned, options.batch_size, options.turns, options.device)
        for name, ms in times.items():
            key = f"{text}_{name.replace('+ ', 'and_').replace(', ', '_').replace(' ', '_').replace('-', '_')}"
            figures |= {f"ms_{key}": ms, f"over_models_genesis_{key}": ms / times[ALONE]}
            lines.append(f"{text:>12} {name:>16} {ms:9.0f} {ms / times[ALONE]:17.2f}")
    report("universal_step", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
