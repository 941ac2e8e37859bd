"""``results.json``: all numbers of a report, for other programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.reporting.verdict_words import cautions, verdict
from nnunet_genesis.benchmark.statistics.comparison import score_arms
from nnunet_genesis.benchmark.statistics.verdict import explain, judge
from nnunet_genesis.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.benchmark.reporting.material import Material

RESULTS_JSON = "results.json"
FORMAT_VERSION = 1


def write_results(file: Path, material: Material) -> None:
    """Write the file; what is not known is null."""
    content = {
        "format_version": FORMAT_VERSION,
        "verdict": verdict(material),
        "cautions": cautions(material),
        "headline": None
        if material.headline is None
        else dict(zip(("metric", "label"), material.headline, strict=True)),
        "comparisons": [
            {**asdict(entry), "verdict": judge(entry).value, "explanation": explain(entry)}
            for family in material.comparisons.values()
            for entry in family
        ],
        "scores": [
            {"metric": metric, "label": label, **asdict(arm), **asdict(score)}
            for (metric, label), table in material.tables.items()
            for arm, score in score_arms(table).items()
        ],
        "label_savings": [{**asdict(one), "saved": one.saved} for one in material.savings],
        "convergence": [asdict(one) for one in material.convergence],
        "runs": [
            {"run": report.run.identifier, "state": report.state.value, "seconds": report.seconds}
            for report in material.runs
        ],
        "benchmark": None if material.record is None else material.record.as_dict(),
    }
    write_json(_plain(content), file)


def _plain(value: Any) -> Any:
    """NaN has no place in JSON, and its keys are texts."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
