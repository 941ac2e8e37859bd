"""Deviations of surfaces that count as none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.plans import PlannedConfiguration


def finest_spacing(planned: PlannedConfiguration) -> float:
    """Smallest side of the dataset's median voxel, in mm: the default tolerance of surfaces (ours)."""
    spacing = planned.plans.get("original_median_spacing_after_transp") or planned.spacing
    return round(min(float(mm) for mm in spacing), 4)


def parse_tolerances(texts: Sequence[str], before: Mapping[str, float]) -> dict[str, float]:
    """Read values of ``--tolerance``.

    Args:
        texts: ``2`` for all classes, or ``CLASS=2``; later ones count.
        before: Name of every class to its tolerance where nothing is said.

    Raises:
        SetupError: If a class does not exist, or a value is no positive number.
    """
    tolerances = dict(before)
    for text in texts:
        name, _, value = text.rpartition("=")
        if name and name not in tolerances:
            raise SetupError(
                f"--tolerance {text}: there is no class '{name}'; there are: {', '.join(tolerances)}",
                mend=f"--tolerance {next(iter(tolerances))}=2",
            )
        try:
            mm = float(value)
        except ValueError:
            mm = 0.0
        if not 0 < mm < float("inf"):
            raise SetupError(f"--tolerance {text}: a tolerance is a positive number of mm", mend="--tolerance 2")
        tolerances.update(dict.fromkeys([name] if name else tolerances, mm))
    return tolerances
