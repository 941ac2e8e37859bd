"""What the pictures of a benchmark have in common: a colour and a mark for every initialisation, and names of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnunet_genesis.benchmark.statistics.comparison import Arm

DPI = 110
AXIS_NAMES = {"dice": "Dice", "nsd": "surface distance within tolerance (NSD)", "hd95": "HD95 in mm, lower is better"}
SHORT_NAMES = {"dice": "Dice", "nsd": "NSD", "hd95": "HD95 (mm)"}
_SCRATCH_STYLE = ("tab:orange", "o")
_STYLES = (
    ("tab:blue", "s"),
    ("tab:green", "^"),
    ("tab:purple", "D"),
    ("tab:red", "v"),
    ("tab:brown", "P"),
    ("tab:cyan", "X"),
    ("tab:pink", "<"),
    ("tab:olive", ">"),
)


class Styles:
    """Colours and marks, the same in every picture.

    Args:
        initialisations: All that are drawn.
    """

    def __init__(self, initialisations: Iterable[str]) -> None:
        others = sorted(set(initialisations) - {SCRATCH})
        self.names = [SCRATCH, *others]
        self._found = {SCRATCH: _SCRATCH_STYLE} | {
            name: _STYLES[number % len(_STYLES)] for number, name in enumerate(others)
        }

    def colour(self, initialisation: str) -> str:
        """Its colour."""
        return self._found[initialisation][0]

    def marker(self, initialisation: str) -> str:
        """Its mark."""
        return self._found[initialisation][1]

    def shift(self, initialisation: str, width: float = 0.5) -> float:
        """How far it is set beside a place on an axis of categories, so that nothing hides behind another."""
        place = self.names.index(initialisation)
        return (place / max(1, len(self.names) - 1) - 0.5) * width


def schedules_of(arms: Iterable[Arm]) -> list[str]:
    """Schedules, sorted, the standard one first."""
    return sorted({arm.schedule for arm in arms}, key=lambda schedule: (schedule != STANDARD, schedule))


def labelled_of(arms: Iterable[Arm]) -> list[int]:
    """Numbers of labelled cases, sorted."""
    return sorted({arm.labelled for arm in arms})


def legend_below(figure: Figure, panels: Iterable[Axes] = (), more: Mapping[str, Artist] | None = None) -> None:
    """One legend for all panels, below them, each label once.

    Args:
        figure: The picture.
        panels: Those whose labels are gathered.
        more: What no panel names: labels and what stands for them.
    """
    unique: dict[str, Artist] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        unique.update(zip(labels, handles, strict=True))
    unique.update(more or {})
    columns = max(1, min(len(unique), int(figure.get_figwidth() // 2.2)))
    figure.legend(
        handles=list(unique.values()),
        labels=list(unique),
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )
