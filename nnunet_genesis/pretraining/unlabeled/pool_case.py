"""What a pool knows of each of its images: one line of text per case."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from nnunet_genesis.json_reading import parse_json
from nnunet_genesis.plans_checks import is_plain_name
from nnunet_genesis.pretraining.case_index import is_case_shape
from nnunet_genesis.pretraining.foreground import decode_map


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
        ValueError: If it is no JSON, or a value cannot be what it stands for.
        TypeError: If it is no JSON object.
        KeyError: If a value is missing.
    """
    content = parse_json(line)
    if isinstance(content, dict) and content.get("removed") is True:
        cases.pop(str(content["identifier"]), None)
        return
    case = PoolCase(**{field.name: content[field.name] for field in fields(PoolCase)})
    _check(case)
    cases[case.identifier] = case


def _check(case: PoolCase) -> None:
    """Refuse values that would fail or do harm where they are used: `file` is removed with its case."""
    texts = ("identifier", "file", "sha256", "scan", "raw_sha256", "foreground", "signature")
    wrong = [name for name in texts if not isinstance(getattr(case, name), str)]
    wrong += [name for name in ("identifier", "file") if name not in wrong and not is_plain_name(getattr(case, name))]
    wrong += [name for name in ("shape", "raw_shape") if not is_case_shape(getattr(case, name))]
    sources: Any = case.sources
    if not isinstance(sources, list) or not sources or not all(isinstance(one, str) for one in sources):
        wrong.append("sources")
    if type(case.bytes) is not int:
        wrong.append("bytes")
    if wrong:
        told = {name: str(getattr(case, name))[:100] for name in wrong}
        raise ValueError(f"values that a case cannot have: {told}")
    decode_map(case.foreground)
