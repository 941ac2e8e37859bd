"""Tables of scans (.csv, .json): case, channel, path."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import parse_json
from nnunet_genesis.scans.candidates import Candidate
from nnunet_genesis.scans.channels import MOST_CHANNELS, describe_channels
from nnunet_genesis.scans.dicom import find_series
from nnunet_genesis.scans.dicom_headers import DICOM_ENDINGS, has_dicom_mark
from nnunet_genesis.scans.naming import Place
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS = ("case", "channel", "path")


def read_table(
    table: Path, num_channels: int, channel_names: Sequence[str] = (), *, apart: bool = False
) -> list[Candidate]:
    """Read a table of scans.

    A CSV file has the header ``case,channel,path``; a JSON file is a list of objects with these keys. The channel is a
    number from 0 or a name; paths are relative to the folder of the table; a path is a file, or a folder with exactly
    one DICOM series. A file that is missing is a problem of its scan, not of the table.

    Args:
        table: The file.
        num_channels: Number of channels expected.
        channel_names: Names of the channels in their order.
        apart: Whether every line is a scan of its own; channels are then numbers up to `MOST_CHANNELS`, or names.

    Raises:
        SetupError: If the table is malformed, with the line.
    """
    rows: dict[str, dict[int, tuple[int, str]]] = defaultdict(dict)
    numbers = MOST_CHANNELS if apart else num_channels
    for line, row in _rows(table):
        values = [str(row[column]).strip() if row.get(column) is not None else "" for column in COLUMNS]
        case, channel, path = values
        empty = [column for column, value in zip(COLUMNS, values, strict=True) if not value]
        if empty:
            raise _malformed(table, line, f"{', '.join(empty)} is empty")
        if "\0" in path:
            raise _malformed(table, line, "the path contains a null character")
        number = _channel_number(channel, numbers, channel_names)
        if number is None:
            known = ", ".join([str(index) for index in range(numbers)] + list(channel_names))
            raise _malformed(table, line, f"the channel {channel!r} is none of {known}")
        if number in rows[case]:
            first = rows[case][number][0]
            raise _malformed(
                table, line, f"channel {channel} of case {case!r} was named in {_spot(table, first)} already"
            )
        rows[case][number] = (line, path)
    if not rows:
        raise SetupError("the table names no scans", where=table, mend=_expected(table))
    if apart:
        return [
            _candidate(table, f"{case}_{number:04d}", {0: entry}, 1)
            for case, channels in rows.items()
            for number, entry in sorted(channels.items())
        ]
    return [_candidate(table, case, channels, num_channels) for case, channels in rows.items()]


def _candidate(table: Path, case: str, channels: dict[int, tuple[int, str]], num_channels: int) -> Candidate:
    place = Place((case,), f"{table.absolute()}\n{case}")
    source = f"{table} (case {case!r})"
    try:
        # A case with the single channel 0 may be one file that holds several channels.
        if sorted(channels) not in ([0], list(range(num_channels))):
            raise ScanProblem(Reason.CHANNELS, describe_channels(sorted(channels), num_channels), where=source)
        files = tuple(_resolve(table, path) for _, (_, path) in sorted(channels.items()))
    except ScanProblem as problem:
        return Candidate(place, source, problem=problem)
    return Candidate(place, source, files)


def _resolve(table: Path, path: str) -> tuple[str, ...]:
    full = table.absolute().parent / path
    try:
        if full.is_file():
            return (str(full),)
        if not full.is_dir():
            raise ScanProblem(Reason.UNREADABLE, "there is no such file or folder", where=full, mend=f"edit {table}")
        files = [
            str(file)
            for file in full.iterdir()
            if file.is_file() and (file.name.lower().endswith(DICOM_ENDINGS) or has_dicom_mark(str(file)))
        ]
    except OSError as error:
        raise ScanProblem(Reason.UNREADABLE, f"{type(error).__name__}: {error}", where=full, is_passing=True) from error
    found, _ = find_series(files, (full.name,))
    if len(found) == 1 and found[0].problem is not None:
        raise found[0].problem
    if len(found) != 1:
        raise ScanProblem(
            Reason.UNREADABLE,
            f"the folder holds {len(found)} DICOM series, expected exactly one",
            where=full,
            mend="name a folder with one series, or a file",
        )
    return found[0].channels[0]


def _channel_number(channel: str, num_channels: int, names: Sequence[str]) -> int | None:
    if channel in names:
        return list(names).index(channel)
    if channel.isascii() and channel.isdigit() and len(channel) < 10 and int(channel) < num_channels:
        return int(channel)
    return None


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"the table cannot be read ({error})", where=table, mend=_expected(table)) from error
    if table.suffix.lower() == ".json":
        yield from _json_rows(table, text)
        return
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        if sorted(header) != sorted(COLUMNS):
            raise _malformed(table, 1, f"the header is {','.join(header)!r}")
        reader.fieldnames = header
        for row in reader:
            if None in row:
                raise _malformed(table, reader.line_num, f"more than {len(COLUMNS)} values (quote paths with commas)")
            yield reader.line_num, row
    except csv.Error as error:
        raise _malformed(table, reader.reader.line_num, str(error)) from error


def _json_rows(table: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise SetupError(f"the table is no JSON ({error})", where=table, mend=_expected(table)) from error
    if not isinstance(content, list):
        raise SetupError("the table is no JSON list", where=table, mend=_expected(table))
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict) or sorted(row) != sorted(COLUMNS):
            raise _malformed(table, number, f"{json.dumps(row)[:100]} does not have exactly these keys")
        yield number, row


def _spot(table: Path, line: int) -> str:
    return f"{'entry' if table.suffix.lower() == '.json' else 'line'} {line}"


def _malformed(table: Path, line: int, problem: str) -> SetupError:
    return SetupError(f"{_spot(table, line)} of the table: {problem}", where=table, mend=_expected(table))


def _expected(table: Path) -> str:
    if table.suffix.lower() == ".json":
        return 'write a list of objects like {"case": "patient_1", "channel": 0, "path": "scans/1.nii.gz"}'
    return "write the header case,channel,path and one line per channel, such as patient_1,0,scans/1.nii.gz"
