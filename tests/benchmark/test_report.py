"""The report of a benchmark's folder, whole, unfinished and without what it can do without."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_genesis.benchmark.record import read_record, write_record
from nnunet_genesis.benchmark.report import write_report
from nnunet_genesis.benchmark.reporting.provenance import with_variables
from nnunet_genesis.benchmark.scores import read_case_scores, write_case_scores
from nnunet_genesis.benchmark.settings import PER_SEED
from nnunet_genesis.errors import DataError
from tests.benchmark.simulated_folder import DATASET, LABELS, Size, write_folder

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(("scratch", "models-genesis"), (5, 40), ("standard",))
SMALL = Size(("scratch", "models-genesis"), (5,), ("standard",), seeds=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of twelve trainings, of which one failed and one was interrupted, with its report."""
    folder = tmp_path_factory.mktemp("simulated") / "benchmark"
    folder.mkdir()
    write_folder(folder, SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_raw", str(folder.parent / "nnUNet_raw"))
        assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "benchmark"
    folder.mkdir()
    write_folder(folder, SMALL)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nnUNet_raw"))
    return folder


def _page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def _results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_the_page_holds_all_pictures_and_needs_nothing_else(written: Path) -> None:
    embedded = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', _page(written))]
    files = {file.name: file.read_bytes() for file in (written / "report_pictures").iterdir()}
    assert set(files) == {
        "label_efficiency.png",
        "differences.png",
        "convergence.png",
        "cases_models-genesis.png",
    }
    assert sorted(embedded) == sorted(files.values())
    assert re.findall(r'(?:src|href)="(?!data:)', _page(written)) == []
    assert "http" not in _page(written)


def test_every_tag_is_closed_and_every_picture_described(written: Path) -> None:
    class Tags(HTMLParser):
        opened: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "img":
                assert dict(attrs)["alt"]
            if tag not in ("meta", "img"):
                self.opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.opened.pop() == tag

    parser = Tags()
    parser.opened = []
    parser.feed(_page(written))
    assert parser.opened == []


def test_the_verdict_comes_first_with_what_limits_it(written: Path) -> None:
    found = _results(written)
    page = _page(written)
    assert found["verdict"].startswith("Dice, mean of classes, on 18 test cases of 12 groups (patients):")
    assert page.index(found["verdict"]) < page.index("<table>")
    assert "2 of 12 trainings are not in these numbers: 1 failed, 1 not finished." in found["cautions"]
    assert "All seeds train on the same labelled cases: other ones may give another gain." in found["cautions"]
    comparisons = {one["arm"]["labelled"] for one in found["comparisons"]}
    assert any("A seed means the same initial weights" in text for text in found["cautions"]) == (len(comparisons) > 1)
    assert any("40 epochs of 25 iterations; nnU-Net&#x27;s own has 1000" in part for part in page.split("<li>"))


def test_the_numbers_are_those_of_the_table(written: Path) -> None:
    scores = [score for score in read_case_scores(written / "results.csv") if score.metric == "dice"]
    cells: dict[tuple[str, int, str, str], list[float]] = {}
    absent = {(score.case, score.label) for score in scores if np.isnan(score.value)}
    for score in scores:
        if score.run.labelled == 5 and (score.case, score.label) not in absent:
            place = (score.run.initialisation, score.run.seed, score.group, score.case)
            cells.setdefault(place, []).append(score.value)

    def mean(initialisation: str) -> float:
        by_group: dict[str, dict[str, list[float]]] = {}
        for (name, _, group, case), values in cells.items():
            if name == initialisation:
                by_group.setdefault(group, {}).setdefault(case, []).append(float(np.mean(values)))
        return float(np.mean([np.mean([np.mean(case) for case in cases.values()]) for cases in by_group.values()]))

    (entry,) = (
        one
        for one in _results(written)["comparisons"]
        if (one["metric"], one["label"], one["arm"]["labelled"]) == ("dice", "mean of classes", 5)
    )
    assert entry["interval"]["difference"] == pytest.approx(mean("models-genesis") - mean("scratch"))
    assert entry["pretrained"]["mean"] == pytest.approx(mean("models-genesis"))
    assert entry["verdict"] == "better"
    assert f"<td>{entry['interval']['difference']:+.3f}</td>" in _page(written)


def test_failures_and_commands_are_told_without_breaking_the_page(written: Path) -> None:
    page = _page(written)
    assert "nnUNetv2_train ended with code 1" in page
    assert "RuntimeError: &lt;out of memory&gt;" in page
    assert "__seed2: interrupted" in page
    assert f"export BENCHMARK={written.absolute()}" in page
    assert f"nnUNet_preprocessed=${{BENCHMARK}}/workspace/nnUNet_preprocessed nnUNetv2_train {DATASET}" in page
    assert "12 planned: 1 interrupted, 10 finished, 1 failed." in page


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("nnUNet_results=/data/r/b/ck.pth run", "nnUNet_results=${BENCHMARK}/ck.pth run"),
        ("file=/data/r/b__long/ck.pth run", "file=${nnUNet_results}/b__long/ck.pth run"),
        ("file=/data/r_old/ck.pth run /data/r", "file=/data/r_old/ck.pth run ${nnUNet_results}"),
        ("file='/data/r/my run/ck.pth' /data/r/b", "file='/data/r/my run/ck.pth' ${BENCHMARK}"),
        ("""'/data/it'"'"'s' b='/data/r/b/my run'""", """'/data/it'"'"'s' b='/data/r/b/my run'"""),
        ("/mnt/data/r/b/x a=/data/r/b:/data/r/c", "/mnt/data/r/b/x a=${BENCHMARK}:${nnUNet_results}/c"),
    ],
)
def test_a_place_is_a_variable_where_a_shell_takes_it_for_one(command: str, expected: str) -> None:
    assert with_variables(command, {"BENCHMARK": "/data/r/b", "nnUNet_results": "/data/r"}) == expected


