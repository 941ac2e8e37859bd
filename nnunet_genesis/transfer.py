"""Put pretrained weights into a network, and say exactly what was put where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ENCODER_PREFIX = "encoder."


@dataclass(frozen=True)
class TransferReport:
    """What happened to each tensor of the target network.

    Tensors are counted once, also where a state dict lists them under several names (``encoder.*`` and
    ``decoder.encoder.*`` are the same in nnU-Net's U-Nets).

    Attributes:
        loaded: Names of target tensors that were copied unchanged.
        adapted: Target tensor name to the rule by which a tensor of another shape was made to fit.
        unmatched: Encoder tensor name to the reason why nothing was loaded into it.
        left: Names of tensors outside the encoder, which keep nnU-Net's initialisation.
        num_parameters: Number of scalars in every group: ``loaded``, ``adapted``, ``unmatched``, ``left``.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    num_parameters: dict[str, int] = field(
        default_factory=lambda: {"loaded": 0, "adapted": 0, "unmatched": 0, "left": 0}
    )

    @property
    def encoder_share(self) -> float:
        """Share of the encoder's parameters that were loaded or adapted, in [0, 1]."""
        filled = self.num_parameters["loaded"] + self.num_parameters["adapted"]
        return filled / max(1, filled + self.num_parameters["unmatched"])

    @property
    def network_share(self) -> float:
        """Share of all the network's parameters that were loaded or adapted, in [0, 1]."""
        filled = self.num_parameters["loaded"] + self.num_parameters["adapted"]
        return filled / max(1, sum(self.num_parameters.values()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "tensors_loaded": len(self.loaded),
            "tensors_adapted": len(self.adapted),
            "tensors_unmatched": len(self.unmatched),
            "tensors_left": len(self.left),
            "encoder_share": self.encoder_share,
            "network_share": self.network_share,
            "num_parameters": dict(self.num_parameters),
            "adapted": dict(self.adapted),
            "unmatched": dict(self.unmatched),
        }

    def summary_lines(self) -> list[str]:
        """A few lines for a log."""
        return [
            f"loaded {len(self.loaded)} tensors, adapted {len(self.adapted)},"
            f" {100 * self.encoder_share:.4g} % of the encoder's parameters"
            f" ({100 * self.network_share:.4g} % of the network's)",
            f"left at nnU-Net's initialisation: {len(self.left)} tensors outside the encoder,"
            f" {len(self.unmatched)} encoder tensors without a match",
            *(f"not loaded: {name}: {reason}" for name, reason in self.unmatched.items()),
        ]


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel and torch.compile wrappers."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = network.module
    original = getattr(network, "_orig_mod", network)
    return original if isinstance(original, nn.Module) else network


def load_encoder_weights(
    network: nn.Module, source_weights: Mapping[str, torch.Tensor], *, source: Path, minimum_share: float = 0.9
) -> TransferReport:
    """Copy the encoder's tensors of a state dict into a network, in place; names and shapes must agree.

    Nothing is changed unless at least `minimum_share` of the encoder can be loaded.

    Args:
        network: Unwrapped nnU-Net network with an ``encoder``.
        source_weights: State dict of the pretrained network.
        source: File the weights come from, for messages.
        minimum_share: Share of the encoder's parameters below which loading is an error.

    Raises:
        TransferError: If the network has no encoder, if a tensor is not finite, or if less than `minimum_share` of
            the encoder fits.
    """
    report = TransferReport()
    copies: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, tensor in _unique_tensors(network):
        if not name.startswith(ENCODER_PREFIX):
            report.left.append(name)
            report.num_parameters["left"] += tensor.numel()
            continue
        candidate = source_weights.get(name)
        if candidate is None or candidate.shape != tensor.shape:
            report.unmatched[name] = _reason(tensor, candidate)
            report.num_parameters["unmatched"] += tensor.numel()
            continue
        if not torch.isfinite(candidate).all():
            raise TransferError(f"the tensor {name} holds NaN or infinite values", where=source)
        copies.append((tensor, candidate))
        report.loaded.append(name)
        report.num_parameters["loaded"] += tensor.numel()
    if not report.loaded or report.encoder_share < minimum_share:
        raise _does_not_fit(network, report, source, minimum_share)
    with torch.no_grad():
        for tensor, candidate in copies:
            tensor.copy_(candidate)
    return report


def _unique_tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _reason(tensor: torch.Tensor, candidate: torch.Tensor | None) -> str:
    if candidate is None:
        return "the file has no tensor of this name"
    return f"shape {tuple(candidate.shape)} in the file, {tuple(tensor.shape)} in the network"


def _does_not_fit(network: nn.Module, report: TransferReport, source: Path, minimum_share: float) -> TransferError:
    if not report.loaded and not report.unmatched:
        return TransferError(f"{type(network).__name__} has no encoder to load weights into", where=source)
    examples = "\n".join(f"    {name}: {reason}" for name, reason in list(report.unmatched.items())[:5])
    return TransferError(
        f"only {100 * report.encoder_share:.4g} % of the encoder of this {type(network).__name__} fits the file"
        f" (at least {100 * minimum_share:.4g} % is needed); nothing was loaded. First mismatches:\n{examples}",
        where=source,
        mend="pretrain with the plans and the configuration that you train with: genesis-pretrain-nnunet DATASET -c"
        " CONFIGURATION -p PLANS",
    )
