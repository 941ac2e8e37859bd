"""Which scans are kept without being read, redone, or given a name of their own."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from nnunet_genesis.pretraining.unlabeled.pool import Pool, PoolCase
from nnunet_genesis.pretraining.unlabeled.resume import is_source_gone, sort_scans, spoilt_cases
from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import Reason
from nnunet_genesis.scans.scan import Scan


def make_scan(folder: Path, name: str, *, identifier: str | None = None, content: str = "voxels") -> Scan:
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.nii"
    file.write_text(content)
    return Scan(identifier or name, ((str(file),),))


def record(pool: Path, scan: Scan, identifier: str | None = None) -> PoolCase:
    name = identifier or scan.identifier
    pool.mkdir(exist_ok=True)
    (pool / f"{name}.b2nd").write_bytes(b"12345")
    return PoolCase(
        identifier=name, file=f"{name}.b2nd", bytes=5, shape=[1, 2, 2, 2], sha256="", scan=f"key of {name}",
        raw_sha256="", raw_shape=[1, 2, 2, 2], raw_spacing=[1, 1, 1], spacing=[1, 1, 1], foreground="",
        foreground_share=1.0, statistics=[], sources=scan.sources(), signature=scan.signature(), seconds=0.0,
    )  # fmt: skip


def test_untouched_scans_are_kept_whatever_they_are_called_now(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "in", "a", identifier="a")
    case = record(tmp_path / "pool", scan, "sub__a")
    sorted_scans = sort_scans([scan], [case])
    assert (sorted_scans.kept, sorted_scans.pending) == (["sub__a"], [])


def test_changed_scans_and_damaged_images_are_done_again_in_their_place(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    changed, lost, short = (make_scan(tmp_path / "in", name) for name in ("changed", "lost", "short"))
    cases = [record(pool, scan) for scan in (changed, lost, short)]
    make_scan(tmp_path / "in", "changed", content="other voxels")
    (pool / "lost.b2nd").unlink()
    (pool / "short.b2nd").write_bytes(b"1")
    sorted_scans = sort_scans([changed, lost, short], list(Pool(pool).whole_images(cases).values()))
    assert sorted_scans.kept == []
    assert [scan.identifier for scan in sorted_scans.pending] == ["changed", "lost", "short"]


def test_another_folders_scan_of_the_same_name_does_not_take_a_cases_place(tmp_path: Path) -> None:
    first = make_scan(tmp_path / "one", "a")
    case = record(tmp_path / "pool", first)
    other = make_scan(tmp_path / "two", "a")
    pending = sort_scans([other], [case]).pending
    assert len(pending) == 1
    assert pending[0].identifier.startswith("a-")
    assert pending[0].channels == other.channels
    assert sort_scans([other], [case]).pending == pending, "the same name every time"


def test_of_two_series_in_one_folder_a_new_one_does_not_take_the_place_of_a_kept_one(tmp_path: Path) -> None:
    """Their sources read alike: the folder and the number of slices."""
    slices = [make_scan(tmp_path / "in", f"slice{number}").channels[0][0] for number in range(4)]
    known = Scan("series", ((slices[0], slices[1]),))
    case = record(tmp_path / "pool", known)
    new, renamed = Scan("series", ((slices[2], slices[3]),)), Scan("series-2", known.channels)
    assert new.sources() == known.sources()
    sorted_scans = sort_scans([new, renamed], [case])
    assert sorted_scans.kept == ["series"]
    assert [scan.channels for scan in sorted_scans.pending] == [new.channels]
    assert sorted_scans.pending[0].identifier != "series"


def test_files_that_are_found_twice_are_one_case(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "in", "b")
    case = record(tmp_path / "pool", scan)
    again = Scan("a", scan.channels)
    sorted_scans = sort_scans([again, scan], [case])
    assert (sorted_scans.kept, sorted_scans.pending) == (["b"], [])
    assert [(skipped.identifier, skipped.reason, skipped.detail) for skipped in sorted_scans.skipped] == [
        ("a", Reason.DUPLICATE, "the same files as case b of this pool")
    ]


def test_files_that_vanish_meanwhile_are_reported(tmp_path: Path) -> None:
    scan, gone = make_scan(tmp_path / "in", "a"), make_scan(tmp_path / "in", "gone")
    case = record(tmp_path / "pool", scan)
    (tmp_path / "in" / "gone.nii").unlink()
    sorted_scans = sort_scans([scan, gone], [case])
    assert sorted_scans.kept == ["a"]
    assert [(skipped.identifier, skipped.reason) for skipped in sorted_scans.skipped] == [("gone", Reason.UNREADABLE)]


def test_a_series_that_is_no_scan_does_not_take_another_one_of_its_folder_along(tmp_path: Path) -> None:
    slices = [make_scan(tmp_path / "in", f"slice{number}").channels[0][0] for number in range(2)]
    case = record(tmp_path / "pool", Scan("series-1", (tuple(slices),)))
    source = f"{tmp_path / 'in'} (3 slices)"
    own, other = (SkippedScan(name, source, Reason.MISSING_SLICES, "a gap") for name in ("series-1", "series-2"))
    assert spoilt_cases([case], [other]) == []
    assert spoilt_cases([case], [own]) == [(case, own)]
    assert spoilt_cases([case], [other, own]) == [(case, own)]


def refuse_to_look_at(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system answer every question about a path with an error."""
    looking = Path.stat

    def look(asked: Path, **options: Any) -> Any:
        if asked == path:
            raise OSError(number, "the system cannot tell", str(asked))
        return looking(asked, **options)

    monkeypatch.setattr(Path, "stat", look)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.ENOTCONN])
def test_a_source_is_gone_only_where_the_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    scan, gone = make_scan(tmp_path / "in", "a"), make_scan(tmp_path / "in", "gone")
    cases = [record(tmp_path / "pool", scan), record(tmp_path / "pool", gone)]
    file = Path(scan.channels[0][0])
    Path(gone.channels[0][0]).unlink()
    assert [is_source_gone(case) for case in cases] == [False, True]
    bad = SkippedScan("a", str(file), Reason.CONSTANT, "all voxels are 7")
    assert spoilt_cases(cases, [bad]) == [(cases[0], bad)]
    refuse_to_look_at(file, number, monkeypatch)
    assert [is_source_gone(case) for case in cases] == [False, True]
    assert spoilt_cases(cases, [bad]) == []
