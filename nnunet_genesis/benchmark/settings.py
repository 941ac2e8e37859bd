"""What all trainings of a benchmark share: another value would make another benchmark."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.interop.nnunet_v2 import resolve_configuration
from nnunet_genesis.plans_checks import is_plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

FIXED, PER_SEED = "fixed", "per-seed"
SUBSET_DRAWS = {
    FIXED: "all seeds train on the same labelled cases",
    PER_SEED: "every seed draws labelled cases of its own, the same for all initialisations",
}
BFLOAT16 = "bfloat16"
_SHOWN = 5


@dataclass(frozen=True)
class BenchmarkSettings:
    """What all trainings share.

    Attributes:
        dataset: Name of the dataset.
        plans: nnU-Net plans identifier.
        configuration: nnU-Net configuration.
        plans_sha256: Of the plans of this configuration.
        device: What trains: cuda, cpu or mps.
        cpu_autocast: `BFLOAT16`, or None for nnU-Net's own precision.
        epochs: Of every training, or None for nnU-Net's own number.
        iterations: Per epoch, or None for nnU-Net's own number.
        subset_seed: Decides the test set and the labelled cases.
        subset_draws: `FIXED` or `PER_SEED`, see `SUBSET_DRAWS`.
        test_cases: Held out, sorted.
        left_out: Neither tested nor trained on, sorted: other cases of the test set's groups.
        groups: Name of every case to its group.
        tolerances_mm: Name of every class to the deviation of its surface that counts as none, in mm.
    """

    dataset: str
    plans: str
    configuration: str
    plans_sha256: str
    device: str
    cpu_autocast: str | None
    epochs: int | None
    iterations: int | None
    subset_seed: int
    subset_draws: str
    test_cases: tuple[str, ...]
    left_out: tuple[str, ...]
    groups: Mapping[str, str]
    tolerances_mm: Mapping[str, float]

    @property
    def num_trainable(self) -> int:
        """Number of cases that may be trained on: all but the test set and what is left out beside it."""
        return len(self.groups) - len(self.test_cases) - len(self.left_out)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], file: Path) -> BenchmarkSettings:
        """Read what `as_dict` gave.

        Raises:
            DataError: If it is of another version.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise DataError(
                "settings of another version of nnunet-genesis:"
                f" {', '.join(sorted(names ^ set(values)))} differ(s) in being there",
                where=file,
                mend="use that version, or begin another benchmark with --name or --output",
            )
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        made = cls(**settings)
        _check_types(made)
        return made


def _check_types(settings: BenchmarkSettings) -> None:
    """Refuse settings that were not written by `BenchmarkSettings.as_dict`.

    Raises:
        TypeError, ValueError: With the first one.
    """
    for name in ("dataset", "plans", "configuration"):
        if not is_plain_name(getattr(settings, name)):
            raise ValueError(f"{name} {getattr(settings, name)!r:.100} is no name")
    names = (*settings.test_cases, *settings.left_out, *settings.groups)
    if not all(map(is_plain_name, names)) or not set(settings.test_cases) <= set(settings.groups):
        raise ValueError("the test cases and groups are no names of cases")
    whole = (settings.epochs, settings.iterations, settings.subset_seed)
    if not all(value is None or type(value) is int for value in whole) or settings.subset_draws not in SUBSET_DRAWS:
        raise ValueError(f"epochs, iterations or draws are none: {whole}, {settings.subset_draws!r:.100}")
    if not all(0 <= mm < math.inf for mm in settings.tolerances_mm.values()):
        raise ValueError("the tolerances are no numbers of millimetres")
    texts = (settings.plans_sha256, settings.device, *settings.groups.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("the groups, the device or the checksum of the plans are no texts")


def digest_plans(planned: PlannedConfiguration, before: str | None = None) -> str:
    """SHA-256 of what the plans say of one configuration, with what it inherits, and of intensities.

    Args:
        planned: The configuration.
        before: What a benchmark was begun with. Earlier versions counted all configurations; theirs stays valid.
    """
    every, name = planned.plans["configurations"], planned.configuration
    file = planned.dataset_folder / f"{planned.plans_name}.json"
    own = _digest(planned, resolve_configuration(every, name, file))
    return before if before is not None and before == _digest(planned, every) else own


def _digest(planned: PlannedConfiguration, configurations: Mapping[str, Any]) -> str:
    intensities = planned.plans.get("foreground_intensity_properties_per_channel")
    told = json.dumps([configurations, intensities, planned.configuration], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def refuse_other_settings(before: BenchmarkSettings, now: BenchmarkSettings, folder: Path) -> None:
    """Keep one folder to one benchmark.

    Raises:
        SetupError: If a setting differs, with both values.
    """
    lines = {
        field.name: line
        for field in fields(BenchmarkSettings)
        if (line := _difference(field.name, getattr(before, field.name), getattr(now, field.name))) is not None
    }
    if lines.keys() == {"plans_sha256"}:
        raise SetupError(
            f"the plans {now.plans} have changed since this benchmark was begun ({lines['plans_sha256']})",
            where=folder,
            mend=f"put {now.plans}.json of before back, and keep the new one under another name; or begin another"
            " benchmark with --name NAME",
        )
    if lines:
        raise SetupError(
            "this benchmark was begun with other settings, and runs of both could not be compared (before -> now):\n"
            + "\n".join(f"    {line}" for line in lines.values()),
            where=folder,
            mend="leave these flags out, to go on with the settings of before; or begin another benchmark with --name"
            " NAME or --output FOLDER",
        )


def _difference(name: str, before: Any, now: Any) -> str | None:
    if before == now:
        return None
    if isinstance(before, tuple):
        gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
        return f"{name}: {len(before)} -> {len(now)} cases; no longer: {_listed(gone)}; new: {_listed(new)}"
    if name == "groups":
        cases = sorted(case for case in {*before, *now} if before.get(case) != now.get(case))
        return f"{name}: differ for {_listed(cases)}"
    return f"{name}: {before} -> {now}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
