"""What a continued run knows of its scans."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_genesis.pretraining.provenance import keep_known_scans


def source(name: str, *, without_key: int, excluded: int = 0) -> dict[str, Any]:
    return {"name": name, "num_cases": 3, "num_without_key": without_key, "num_excluded": excluded, "chance": 0.5}


OWN_KNOWN = {
    "scans": ["a1", "a2", "a3"],
    "sources": [source("labelled", without_key=0, excluded=1), source("mr", without_key=3)],
    "excluded_cases": ["a4"],
}
POOL_KNOWN = {
    "scans": ["p1", "p2", "p3"],
    "sources": [source("labelled", without_key=3), source("mr", without_key=0, excluded=1)],
    "excluded_cases": ["mr/p4"],
}
BOTH_KNOWN = {
    "scans": ["a1", "a2", "a3", "p1", "p2", "p3"],
    "sources": [source("labelled", without_key=0, excluded=1), source("mr", without_key=0, excluded=1)],
    "excluded_cases": ["a4", "mr/p4"],
}


@pytest.mark.parametrize(
    ("before", "now"),
    [(OWN_KNOWN, POOL_KNOWN), (BOTH_KNOWN, OWN_KNOWN), (POOL_KNOWN, BOTH_KNOWN), (BOTH_KNOWN, BOTH_KNOWN)],
)
def test_what_was_known_and_what_is_known_now_stays(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raw images of one source are gone, those of another were put back."""
    kept = keep_known_scans({**now, "pretext": "models-genesis"}, before)
    assert kept.pop("pretext") == "models-genesis"
    assert {**kept, "excluded_cases": sorted(kept["excluded_cases"])} == BOTH_KNOWN


def test_checkpoints_of_early_versions_know_no_scans() -> None:
    assert keep_known_scans(OWN_KNOWN, {"sources": [{"name": "mr"}]}) == OWN_KNOWN
    assert keep_known_scans(OWN_KNOWN, {}) == OWN_KNOWN
