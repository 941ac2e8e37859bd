"""What a pool knows of each of its images: one line of text per case."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class PoolCase:
    """One preprocessed scan of a pool.

    Attributes:
        identifier: Name of the case within the pool.
        file: Name of the image file.
        bytes: Size of the image file.
        shape: Channels, then three spatial axes, preprocessed.
        sha256: `nnunet_genesis.scans.voxel_hash.hash_voxels` of the preprocessed voxels.
        scan: `nnunet_genesis.scans.voxel_hash.scan_key` of the raw voxels: the same for the same scan in any format.
        raw_sha256: `hash_voxels` of the raw voxels as they were read.
        raw_shape: Channels, then three spatial axes, as read.
        raw_spacing: Millimetres per axis, as read.
        spacing: Millimetres per axis, preprocessed.
        foreground: `nnunet_genesis.pretraining.foreground.encode_map` of the preprocessed case.
        foreground_share: Share of its voxels that are foreground.
        statistics: Per channel, "raw" and "preprocessed": min, max, mean, std, percentiles 0.5, 50 and 99.5.
        sources: The files that it was read from, a line per channel.
        signature: Changes when a source file does.
        seconds: What reading and preprocessing took.
    """

    identifier: str
    file: str
    bytes: int
    shape: list[int]
    sha256: str
    scan: str
    raw_sha256: str
    raw_shape: list[int]
    raw_spacing: list[float]
    spacing: list[float]
    foreground: str
    foreground_share: float
    statistics: list[dict[str, dict[str, float]]]
    sources: list[str]
    signature: str
    seconds: float


def write_line(case: PoolCase) -> str:
    """The line of a case, without its line break."""
    return json.dumps(asdict(case))


def write_removal(identifier: str, reason: str) -> str:
    """The line that takes a case out of the list again."""
    return json.dumps({"identifier": identifier, "removed": True, "reason": reason})


def read_line(line: str, cases: dict[str, PoolCase]) -> None:
    """Follow one line: a case is added or takes the place of the earlier one of its name, a removal takes it out.

    Args:
        line: The text.
        cases: Cases of the lines before, by name; changed.

    Raises:
        ValueError: If it is no JSON.
        TypeError: If it is no JSON object.
        KeyError: If a value is missing.
    """
    content = json.loads(line)
    if isinstance(content, dict) and content.get("removed") is True:
        cases.pop(content["identifier"], None)
        return
    case = PoolCase(**{field.name: content[field.name] for field in fields(PoolCase)})
    cases[case.identifier] = case
