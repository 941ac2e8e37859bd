"""All that a probe found, as a table and as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.probing.folds import HELD_OUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from nnunet_genesis.probing.encoders import ProbedEncoder
    from nnunet_genesis.probing.folds import Split
    from nnunet_genesis.probing.linear_probe import ProbeOutcome
    from nnunet_genesis.probing.scans import ProbeScan

MODALITY, SOURCE = "modality", "source"
FEW_SCANS = 10
"""Below as many test scans of a source, the output says that they are few (ours)."""


@dataclass(frozen=True, eq=False)
class ProbedFeatures:
    """One encoder's features, and what was read from them.

    Attributes:
        probed: The encoder.
        features: (scans, patches, features).
        outcomes: By what was asked for, `SOURCE` and, where there are several, `MODALITY`.
    """

    probed: ProbedEncoder
    features: npt.NDArray[np.float32]
    outcomes: Mapping[str, ProbeOutcome]


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What `run_probe` found.

    Attributes:
        scans: The scans.
        sources: Names of the sources.
        modalities: One per source; where patches show one channel each, joined by "+".
        guessed: Sources whose modality is but their name.
        split: Who tested whom.
        encoders: Random weights first.
        provenance: What all this follows from, plain values.
    """

    scans: tuple[ProbeScan, ...]
    sources: tuple[str, ...]
    modalities: tuple[str, ...]
    guessed: tuple[str, ...]
    split: Split
    encoders: tuple[ProbedFeatures, ...]
    provenance: Mapping[str, Any]

    def count_tested(self) -> list[int]:
        """Test scans per source."""
        tested = [self.scans[number].source for number in self.split.tested.tolist()]
        return [tested.count(source) for source in range(len(self.sources))]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        tested = self.split.tested.tolist()
        order = {scan: place for place, scan in enumerate(tested)}
        folds = {int(scan): number for number, (_, test) in enumerate(self.split.folds) for scan in test}
        return {
            **self.provenance,
            "sources": [
                {"name": name, "modality": modality, "modality_is_a_guess": name in self.guessed, "test_scans": count}
                for name, modality, count in zip(self.sources, self.modalities, self.count_tested(), strict=True)
            ],
            "split": {"kind": self.split.kind, "folds": len(self.split.folds)},
            "scans": [
                {
                    "name": scan.name,
                    "source": self.sources[scan.source],
                    "group": scan.group,
                    "voxels_sha256": str(scan.index.sha256[scan.number]),
                    "tested_in_fold": folds.get(number),
                    "correct_patches": {
                        one.probed.name: {
                            name: outcome.correct[order[number]] for name, outcome in one.outcomes.items()
                        }
                        for one in self.encoders
                        if number in order
                    },
                }
                for number, scan in enumerate(self.scans)
            ],
            "encoders": [
                {
                    "name": one.probed.name,
                    **one.probed.origin,
                    "features": int(one.features.shape[-1]),
                    "probes": {name: _without_scans(outcome) for name, outcome in one.outcomes.items()},
                }
                for one in self.encoders
            ],
        }

    def table(self) -> list[str]:
        """Lines for the terminal."""
        targets = list(self.encoders[0].outcomes)
        width = max(len("chance"), *(len(one.probed.name) for one in self.encoders))
        lines = [" " * width + "".join(f"  {name:<20}" for name in targets)]
        for one in self.encoders:
            cells = [describe(one.outcomes[name]) for name in targets]
            lines.append(f"{one.probed.name:<{width}}" + "".join(f"  {cell:<20}" for cell in cells))
        chances = [f"{self.encoders[0].outcomes[name].chance:.2f}" for name in targets]
        lines.append(f"{'chance':<{width}}" + "".join(f"  {cell:<20}" for cell in chances))
        return [line.rstrip() for line in lines]

    def notes(self) -> list[str]:
        """Lines on what the numbers rest on."""
        counts = self.count_tested()
        per_source = [
            f"{name}: modality {modality}, {sum(scan.source == number for scan in self.scans)} scans, {counts[number]}"
            " of them test"
            + (
                f" (no modality was told: its name stands for it; --modality {name}=...)"
                if name in self.guessed
                else ""
            )
            for number, (name, modality) in enumerate(zip(self.sources, self.modalities, strict=True))
        ]
        if self.split.kind == HELD_OUT:
            how = "split: tested on scans that no pretraining learned from, trained on all others at once"
        else:
            how = (
                f"SPLIT: CROSS-VALIDATION over scans, {len(self.split.folds)} folds: of some source too few scans are"
                " left to train on beside those that test"
            )
        lines = [*per_source, how]
        if min(counts) < FEW_SCANS:
            lines.append(
                f"few test scans ({', '.join(map(str, counts))}): intervals are wide, and one of no width says only"
                " that all of these scans agree"
            )
        if self.provenance["single_channel"]:
            lines.append("every patch shows one channel of its scan, all of them in turn: --single-channel")
        if MODALITY not in self.encoders[0].outcomes:
            lines.append(f"all sources have the modality {self.modalities[0]}: there is no probe of modality")
        return lines


def describe(outcome: ProbeOutcome) -> str:
    """Balanced accuracy and its interval."""
    return f"{outcome.balanced_accuracy:.2f} ({outcome.low:.2f} to {outcome.high:.2f})"


def _without_scans(outcome: ProbeOutcome) -> dict[str, Any]:
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(outcome).items()}
    plain.pop("correct")
    return {**plain, "chance": outcome.chance}


def label_patches(scans: Sequence[ProbeScan], names: Sequence[tuple[str, ...]], count: int) -> list[list[str]]:
    """Names of the patches of every scan.

    Args:
        scans: The scans.
        names: Per source one for all patches, or one per channel, which patches show in turn.
        count: Patches of every scan.
    """
    return [[names[scan.source][number % len(names[scan.source])] for number in range(count)] for scan in scans]
