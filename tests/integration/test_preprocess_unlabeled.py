"""``genesis preprocess-unlabeled`` beside nnU-Net's own preprocessing, on real scans, and killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_genesis.pretraining.unlabeled.supervised import ITEMS_AHEAD
from tests.integration.workspace import HIPPOCAMPUS, Workspace, add_blobs
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

POOL = "pool"


def open_images(folder: Path) -> dict[str, Any]:
    return {
        file.stem: blosc2.open(str(file), mode="r")
        for file in sorted(folder.glob("*.b2nd"))
        if not file.stem.endswith("_seg")
    }


def read_cases(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of a pool's list, without what every run takes its own time or place for."""
    lines = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    return {line.pop("identifier"): {**line, "seconds": 0} for line in lines}


def preprocess_both_ways(
    workspace: Workspace, dataset: str, source: str, configuration: str, **changes: Any
) -> dict[str, tuple[Any, Any]]:
    """Preprocess a dataset by changed plans of another, as labelled cases and as a pool; images of both by case."""
    target, plans_name = workspace.preprocessed / dataset, "nnUNetPlansChanged"
    target.mkdir(exist_ok=True)
    plans = json.loads((workspace.preprocessed / source / "nnUNetPlans.json").read_text())
    plans.update(dataset_name=dataset, plans_name=plans_name)
    for name in ("transpose_forward", "transpose_backward"):
        plans[name] = changes.pop(name, plans[name])
    settings = plans["configurations"][configuration]
    settings.update(data_identifier=f"{plans_name}_{configuration}", **changes)
    plans["configurations"] = {configuration: settings}
    (target / f"{plans_name}.json").write_text(json.dumps(plans))
    shutil.copy(workspace.raw / dataset / "dataset.json", target / "dataset.json")
    workspace.run(
        "nnUNetv2_preprocess", "-d", dataset[7:10], "-plans_name", plans_name, "-c", configuration, "-np", "2"
    )
    workspace.run(
        "genesis", "preprocess-unlabeled", "-d", dataset, "-c", configuration, "-p", plans_name, "-np", "2",
        "-i", str(workspace.raw / dataset / "imagesTr"), "--name", POOL,
    )  # fmt: skip
    labelled = open_images(target / settings["data_identifier"])
    pool = open_images(target / f"{settings['data_identifier']}__unlabeled" / POOL)
    assert labelled.keys() == pool.keys()
    return {case: (labelled[case], pool[case]) for case in labelled}


def assert_same(pairs: dict[str, tuple[Any, Any]]) -> None:
    """Equal bit for bit, in the same storage."""
    assert pairs
    for labelled, pool in pairs.values():
        assert pool.dtype == labelled.dtype == np.float32
        assert (pool.chunks, pool.blocks) == (labelled.chunks, labelled.blocks)
        assert pool.schunk.cparams.filters == labelled.schunk.cparams.filters
        assert pool.schunk.cparams.codec == labelled.schunk.cparams.codec
        assert pool[:].tobytes() == labelled[:].tobytes()


def test_a_scan_is_preprocessed_as_a_labelled_case_is(hippocampus: Workspace) -> None:
    raw = hippocampus.raw / HIPPOCAMPUS / "imagesTr"
    hippocampus.run("genesis", "preprocess-unlabeled", "-d", "4", "-i", str(raw), "--name", "as_labelled", "-np", "2")
    folder = hippocampus.preprocessed / HIPPOCAMPUS
    labelled = open_images(folder / "nnUNetPlans_3d_fullres")
    pool = open_images(folder / "nnUNetPlans_3d_fullres__unlabeled" / "as_labelled")
    assert len(labelled) == 12
    assert_same({case: (image, pool[case]) for case, image in labelled.items()})


@pytest.mark.slow
def test_transposed_resampled_and_clipped(other_shapes: Workspace) -> None:
    pairs = preprocess_both_ways(
        other_shapes, "Dataset802_Anisotropic", "Dataset802_Anisotropic", "3d_fullres",
        transpose_forward=[2, 0, 1], transpose_backward=[1, 2, 0], spacing=[0.9, 4.0, 1.1], patch_size=[64, 16, 64],
    )  # fmt: skip
    assert_same(pairs)
    shapes = {pool.shape for _, pool in pairs.values()}
    assert shapes == {(1, round(128 * 0.8 / 0.9), round(16 * 5 / 4), round(128 * 0.8 / 1.1))}
    values = next(iter(pairs.values()))[1][:]
    assert (values == values.min()).sum() > 10, "clipped"


def test_four_channels_cropped_and_normalised_inside_a_mask(synthetic: Workspace) -> None:
    dataset = "Dataset805_Cropped"
    add_blobs(
        synthetic, dataset, channels=("T1", "T1ce", "T2", "FLAIR"), shape=(32, 32, 32), spacing=(1.0, 1.0, 1.0), count=3
    )
    for file in (synthetic.raw / dataset).rglob("*.nii.gz"):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        distance = np.linalg.norm(np.indices(array.shape) - 15.5, axis=0)
        sitk.WriteImage(sitk.GetImageFromArray(np.where(distance < 12, array, 0).astype(array.dtype)), str(file))
    pairs = preprocess_both_ways(
        synthetic, dataset, "Dataset801_FourChannels", "3d_fullres", use_mask_for_norm=[True] * 4
    )
    assert_same(pairs)
    for _, pool in pairs.values():
        assert pool.shape == (4, 24, 24, 24)
        assert (pool[:][:, 0, 0, 0] == 0).all(), "outside the mask"


