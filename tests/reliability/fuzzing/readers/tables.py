"""Tables and lists that users write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from nnunet_genesis.groups import read_groups
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.exclusion_list import resolve_exclusions
from nnunet_genesis.scans.finding import find_scans
from tests.preprocessed import DATASET, write_dataset
from tests.reliability.fuzzing.mutations import mutate_json, mutate_lines
from tests.reliability.fuzzing.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CASES = [f"case_{number}" for number in range(5)]


def _make_groups(folder: Path) -> Sequence[Path]:
    file = folder / "groups.csv"
    file.write_text("case,group\n" + "".join(f"{case},patient_{number // 2}\n" for number, case in enumerate(CASES)))
    return [file]


def _read_groups(_: Path, file: Path) -> None:
    read_groups(file, CASES)


def _make_exclusions(folder: Path) -> Sequence[Path]:
    write_dataset(folder, {case: np.ones((1, 4, 8, 8), np.float32) for case in CASES}, (4, 8, 8), pytest.MonkeyPatch())
    raw = folder / "nnUNet_raw" / DATASET
    raw.mkdir()
    (raw / "dataset.json").write_text('{"file_ending": ".nii.gz", "channel_names": {"0": "CT"}, "labels": {}}')
    file = folder / "exclude.txt"
    file.write_text("# keep out\ncase_0\ncase_1\n\ncase_4\n")
    return [file, raw / "dataset.json"]


def _mutate_exclusions(content: bytes, random: object) -> bytes:
    return (mutate_json if content.startswith(b"{") else mutate_lines)(content, random)  # type: ignore[arg-type]


def _read_exclusions(folder: Path, _: Path) -> None:
    resolve_exclusions(load_planned_configuration(DATASET), folder / "exclude.txt")


def _make_table(folder: Path) -> Sequence[Path]:
    for case in CASES:
        (folder / f"{case}.nii.gz").write_bytes(b"0")
    file = folder / "scans.csv"
    file.write_text("case,channel,path\n" + "".join(f"{case},0,{case}.nii.gz\n" for case in CASES))
    return [file]


def _make_json_table(folder: Path) -> Sequence[Path]:
    _make_table(folder)[0].unlink()
    file = folder / "scans.json"
    file.write_text(str([{"case": case, "channel": 0, "path": f"{case}.nii.gz"} for case in CASES]).replace("'", '"'))
    return [file]


def _read_table(_: Path, file: Path) -> None:
    for scan in find_scans([file], num_channels=1).scans:
        scan.signature()


TABLES = (
    Reader("groups", _make_groups, _read_groups, mutate_lines),
    Reader("exclusions", _make_exclusions, _read_exclusions, _mutate_exclusions),
    Reader("scan_table", _make_table, _read_table, mutate_lines),
    Reader("scan_table_json", _make_json_table, _read_table, mutate_json),
)
