"""The table of docs/weights.md: files of every kind, read back, and put into every network.

python -m tests.transfer.matrix
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.errors import TransferError
from nnunet_genesis.interop import open_source
from nnunet_genesis.transfer import load_weights
from tests.interop.written import write_genesis, write_nnssl, write_nnunet_v1, write_nnunet_v2, write_wrapped_state_dict
from tests.transfer.networks import build, describe, encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from nnunet_genesis.transfer import TransferReport

PLAIN: dict[str, Any] = {"features": (4, 8, 16, 16), "blocks": [2, 2, 2, 2], "decoder_blocks": 2}
"""Settings of all networks that do not say otherwise."""
ANISOTROPIC: dict[str, Any] = {
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
}
RESIDUAL_M: dict[str, Any] = {"residual": True, "blocks": [1, 2, 2, 2]}
RESIDUAL_L: dict[str, Any] = {"residual": True, "blocks": [1, 2, 2, 2, 2], "features": (4, 8, 16, 16, 16)}
EXACT_RULES = ("input channels", "channels of the previous stage")


@dataclass(frozen=True)
class Source:
    """A file to be written, and the network whose weights it holds."""

    write: Callable[[Path, nn.Module, dict[str, Any]], None]
    channels: int = 1
    description: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A network to load into."""

    channels: int = 1
    image_channels: int = 1
    description: dict[str, Any] = field(default_factory=dict)


SOURCES = {
    "nnunet-genesis, 3d": Source(write_genesis),
    "nnunet-genesis, 3d, 4 channels": Source(write_genesis, channels=4),
    "nnunet-genesis, 2d": Source(write_genesis, description={"dim": 2}),
    "nnunet-genesis, anisotropic": Source(write_genesis, description=ANISOTROPIC),
    "nnunet-genesis, ResEnc M": Source(write_genesis, description=RESIDUAL_M),
    "nnU-Net v2 model, 3d": Source(write_nnunet_v2),
    "nnU-Net v1 model, 3d": Source(write_nnunet_v1),
    "nnU-Net v1 model, anisotropic": Source(write_nnunet_v1, description=ANISOTROPIC),
    "nnssl, PlainConvUNet": Source(write_nnssl),
    "nnssl, ResEnc L": Source(write_nnssl, description=RESIDUAL_L),
    "state dict of DDP and compile, 3d": Source(write_wrapped_state_dict),
}
TARGETS = {
    "3d": Target(),
    "2d": Target(description={"dim": 2}),
    "anisotropic": Target(description=ANISOTROPIC),
    "4 channels": Target(4, 4),
    "ResEnc M": Target(description=RESIDUAL_M),
    "ResEnc L": Target(description=RESIDUAL_L),
    "cascade": Target(3, 1),
}


def make_table() -> str:
    """The whole table, in Markdown."""
    lines = ["| from \\ into | " + " | ".join(TARGETS) + " |", "|---" * (len(TARGETS) + 1) + "|"]
    with TemporaryDirectory() as folder:
        for number, (name, source) in enumerate(SOURCES.items()):
            network, file = _build(source.channels, source.description), Path(folder) / f"{number}.pth"
            source.write(file, network, describe(**{**PLAIN, **source.description}))
            cells = [_transfer(file, network, source, target) for target in TARGETS.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _build(channels: int, description: dict[str, Any], seed: int = 0) -> nn.Module:
    return build(channels, seed=seed, **{**PLAIN, **description})


def _transfer(file: Path, network: nn.Module, source: Source, target: Target) -> str:
    filled = _build(target.channels, target.description, seed=1)
    try:
        report = load_weights(filled, open_source(file), image_channels=target.image_channels, minimum_share=0.0)
    except TransferError:
        return "refused"
    count = sum(1 for name, _ in filled.named_parameters() if name.startswith("encoder."))
    cell = f"{len(report.loaded)} + {len(report.adapted)} of {count}, {100 * report.encoder_share:.3g} %"
    if _promises_equality(report, source, target):
        return f"{cell}; {_bound(_difference(network, filled, source, target))}"
    return cell


def _promises_equality(report: TransferReport, source: Source, target: Target) -> bool:
    """Only channels differ, if anything: kernels and strides are the same."""
    same = {key: source.description.get(key) for key in ("dim", "kernels", "strides")} == {
        key: target.description.get(key) for key in ("dim", "kernels", "strides")
    }
    return same and all(any(exact in rule for exact in EXACT_RULES) for rule in report.adapted.values())


def _difference(network: nn.Module, filled: nn.Module, source: Source, target: Target) -> float:
    """Largest difference of the features of all stages that both have, over the largest feature, on equal channels."""
    sides = [32] * source.description.get("dim", 3)
    image = torch.rand(1, 1, *sides, generator=torch.Generator().manual_seed(0))
    previous = torch.rand(
        1, target.channels - target.image_channels, *sides, generator=torch.Generator().manual_seed(1)
    )
    ours = torch.cat([image.expand(-1, target.image_channels, *sides), previous], dim=1)
    with torch.no_grad():
        theirs = encoder(network)(image.expand(-1, source.channels, *sides))
        stages = zip(encoder(filled)(ours), theirs, strict=False)
        return max(float((mine - other).abs().max() / other.abs().max()) for mine, other in stages)


def _bound(difference: float) -> str:
    """Rounding differs from machine to machine: a power of ten that it stays below."""
    return next((f"< {limit:g}" for limit in (1e-5, 1e-4, 1e-3) if difference < limit), f"{difference:.1e}")


if __name__ == "__main__":
    sys.stdout.write(make_table() + "\n")
