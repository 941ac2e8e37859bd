"""Names that files and cases may have on a disk lead nowhere else, and break no log, table or picture."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from nnunet_genesis import checkpoint, hub
from nnunet_genesis.benchmark.record import read_record
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import CheckpointError, DataError, GenesisError, SetupError
from nnunet_genesis.figure_text import names_as_they_are, plain_log_ticks
from nnunet_genesis.plans import list_cases, load_planned_configuration
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from nnunet_genesis.pretraining.unlabeled.report import describe_outcome
from nnunet_genesis.submission.archive import write_archive
from nnunet_genesis.submission.images import find_test_images
from tests.benchmark.simulated_folder import Size, write_folder
from tests.hub_server import Repository, running_hub
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.pretraining.unlabeled.planned import build, draw_scan, plan_dataset, write_scan
from tests.test_hub import set_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.reliability.effort import Effort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems' files cannot have most of these names")
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
ENDING = ".nii.gz"
NAMES = [
    "..x", "...", "a b", "-rf", "line\nbreak", "\x1b[31mred", "tab\there", "M\u00fcller", "Mu\u0308ller", "\u202egpj",
    "CON", "nul.x", "..\\..\\outside", "C:\\outside", "%s{}", "$(touch outside)", "`touch outside`", "a;b|c&d",
    "<script>alert(1)</script>".replace("/", "|"), "$\\frac{$", "x" * (255 - len(ENDING)), "\udcff\udcfe", "a'\"b",
]  # fmt: skip
"""Legal on Linux: anything but a slash and a null character, up to 255 bytes."""


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Path]:
    """A folder to work in; whatever is written beside it fails the test."""
    (tmp_path / "inside").mkdir()
    yield tmp_path / "inside"
    assert [entry.name for entry in tmp_path.iterdir()] == ["inside"]


def test_scans_of_any_name_become_cases_of_safe_names(
    around: Path, monkeypatch: pytest.MonkeyPatch, effort: Effort
) -> None:
    planned = plan_dataset(around, monkeypatch)
    monkeypatch.chdir(around)
    scans = around / "scans"
    write_scan(scans / "plain.nii.gz", draw_scan(0))
    for number, name in enumerate(NAMES, start=1):
        write_scan(around / "made.nii.gz", draw_scan(number))
        (around / "made.nii.gz").rename(scans / f"{name}{ENDING}")
    before = {os.fsencode(file): file.stat().st_mtime_ns for file in scans.iterdir()}
    outcome = build(planned, scans)
    # SimpleITK cannot open a name that is no UTF-8, and names that begin with a dot are hidden.
    unreadable = ["\udcff\udcfe"]
    hidden = [name for name in NAMES if name.startswith(".")]
    assert len(outcome.cases) == 1 + len(NAMES) - len(unreadable) - len(hidden), outcome.skipped
    assert [skipped.reason.value for skipped in outcome.skipped] == ["unreadable"]
    identifiers = [case.identifier for case in outcome.cases]
    assert len({name.lower() for name in identifiers}) == len(identifiers)
    for case in outcome.cases:
        assert SAFE.fullmatch(case.identifier)
        assert (outcome.folder / case.file).is_file()
    assert (outcome.folder / "pool.png").stat().st_size > 0
    for line in describe_outcome(outcome):
        assert line.isprintable()
    assert {os.fsencode(file): file.stat().st_mtime_ns for file in scans.iterdir()} == before
    assert len(list(around.rglob("outside"))) == 0
    effort.record("hostile_names", {"names of scans": len(NAMES), "cases with safe names": len(identifiers)})


@pytest.mark.parametrize("case", ["../../outside", "/outside", "..", "a\0b"])
def test_a_table_cannot_name_a_case_out_of_the_pool(around: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    planned = plan_dataset(around, monkeypatch)
    write_scan(around / "scan.nii.gz", draw_scan(0))
    (around / "table.json").write_text(json.dumps([{"case": case, "channel": 0, "path": "scan.nii.gz"}]))
    outcome = build(planned, around / "table.json")
    assert [bool(SAFE.fullmatch(one.identifier)) for one in outcome.cases] == [True]


@pytest.mark.parametrize("file", ["../../../victim.b2nd", "/outside.b2nd", "", "a\nb.b2nd"])
def test_a_line_of_a_pool_cannot_name_a_file_outside_of_it(
    around: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    cases = smooth_cases(1, (4, 8, 8))
    write_dataset(around, cases, (4, 8, 8), monkeypatch)
    pool = write_pool(load_planned_configuration(DATASET), "pool", cases)
    victim = (pool.folder / "../../../victim.b2nd").resolve()
    victim.write_bytes(b"mine")
    pool.cases_file.write_text(pool.cases_file.read_text().replace('"case_000.b2nd"', json.dumps(file)))
    with pytest.raises(DataError, match="line 1"):
        Pool(pool.folder).read_cases()
    assert victim.read_bytes() == b"mine"


def test_preprocessed_cases_keep_any_name_that_can_be_shown(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in NAMES if name.isprintable() and "/" not in name]
    names = [name[:240] for name in names]
    cases = dict(zip(names, smooth_cases(len(names), (4, 8, 8)).values(), strict=True))
    write_dataset(around, cases, (4, 8, 8), monkeypatch)
    planned = load_planned_configuration(DATASET)
    config = PretrainingConfig(pretext="models-genesis", batch_size=2)
    (source,) = open_sources(planned, config, find_source_folders(planned, config), workers=1, show_progress=False)
    there = {*source.train.identifiers.tolist(), *source.validation.identifiers.tolist()}
    assert there == set(names)
    assert {unicodedata.normalize("NFC", name) for name in there} < there, "both spellings of Mueller are there"
    file = around / "checkpoint_final.pth"
    told = {"format_version": checkpoint.FORMAT_VERSION, "cases": dict.fromkeys(sorted(there), "0" * 64)}
    checkpoint.write(file, {"network_weights": {}, "genesis": told})
    assert set(checkpoint.read(file)["genesis"]["cases"]) == there


@pytest.mark.parametrize("name", [name for name in NAMES if not name.isprintable()])
def test_preprocessed_cases_of_other_names_are_refused(around: Path, name: str) -> None:
    (around / f"{name}.b2nd").touch()
    with pytest.raises(SetupError, match="the name of the case") as caught:
        list_cases(around)
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["line\nbreak", "x\\..\\outside", "\x1b[31mred"])
def test_test_images_of_odd_names_go_into_no_archive(around: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("nnUNet_raw", str(around))
    images = around / DATASET / "imagesTs"
    images.mkdir(parents=True)
    (images / f"{name}_0000{ENDING}").touch()
    told = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "file_ending": ENDING}
    (images.parent / "dataset.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="no name that an archive can hold"):
        find_test_images(DATASET)


def test_long_names_go_into_archives(around: Path) -> None:
    names = [f"Task03_Liver/{name}{ENDING}" for name in ("x" * (255 - len(ENDING)), "M\u00fcller", "Mu\u0308ller")]
    write_archive(around / "out.zip", {name: lambda: b"content" for name in names})
    with zipfile.ZipFile(around / "out.zip") as archive:
        assert sorted(archive.namelist()) == sorted(names)


@pytest.mark.parametrize("ending", ["/../../outside", ".nii/../..", "", ".", 5])
def test_a_dataset_cannot_have_an_ending_that_is_a_path(
    around: Path, monkeypatch: pytest.MonkeyPatch, ending: object
) -> None:
    folder = write_dataset(around, smooth_cases(1, (4, 8, 8)), (4, 8, 8), monkeypatch)
    told = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**told, "file_ending": ending}))
    with pytest.raises(SetupError, match="file_ending"):
        load_planned_configuration(DATASET)


@pytest.mark.parametrize(
    "arguments",
    [
        (f"{DATASET}/../{DATASET}",), (DATASET, "../plans"), (DATASET, "nnUNetPlans", "../outside"),
        (DATASET, "nnUNetPlans", "a\nb"),
    ],
)  # fmt: skip
def test_datasets_plans_and_configurations_are_names(
    around: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    folder = write_dataset(around, smooth_cases(1, (4, 8, 8)), (4, 8, 8), monkeypatch)
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["configurations"]["../outside"] = plans["configurations"]["3d_fullres"]
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder.parent / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(SetupError):
        load_planned_configuration(*arguments)


def test_plans_cannot_put_cases_elsewhere(around: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(around, smooth_cases(1, (4, 8, 8)), (4, 8, 8), monkeypatch)
    text = (folder / "nnUNetPlans.json").read_text()
    (folder / "nnUNetPlans.json").write_text(text.replace("nnUNetPlans_cases", "../../nnUNetPlans_cases"))
    with pytest.raises(SetupError, match="data identifier"):
        load_planned_configuration(DATASET)


def test_a_benchmark_cannot_run_outside_its_folder(around: Path) -> None:
    write_folder(around / "b", Size(initialisations=("scratch",), labelled=(5,), schedules=("standard",), seeds=1))
    file = around / "b" / "benchmark.json"
    text = file.read_text()
    file.write_text(text.replace('"scratch__', '"../../outside__').replace('"scratch"', '"../../outside"'))
    assert file.read_text() != text
    with pytest.raises(DataError, match="no name of a run"):
        read_record(file.parent)


@pytest.mark.parametrize("name", ["../../outside.pth", "/outside.pth", "a/../../../outside.pth"])
def test_a_repository_cannot_have_files_written_elsewhere(
    around: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with running_hub() as server:
        set_endpoint(monkeypatch, server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(around / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        server.repositories["ann/liver"] = Repository()
        server.repositories["ann/liver"].commit({name: b"evil"})
        with pytest.raises(CheckpointError):
            hub.resolve("hf://ann/liver")
    assert not [file for file in around.rglob("*.pth") if file.name.startswith("outside")]


def test_messages_hold_no_escape_sequences() -> None:
    error = GenesisError("bad \x1b[2J\udcff", where="a\nb", mend="rename \x07it")
    assert str(error) == "bad \\x1b[2J\\udcff\n  where: a\\nb\n  to mend it: rename \\x07it"
    str(error).encode()


def test_names_in_pictures_are_no_formulas(tmp_path: Path) -> None:
    @names_as_they_are
    def draw() -> None:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().set_title("$\\frac{$")
        figure.savefig(tmp_path / "picture.png")

    draw()
    assert (tmp_path / "picture.png").stat().st_size > 0


@pytest.mark.parametrize("scale", [{"value": "log"}, {"value": "symlog", "linthresh": 0.5}])
def test_numbers_in_pictures_are_no_formulas_either(scale: dict[str, Any]) -> None:
    @names_as_they_are
    def ticks() -> list[str]:
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2], [0.4, 30])
        axes.set_yscale(**scale)
        plain_log_ticks(axes.yaxis, scale.get("linthresh"))
        figure.draw_without_rendering()
        return [label.get_text() for label in axes.get_yticklabels(which="both")]

    assert {"1", "10"} <= set(ticks())
    assert not any("$" in text for text in ticks())
