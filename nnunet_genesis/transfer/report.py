"""What a transfer did to each tensor of the target network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUPS = ("loaded", "adapted", "unmatched", "left")


@dataclass(frozen=True)
class TransferReport:
    """What happened to each tensor of the target network.

    Tensors are counted once, also where a state dict lists them under several names (``encoder.*`` and
    ``decoder.encoder.*`` are the same in nnU-Net's U-Nets).

    Attributes:
        part: "encoder", or "full" for everything but the segmentation heads.
        loaded: Names of target tensors that were copied unchanged.
        adapted: Target tensor name to the rules by which a tensor of another shape was made to fit.
        unmatched: Name of a tensor that should have been filled to the reason why it was not.
        left: Names of tensors that are not transferred and keep nnU-Net's initialisation.
        dropped: Names of source tensors of the transferred part that the target has no place for.
        skipped: Those of `dropped` that are kernels of convolutions, in a stage which the target has.
        notes: Differences that no tensor shows, e.g. strides.
        num_parameters: Scalars in every group: ``loaded``, ``adapted``, ``unmatched``, ``left``.
        encoder_parameters: The same for the encoder alone.
    """

    part: str = "encoder"
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_parameters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))
    encoder_parameters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))

    @property
    def encoder_share(self) -> float:
        """Share of the encoder's parameters that were loaded or adapted, in [0, 1]."""
        return _filled(self.encoder_parameters) / max(1, sum(self.encoder_parameters.values()))

    @property
    def decoder_share(self) -> float:
        """The same for the decoder without its segmentation heads; 0 where it is not transferred."""
        wanted = {
            group: self.num_parameters[group] - self.encoder_parameters[group] for group in GROUPS if group != "left"
        }
        return _filled(wanted) / max(1, sum(wanted.values()))

    @property
    def network_share(self) -> float:
        """Share of all the network's parameters that were loaded or adapted, in [0, 1]."""
        return _filled(self.num_parameters) / max(1, sum(self.num_parameters.values()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "part": self.part,
            "tensors_loaded": len(self.loaded),
            "tensors_adapted": len(self.adapted),
            "tensors_unmatched": len(self.unmatched),
            "tensors_left": len(self.left),
            "tensors_dropped": len(self.dropped),
            "encoder_share": self.encoder_share,
            "decoder_share": self.decoder_share,
            "network_share": self.network_share,
            "num_parameters": dict(self.num_parameters),
            "loaded": list(self.loaded),
            "adapted": dict(self.adapted),
            "unmatched": dict(self.unmatched),
            "left": list(self.left),
            "dropped": list(self.dropped),
            "notes": list(self.notes),
        }

    def summary_lines(self) -> list[str]:
        """A short table for a log."""
        outside = "segmentation heads" if self.part == "full" else "outside the encoder"
        lines = [
            f"loaded {len(self.loaded)} tensors, adapted {len(self.adapted)},"
            f" {100 * self.encoder_share:.4g} % of the encoder's parameters"
            + (f", {100 * self.decoder_share:.4g} % of the decoder's" if self.part == "full" else "")
            + f" ({100 * self.network_share:.4g} % of the network's)",
            f"left at nnU-Net's initialisation: {len(self.left)} tensors {outside},"
            f" {len(self.unmatched)} tensors without a match",
        ]
        lines += [f"adapted: {name}: {rule}" for name, rule in _grouped(self.adapted).items()]
        lines += [f"not loaded: {name}: {reason}" for name, reason in _grouped(self.unmatched).items()]
        if self.dropped:
            lines.append(f"in the file but not in the network: {_shortened(self.dropped)}")
        return lines + [f"note: {note}" for note in self.notes]


def _filled(parameters: dict[str, int]) -> int:
    return parameters["loaded"] + parameters["adapted"]


def _grouped(entries: dict[str, str]) -> dict[str, str]:
    """Join the names that share a text."""
    names: dict[str, list[str]] = {}
    for name, text in entries.items():
        names.setdefault(text, []).append(name)
    return {_shortened(group): text for text, group in names.items()}


def _shortened(names: list[str], shown: int = 3) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{rest}"