def test_the_labelled_cases_are_named_with_their_true_number(small: Path) -> None:
    record = read_record(small)
    assert record is not None
    (subset,) = record.subsets
    record.subsets[0] = replace(subset, asked=("4", "10%"))
    write_record(record, small)
    write_report(small)
    page = _page(small).replace(' class="words long"', "")
    assert f"<td>4 or 10%</td><td>5</td><td>{', '.join(subset.cases)}</td>" in page


def test_scratch_with_fewer_labels_is_not_taken_for_scratch_with_all(tmp_path: Path, written: Path) -> None:
    caution = "(not with all 40, but with 10: what all would reach is not known)"
    folder = tmp_path / "benchmark"
    folder.mkdir()
    write_folder(folder, replace(SIZE, labelled=(5, 10)))
    write_report(folder)
    assert caution in _page(folder)
    assert "not with all" not in _page(written)


def test_missed_and_wrongly_found_classes_are_counted(written: Path) -> None:
    # One nodule is missed in every training with 5 labels, of the 17 test cases that have one.
    assert "<td>3 of 51</td><td>0 of 3</td>" in _page(written)


def test_results_know_no_nan(written: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads((written / "results.json").read_text(), parse_constant=refuse)


def test_one_seed_is_told_and_shows_nothing(small: Path) -> None:
    page = write_report(small).read_text(encoding="utf-8")
    found = _results(small)
    assert "against scratch: no difference shown" in found["verdict"]
    assert "how far scratch varies from run to run is not known" in found["verdict"]
    assert found["cautions"][0].startswith("1 comparison has one seed only")
    assert "better in these trainings alone: one seed says nothing of the next" in page
    assert "<td>not known</td>" in page


def test_it_is_written_again_after_more_trainings(small: Path) -> None:
    before = write_report(small).read_text(encoding="utf-8")
    scores = [score for score in read_case_scores(small / "results.csv") if score.metric == "dice"]
    write_case_scores(scores, small / "results.csv")
    assert write_report(small).read_text(encoding="utf-8") != before
    assert not list(small.glob(".*.tmp"))


def test_without_record_epochs_and_images_it_shows_what_there_is(small: Path) -> None:
    (small / "benchmark.json").unlink()
    (small / "epochs.csv").unlink()
    page = write_report(small).read_text(encoding="utf-8")
    assert "benchmark.json is not there" in page
    assert "Epochs needed" not in page
    assert "Worst and best cases" not in page
    assert page.count("<img") == 2


def test_cases_are_drawn_without_their_images(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    picture = small / "report_pictures" / "cases_models-genesis.png"
    write_report(small)
    before = picture.read_bytes()
    monkeypatch.setenv("nnUNet_raw", str(small / "nowhere"))
    write_report(small)
    assert picture.read_bytes() != before
    assert "drawn without their images" in caplog.text


def test_a_report_is_written_where_the_preprocessed_data_have_moved(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(small / "workspace")
    page = write_report(small).read_text(encoding="utf-8")
    assert "Worst and best cases" not in page
    assert _results(small)["verdict"] in page
    assert "no test case can be drawn" in caplog.text
    assert "has it been moved?" in caplog.text


def test_a_prediction_that_is_gone_is_told(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(small / "runs" / "scratch__5__standard__seed0" / "nnUNet_results")
    page = write_report(small).read_text(encoding="utf-8")
    assert "Worst and best cases" not in page
    assert "cannot be drawn" in caplog.text


def test_a_network_that_found_nothing_can_be_drawn(small: Path) -> None:
    for file in small.glob("runs/scratch*/nnUNet_results/*/*/*/validation/*.nii.gz"):
        image: Any = sitk.ReadImage(str(file))
        sitk.WriteImage(image * 0, str(file))
    assert "Worst and best cases" in write_report(small).read_text(encoding="utf-8")


def test_only_times_that_are_known_are_added_up(written: Path, tmp_path: Path) -> None:
    assert "1 failed. Together they took 24 min." in _page(written)
    folder = tmp_path / "benchmark"
    folder.mkdir()
    write_folder(folder, replace(SIZE, labelled=(5,)))
    files = sorted(folder.glob("runs/*/run.json"))
    assert len(files) == 6
    restored = {"status": "finished", "restored_from": "elsewhere"}
    killed = {"status": "finished", "attempts": [{"seconds": 50.0}, {"started": "2025-01-01T00:00:00+00:00"}]}
    for file, content in zip(files[:2], (restored, killed), strict=True):
        file.write_text(json.dumps(content))
    write_report(folder)
    assert "1 failed. Together those whose time is known (4 of 6) took 8 min." in _page(folder)
    for file in files:
        file.write_text(json.dumps(restored))
    write_report(folder)
    assert " took " not in _page(folder).split("<h2>Trainings</h2>")[1].split("<h2>")[0]


def test_before_the_first_training_has_finished(small: Path) -> None:
    write_case_scores([], small / "results.csv")
    (small / "epochs.csv").unlink()
    assert "No training has finished yet" in write_report(small).read_text(encoding="utf-8")


def test_scratch_alone_is_no_comparison(small: Path) -> None:
    scores = [score for score in read_case_scores(small / "results.csv") if score.run.initialisation == "scratch"]
    write_case_scores(scores, small / "results.csv")
    assert "Nothing can be compared yet" in write_report(small).read_text(encoding="utf-8")


def test_many_classes_are_left_to_results_json(small: Path) -> None:
    scores = [score for score in read_case_scores(small / "results.csv") if score.label == "body"]
    many = [replace(score, label=f"organ {number}") for score in scores for number in range(9)]
    write_case_scores(many, small / "results.csv")
    page = write_report(small).read_text(encoding="utf-8")
    assert "organ 3" not in page
    assert "Single classes are in results.json." in page
    assert {one["label"] for one in _results(small)["comparisons"]} >= {"organ 3", "mean of classes"}


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no results\.csv of a benchmark"):
        write_report(tmp_path)


def test_seeds_with_their_own_labelled_cases_are_compared_in_pairs(tmp_path: Path) -> None:
    for draws in ("fixed", PER_SEED):
        folder = tmp_path / draws / "benchmark"
        folder.mkdir(parents=True)
        write_folder(folder, Size(("scratch", "masked"), (5,), ("standard",), seeds=2, draws=draws))
        write_report(folder)
    fixed, paired = (_results(tmp_path / draws / "benchmark") for draws in ("fixed", PER_SEED))
    assert any("seeds are compared in pairs" in text for text in paired["cautions"])
    both = [[one["interval"]["low"] for one in found["comparisons"]] for found in (fixed, paired)]
    assert len(both[0]) == len(both[1]) == 3 * (len(LABELS) + 1)
    assert both[0] != both[1]