@pytest.mark.slow
def test_flat_scans(other_shapes: Workspace) -> None:
    assert_same(preprocess_both_ways(other_shapes, "Dataset803_Flat", "Dataset803_Flat", "2d", spacing=[1.3, 0.9]))


@pytest.mark.slow
def test_volumes_for_a_flat_configuration(other_shapes: Workspace) -> None:
    dataset = "Dataset806_Volumes"
    add_blobs(other_shapes, dataset, channels=("R", "G"), shape=(7, 40, 40), spacing=(4.0, 1.0, 1.0), count=3)
    pairs = preprocess_both_ways(other_shapes, dataset, "Dataset803_Flat", "2d", spacing=[2.0, 0.8])
    assert_same(pairs)
    assert {pool.shape for _, pool in pairs.values()} == {(2, 7, 20, 50)}
    target = other_shapes.preprocessed / dataset / "nnUNetPlansChanged_2d__unlabeled" / POOL
    assert {tuple(case["spacing"]) for case in read_cases(target).values()} == {(4.0, 2.0, 0.8)}


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("the command", marks=pytest.mark.slow),
        pytest.param("all its processes", marks=pytest.mark.slow),
        pytest.param("interrupted", marks=pytest.mark.slow),
    ],
)
def test_killed_in_the_middle_and_run_again(hippocampus: Workspace, victim: str) -> None:
    # More than the command works ahead behind a slow first scan, which it would then write in one burst.
    files = sorted((real_data_folder("hippocampus") / "images").glob("*.nii.gz"))[20:180]
    assert len(files) > 2 * ITEMS_AHEAD
    pools = hippocampus.preprocessed / HIPPOCAMPUS / "nnUNetPlans_3d_fullres__unlabeled"
    name = f"killed_{victim.split(maxsplit=1)[0]}"
    command = ["genesis", "preprocess-unlabeled", "-d", "4", "-np", "2", "-i", *(str(file) for file in files), "--name"]
    process = hippocampus.start(*command, name, new_session=True)
    cases_file = pools / name / "cases.jsonl"
    limit = time.monotonic() + 120
    while not cases_file.exists() or cases_file.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.002)
    if victim == "the command":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT if victim == "interrupted" else signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    if victim == "interrupted":
        assert process.returncode == 130
        assert output.endswith("\ninterrupted\n")
        assert "Traceback" not in output
        assert (pools / name / "report.csv").is_file()
    done = cases_file.read_text().split("\n")[:-1]
    images = [pools / name / json.loads(line)["file"] for line in done]
    before = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in images]
    assert 5 <= len(done) < len(files), "in the middle"
    output = hippocampus.run(*command, name)
    assert f"{len(files)} scans ({len(files) - len(done)} new, {len(done)} done before)" in output
    assert [(file.stat().st_mtime_ns, file.stat().st_ino) for file in images] == before
    assert list((pools / name / ".partial").iterdir()) == []
    if not (pools / "undisturbed").exists():
        hippocampus.run(*command, "undisturbed")
    assert read_cases(pools / name) == read_cases(pools / "undisturbed")
    disturbed, undisturbed = open_images(pools / name), open_images(pools / "undisturbed")
    assert disturbed.keys() == undisturbed.keys()
    assert all((disturbed[case][:] == undisturbed[case][:]).all() for case in disturbed)


def test_no_validation_case_of_a_fold_gets_in_under_another_name(hippocampus: Workspace, tmp_path: Path) -> None:
    raw = hippocampus.raw / HIPPOCAMPUS / "imagesTr"
    for number, file in enumerate(sorted(raw.iterdir())):
        image = sitk.DICOMOrient(sitk.ReadImage(str(file)), "PIR")
        sitk.WriteImage(image, str(tmp_path / f"patient_{number}.nrrd"))
    output = hippocampus.run(
        "genesis", "preprocess-unlabeled", "-d", "4", "-p", "nnUNetPlansTiny", "-np", "2", "-i", str(tmp_path),
        "--name", "without_fold_1", "--exclude-fold", "1",
    )  # fmt: skip
    cases = sorted(file.name.removesuffix("_0000.nii.gz") for file in raw.iterdir())
    held_out = generate_crossval_split(cases, seed=12345, n_splits=5)[1]["val"]
    validation = {f"patient_{number}" for number, case in enumerate(cases) if case in held_out}
    folder = hippocampus.preprocessed / HIPPOCAMPUS / "nnUNetPlans_3d_fullres__unlabeled" / "without_fold_1"
    assert read_cases(folder).keys() == {f"patient_{number}" for number in range(12)} - validation
    assert f"{len(validation)}  excluded; e.g. " in output
