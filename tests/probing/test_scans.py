"""Which scans are probed, and which of them may test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.groups import read_groups
from nnunet_genesis.pretraining.case_index import CaseIndex
from nnunet_genesis.pretraining.sources import Source
from nnunet_genesis.probing.scans import choose_scans, list_names, list_probe_scans
from nnunet_genesis.probing.seen_scans import SeenScans

DATASET = "Dataset777_Written"


def index(*cases: str, scans: tuple[str, ...] = ()) -> CaseIndex:
    count = len(cases)
    return CaseIndex(
        Path("cases"),
        identifiers=np.array(cases, dtype=np.str_),
        files=np.array([f"{case}.b2nd" for case in cases], dtype=np.str_),
        shapes=np.full((count, 3), 8, dtype=np.int32),
        foreground=np.zeros((count, 8, 8, 8), dtype=np.uint8),
        sha256=np.array([f"sha of {case}" for case in cases], dtype=np.str_),
        scans=np.array(scans or [""] * count, dtype=np.str_),
    )


def source(name: str, train: CaseIndex, validation: CaseIndex | None = None) -> Source:
    return Source(name, "pool", train, validation or index(), (), (), 0.5)


def test_a_scan_is_recognised_by_name_by_hash_and_by_raw_voxels() -> None:
    facts = {
        "dataset": DATASET,
        "cases": {"by_name": "other hash", "mr/in_pool": "another"} | {"renamed": "sha of by_hash"},
        "validation_cases": {"held_out": "sha of held_out"},
        "scans": ["2x2x2:aa+bb", "3x3x3:cc"],
    }
    own = index(
        "by_name", "by_hash", "one_channel", "held_out", "new", scans=("", "", "2x2x2:bb", "3x3x3:cc", "3x3x3:dd")
    )
    sources = [source("labelled", own), source("mr", index("in_pool", "by_name"))]
    may_test = {
        scan.name: scan.may_test for scan in list_probe_scans(sources, [SeenScans.from_facts(facts)], {}, DATASET)
    }
    assert may_test == {
        "by_name": False,
        "by_hash": False,
        "one_channel": False,
        "held_out": True,
        "new": True,
        "mr/in_pool": False,
        "mr/by_name": True,
    }


@pytest.mark.parametrize(
    ("dataset", "told", "source_name", "expected"),
    [
        ("Dataset778_Other", "case", "labelled", True),
        ("Dataset778_Other", f"{DATASET}/case", "labelled", False),
        ("Dataset778_Other", "case", "Dataset778_Other", False),
        ("Dataset778_Other", "pool/case", "pool", True),
        (DATASET, "pool/case", "pool", False),
    ],
)
def test_names_count_in_their_dataset(dataset: str, told: str, source_name: str, expected: bool) -> None:
    seen = SeenScans.from_facts({"dataset": dataset, "cases": {told: "another hash"}})
    (scan,) = list_probe_scans([source(source_name, index("case"))], [seen], {}, DATASET)
    assert scan.may_test is expected


def test_one_learned_scan_keeps_its_group_from_testing() -> None:
    sources = [source("labelled", index("a", "b", "c")), source("ct", index("a", "b", "c"))]
    groups = {"a": "first", "ct/a": "first", "b": "second", "ct/b": "second"}
    seen = [SeenScans.from_facts({"dataset": DATASET, "cases": {"ct/a": ""}}), SeenScans.from_facts({})]
    scans = list_probe_scans(sources, seen, groups, DATASET)
    assert [scan.name for scan in scans if not scan.may_test] == ["a", "ct/a"]


def test_a_group_is_kept_from_testing_by_a_scan_that_the_probe_does_not_look_at() -> None:
    groups = {"a": "first", "ct/a": "first", "b": "second"}
    seen = [SeenScans.from_facts({"dataset": DATASET, "cases": {"ct/a": ""}})]
    scans = list_probe_scans([source("labelled", index("a", "b"))], seen, groups, DATASET)
    assert {scan.name: scan.may_test for scan in scans} == {"a": False, "b": True}


def test_as_many_scans_of_every_source_and_half_of_them_may_test() -> None:
    many = index(*(f"case_{number:02d}" for number in range(40)))
    learned = {f"case_{number:02d}": "" for number in range(30)}
    sources = [source("labelled", many), source("ct", index(*"abcdefghijkl"))]
    scans = list_probe_scans(sources, [SeenScans.from_facts({"dataset": DATASET, "cases": learned})], {}, DATASET)
    chosen = choose_scans(scans, ["labelled", "ct"], 8, seed=0)
    for number in (0, 1):
        assert sum(scan.source == number for scan in chosen) == 8
    assert sum(scan.may_test for scan in chosen if scan.source == 0) == 4
    assert len({scan.name for scan in chosen}) == 16
    assert [scan.name for scan in choose_scans(scans, ["labelled", "ct"], 8, seed=0)] == [one.name for one in chosen]
    assert [scan.name for scan in choose_scans(scans, ["labelled", "ct"], 8, seed=1)] != [one.name for one in chosen]
    assert len(choose_scans(scans, ["labelled", "ct"], 100, seed=0)) == 24


def test_sides_of_a_source_have_no_influence() -> None:
    one = list_probe_scans([source("ct", index("a", "b"), index("c"))], [], {}, DATASET)
    other = list_probe_scans([source("ct", index("c"), index("b", "a"))], [], {}, DATASET)
    assert [scan.name for scan in one] == [scan.name for scan in other] == ["ct/a", "ct/b", "ct/c"]


def test_sources_without_test_scans_are_refused() -> None:
    sources = [source("labelled", index("a", "b", "c")), source("ct", index("a", "b"))]
    seen = [SeenScans.from_facts({"dataset": DATASET, "cases": {"a": "", "b": ""}})]
    scans = list_probe_scans(sources, seen, {}, DATASET)
    with pytest.raises(SetupError, match="source labelled: 1 of 3 scans can test a probe, needed are 2"):
        choose_scans(scans, ["labelled", "ct"], 8, 0)
    with pytest.raises(SetupError, match="a probe tells sources apart: there is one, labelled"):
        choose_scans(scans, ["labelled"], 8, 0)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "patients.csv"
    file.write_text(text)
    return file


def test_groups_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = list_names([source("labelled", index("a", "b")), source("ct", index("a"), index("P1"))])
    assert names == ["a", "b", "ct/a", "ct/P1"]
    groups = read_groups(write(tmp_path, "Case, Group\na,P1\n\nct/a,P1\nzzz,P2\n"), names)
    assert groups["a"] == groups["ct/a"]
    assert len(set(groups.values())) == 3
    assert "1 case(s) are no scans of the sources, the first is zzz" in caplog.text
    assert "2 scan(s) are not in the table and count as groups of their own, the first is b" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first line is '\(empty\)'"),
        ("scan,patient\na,1\n", "the first line is 'scan,patient'"),
        ("case,group\na\n", "'a' is no case and group"),
        ("case,group\na,1\na,2\n", "a is in two groups, 1 and 2"),
        ("case,group\nx,1\n", "none of the 1 cases is a scan of the sources, which are named like a"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        read_groups(write(tmp_path, text), ["a", "b"])


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="--groups: the table cannot be read"):
        read_groups(tmp_path / "missing.csv", ["a"])
