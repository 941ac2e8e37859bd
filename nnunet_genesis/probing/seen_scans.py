"""Which scans a file's pretraining learned from, as far as the file tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.scans.voxel_hash import channel_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnunet_genesis.pretraining.case_index import CaseIndex


@dataclass(frozen=True)
class SeenScans:
    """What a pretraining learned from, and what it held out.

    Attributes:
        names: Full names of the cases that it learned from, see `full_name`.
        hashes: Hashes of their preprocessed voxels.
        held_out_names: Full names of the validation cases.
        held_out_hashes: Hashes of their preprocessed voxels.
        channel_keys: Keys of the raw channels of all of them, without the side that they were on.
    """

    names: frozenset[str]
    hashes: frozenset[str]
    held_out_names: frozenset[str]
    held_out_hashes: frozenset[str]
    channel_keys: frozenset[str]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> SeenScans:
        """Read `SourceModel.facts`; what a file does not tell is empty."""
        dataset = str(facts.get("dataset", ""))
        learned, held_out = (_hashes_by_name(facts.get(key)) for key in ("cases", "validation_cases"))
        return cls(
            names=frozenset(full_name(dataset, name) for name in learned),
            hashes=frozenset(filter(None, learned.values())),
            held_out_names=frozenset(full_name(dataset, name) for name in held_out),
            held_out_hashes=frozenset(filter(None, held_out.values())),
            channel_keys=frozenset(key for scan in facts.get("scans") or () for key in channel_keys(scan)),
        )

    @property
    def is_told(self) -> bool:
        """Whether the file names any scan that it learned from."""
        return bool(self.names)

    def learned_from(self, name: str, index: CaseIndex, number: int) -> bool:
        """Whether a scan was learned from; where its raw voxels are known, but not their side, it counts as learned.

        Args:
            name: Full name of the scan.
            index: The cases of its source.
            number: Its number there.
        """
        sha256, scan = str(index.sha256[number]), str(index.scans[number])
        if name in self.names or sha256 in self.hashes:
            return True
        if name in self.held_out_names or sha256 in self.held_out_hashes:
            return False
        return bool(scan) and not self.channel_keys.isdisjoint(channel_keys(scan))


def full_name(dataset: str, case: str) -> str:
    """Name of a case among all datasets.

    Args:
        dataset: The dataset whose plans are used.
        case: As a checkpoint names it: CASE, DATASET/CASE or POOL/CASE.

    Returns:
        DATASET/CASE, or DATASET/POOL/CASE.
    """
    return case if re.match(r"Dataset\d{3}_[^/]*/", case) else f"{dataset}/{case}"


def _hashes_by_name(cases: Any) -> dict[str, str]:
    """Converted files may hold a list of names alone."""
    pairs = cases.items() if hasattr(cases, "items") else ((name, "") for name in cases or ())
    return {str(name): str(sha256) for name, sha256 in pairs}
