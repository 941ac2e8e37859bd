"""What self-discovery found: pseudo-classes, each a place and the scans that are alike around it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class DiscoveredScan:
    """A scan that a class uses.

    Attributes:
        source: Name of its source.
        case: Its identifier there.
        box: Its foreground box: per axis the first voxel, and the one after the last.
    """

    source: str
    case: str
    box: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PseudoClass:
    """One class; its number in `Discovery.classes` is the pseudo-label.

    Attributes:
        reference: The scan that the place was drawn in, a number in `Discovery.scans`.
        place: Per axis (z, y, x) the offset of the crop's centre from the centre of the foreground box, in millimetres;
            in 2D configurations z is a share of the box instead.
        train: Its training scans from the nearest to the farthest, the reference first; numbers in `Discovery.scans`.
        held_out: Its held-out scans from the nearest to the farthest.
    """

    reference: int
    place: tuple[float, float, float]
    train: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Discovery:
    """All classes.

    Attributes:
        classes: At least two.
        scans: The scans that they use.
        crop_size: Voxels per axis of a crop, two or three.
        spacing: Millimetres per voxel along these axes.
        report: How it went, plain values: e.g. the auto-encoder's reconstruction error beside that of the mean image.
        provenance: What all this follows from, plain values.
    """

    classes: tuple[PseudoClass, ...]
    scans: tuple[DiscoveredScan, ...]
    crop_size: tuple[int, ...]
    spacing: tuple[float, ...]
    report: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def num_classes(self) -> int:
        """Number of classes; guessing is right once in so many times."""
        return len(self.classes)

    def held_out_sources(self) -> set[str]:
        """Sources that have held-out scans of at least one class."""
        return {self.scans[scan].source for found in self.classes for scan in found.held_out}

    def digest(self) -> str:
        """SHA-256 of classes, scans and crop size: other ones make another task."""
        task = {key: value for key, value in self.as_dict().items() if key in ("classes", "scans", "crop_size")}
        return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Discovery:
        """Read what `as_dict` gave, also after JSON made lists of tuples.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        return cls(
            classes=tuple(
                PseudoClass(
                    _numbers([one["reference"]], len(content["scans"]))[0],
                    _triple(one["place"]),
                    _numbers(one["train"], len(content["scans"])),
                    _numbers(one["held_out"], len(content["scans"])),
                )
                for one in content["classes"]
            ),
            scans=tuple(
                DiscoveredScan(str(one["source"]), str(one["case"]), tuple((int(a), int(b)) for a, b in one["box"]))
                for one in content["scans"]
            ),
            crop_size=tuple(int(voxels) for voxels in content["crop_size"]),
            spacing=tuple(float(mm) for mm in content["spacing"]),
            report=dict(content["report"]),
            provenance=dict(content["provenance"]),
        )


def _numbers(values: Any, end: int) -> tuple[int, ...]:
    """Numbers of scans, of which there are so many."""
    if not all(type(value) is int and 0 <= value < end for value in values):
        raise ValueError(f"{str(values)[:100]} are no numbers of the {end} scans")
    return tuple(values)


def _triple(values: Any) -> tuple[float, float, float]:
    z, y, x = values
    return float(z), float(y), float(x)
