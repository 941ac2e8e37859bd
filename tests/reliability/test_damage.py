"""Cases that break while a run goes on: replaced, told once, listed, and too many of them end it. Dead loaders."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import blosc2
import numpy as np
import pytest
import torch

from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining import damage, quarantine
from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.damage import FURTHER_DRAWS, ReplacedPatches
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from nnunet_genesis.scans.voxel_hash import hash_voxels
from tests.indices import written_index
from tests.reliability import small_run
from tests.reliability.small_run import PATCH, read, run, same_weights, save_after_every_step, when_told, write_cases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tests.reliability.effort import Effort

CASES = 40
"""Two of them are 5 %."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "SECONDS_BEFORE_SECOND_LOOK", 0.0)
    small_run.quick_pictures(monkeypatch)


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_cases(tmp_path / "nnunet", monkeypatch, CASES)


def vanish(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def scribble(file: Path) -> None:
    """Overwrite the header."""
    content = file.read_bytes()
    file.write_bytes(b"\0" * 64 + content[64:])


def rewrite(file: Path, change: Callable[[npt.NDArray[np.float32]], None]) -> None:
    image = read_whole(file)
    change(image)
    file.unlink()
    blosc2.asarray(image, urlpath=str(file), chunks=image.shape, blocks=image.shape)


def put_nan(file: Path) -> None:
    rewrite(file, lambda image: image.__setitem__((0, 5, 12, 12), np.nan))


def put_infinity(file: Path) -> None:
    rewrite(file, lambda image: image.__setitem__((0, slice(4, 6)), np.inf))


def crop(file: Path) -> None:
    image = read_whole(file)[:, :-1]
    file.unlink()
    blosc2.asarray(np.ascontiguousarray(image), urlpath=str(file))


def flip_last_bit(image: npt.NDArray[np.float32]) -> None:
    image.view(np.int32)[0, 5, 12, 12] ^= 1


HARM = {"vanished": vanish, "cut short": cut, "header overwritten": scribble, "NaN": put_nan, "infinite": put_infinity,
        "of another shape": crop}  # fmt: skip


def patches_of(folder: Path) -> PatchDataset:
    names = sorted(file.stem for file in folder.glob("*.b2nd") if not file.stem.endswith("_seg"))
    index = written_index(folder, names)
    hashes = np.array([hash_voxels(read_whole(index.file(number))) for number in range(len(index))])
    index = type(index)(**{**vars(index), "sha256": hashes})
    return PatchDataset([index], [1.0], PATCH, max_background_share=1.0, seed=(1, 2))


def test_whole_cases_give_the_very_patches_they_gave_before(cases: Path) -> None:
    patches = patches_of(cases)
    replaced = ReplacedPatches(patches, patches.indices, most_lost=2, patch_voxels=math.prod(PATCH))
    assert replaced.check_every < 400, "cases are checked meanwhile"
    for number in (*range(60), replaced.check_every):
        reading = replaced[number]
        assert reading.damages == []
        assert reading.patch is not None
        assert torch.equal(reading.patch[0], patches[number][0])


@pytest.mark.parametrize("harm", HARM)
def test_patches_of_a_damaged_case_are_drawn_anew_and_it_is_named(cases: Path, harm: str) -> None:
    patches = patches_of(cases)
    before = [patches[number][0] for number in range(100)]
    harmed = patches.case_of(50)
    HARM[harm](patches.indices[0].file(harmed[1]))
    replaced = ReplacedPatches(patches, patches.indices, most_lost=2)
    met = 0
    for number in range(100):
        reading = replaced[number]
        assert reading.patch is not None
        if reading.damages:
            met += 1
            assert patches.case_of(number) == harmed
            assert {(one.source, one.case) for one in reading.damages} == {harmed}
            assert torch.equal(reading.patch[0], patches[number + FURTHER_DRAWS][0])
        else:
            assert torch.equal(reading.patch[0], before[number])
    of_case = sum(patches.case_of(number) == harmed for number in range(100))
    assert met == of_case if harm not in ("NaN", "infinite") else 0 < met <= of_case
    replaced.lost_from[0][harmed[1]] = replaced.first_lost[0] = 100
    assert all(not replaced[number].damages for number in range(100, 150)), "it is not even looked at any more"


def test_bits_that_flip_without_a_trace_are_found_by_the_hash(cases: Path) -> None:
    patches = patches_of(cases)
    rewrite(patches.indices[0].file(3), flip_last_bit)
    replaced = ReplacedPatches(patches, patches.indices, most_lost=2, patch_voxels=math.prod(PATCH))
    turns = range(replaced.check_every, replaced.check_every * (CASES + 1), replaced.check_every)
    told = [one for number in turns for one in replaced[number].damages]
    assert [(one.case, one.reason) for one in told] == [(3, "its voxels are not those that were indexed")]


@pytest.fixture
def drawn(cases: Path) -> Path:
    """A case that the short run draws from in its second half and not before."""
    planned, config = load_planned_configuration("777"), PretrainingConfig("models-genesis", batch_size=2)
    sources = open_sources(planned, config, find_source_folders(planned, config), workers=1, show_progress=False)
    patches = PatchDataset.for_training(sources, PATCH, config)
    order = [patches.case_of(number)[1] for number in range(24)]
    return cases / str(sources[0].train.files[next(case for case in order[12:] if case not in order[:12])])


def rot(file: Path) -> None:
    """Overwrite the middle of a file as failing disks do: no date tells."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[200 : len(content) - 200] = b"\xff" * (len(content) - 400)
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def listed(output: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((output / "quarantine.json").read_text())["cases"]
    return cases


def test_a_run_goes_on_without_a_damaged_case_whatever_its_number_of_loaders(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with when_told("epoch 1:", partial(os.kill, os.getpid(), signal.SIGTERM)):
        assert run(tmp_path / "begun") == 75
    shutil.copytree(tmp_path / "begun", tmp_path / "healthy")
    assert run(tmp_path / "healthy", "--c") == 0
    assert not (tmp_path / "healthy" / "quarantine.json").exists()
    rot(drawn)
    for name, workers in (("none", 0), ("two", 2)):
        shutil.copytree(tmp_path / "begun", tmp_path / name)
        with when_told("quarantine:", lambda: None) as told:
            assert run(tmp_path / name, "--c", workers=workers) == 0
        (entry,) = listed(tmp_path / name)
        assert entry["case"] == drawn.stem
        assert entry["file"] == str(drawn)
        assert entry["reason"].startswith("the preprocessed case cannot be read")
        assert entry["not_read_from_step"] == entry["step"] + quarantine.STEPS_UNTIL_LOST
        (line,) = (line for line in told if line.startswith("quarantine:"))
        assert f"case {drawn.stem}, training: the preprocessed case cannot be read" in line
        assert "1 of 40 cases are lost, 2 may be" in line
        assert read(tmp_path / name)["genesis"]["quarantined_cases"] == [drawn.stem]
    assert same_weights(read(tmp_path / "none"), read(tmp_path / "two"))
    assert not same_weights(read(tmp_path / "none"), read(tmp_path / "healthy"))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("harm", ["vanished", pytest.param("cut short", marks=pytest.mark.slow)])
def test_a_continued_run_knows_its_damaged_cases_and_ends_as_if_never_interrupted(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    save_after_every_step(monkeypatch)
    whole = drawn.read_bytes()
    with when_told("epoch 1:", partial(HARM[harm], drawn)):
        assert run(tmp_path / "undisturbed") == 0
    drawn.write_bytes(whole)
    with (
        when_told("epoch 1:", partial(HARM[harm], drawn)),
        when_told("quarantine:", partial(os.kill, os.getpid(), signal.SIGTERM)),
    ):
        assert run(tmp_path / "continued") == 75
    with when_told("is still damaged", lambda: None):
        assert run(tmp_path / "continued", "--c") == 0
    assert same_weights(read(tmp_path / "continued"), read(tmp_path / "undisturbed"))
    assert [entry["case"] for entry in listed(tmp_path / "continued")] == [drawn.stem]


def test_more_than_one_in_twenty_lost_ends_the_run_which_goes_on_once_they_are_back(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save_after_every_step(monkeypatch)
    away = cases.with_name("away")
    with when_told("epoch 1:", lambda: cases.rename(away)):
        assert run(tmp_path / "output") == 1
    told = capfd.readouterr().err
    assert re.search(
        r"error: [3-6] of 40 cases are damaged or gone \(.* %, more than 5 % stop a run\); the first is case_", told
    )
    assert f"where: {cases}/case_0" in told
    assert "has vanished" in told
    assert "preprocess again: nnUNetv2_preprocess -d 777 -p nnUNetPlans -c 3d_fullres; then go on with --c" in told
    assert "Traceback" not in told
    assert read(tmp_path / "output", "checkpoint_latest.pth")["training_state"]["step"] >= 3
    away.rename(cases)
    assert run(tmp_path / "output", "--c") == 0
    assert "is whole again and leaves the quarantine" in capfd.readouterr().err
    assert listed(tmp_path / "output") == []
    assert run(tmp_path / "undisturbed") == 0
    assert same_weights(read(tmp_path / "output"), read(tmp_path / "undisturbed"))


@pytest.mark.slow
def test_a_damaged_held_out_case_is_replaced_and_named(
    cases: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "healthy", epochs=1) == 0
    held_out = sorted(read(tmp_path / "healthy")["genesis"]["validation_cases"])[0]
    rot(cases / f"{held_out}.b2nd")
    assert run(tmp_path / "output", epochs=1, workers=1) == 0
    assert [(entry["case"], entry["side"]) for entry in listed(tmp_path / "output")] == [(held_out, "held out")]
    assert f"quarantine: case {held_out}, held out:" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (
            signal.SIGKILL,
            ["was killed (SIGKILL): the system's memory killer", "fewer loader processes: -np 1 instead of"],
        ),
        pytest.param(
            signal.SIGBUS, ["died of a bus error: shared memory is full", "df -h /dev/shm"], marks=pytest.mark.slow
        ),
    ],
)
def test_a_loader_that_the_system_kills_is_named_with_what_helps(
    cases: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], sent: signal.Signals, words: list[str]
) -> None:
    assert cases.is_dir()
    with when_told("epoch 1:", partial(kill_a_loader, sent)):
        assert run(tmp_path / "output", workers=2, epochs=200) == 1
    told = capfd.readouterr().err
    assert "error: loader process" in told
    for word in (*words, "then go on with --c"):
        assert word in told
    assert "Traceback" not in told
    # From before the first step or after the first epoch: torch tells of the death at once, amid drawing.
    assert read(tmp_path / "output", "checkpoint_latest.pth")["training_state"]["step"] in (0, 3)
    assert multiprocessing.active_children() == []


def kill_a_loader(sent: signal.Signals) -> None:
    loader = multiprocessing.active_children()[0]
    assert loader.pid is not None
    os.kill(loader.pid, sent)


@pytest.mark.slow
def test_loaders_killed_at_any_moment_never_leave_a_run_hanging(cases: Path, tmp_path: Path, effort: Effort) -> None:
    assert cases.is_dir()
    kills = effort.times(4, 30)
    slowest = 0.0

    def kill_after(seconds: float) -> None:
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        time.sleep(seconds)
        killed.append(time.monotonic())
        kill_a_loader(signal.SIGKILL)

    for number in range(kills):
        killed: list[float] = []
        killer = threading.Thread(target=kill_after, args=(number * 0.618 % 1,))
        killer.start()
        assert run(tmp_path / f"output_{number}", workers=2, epochs=2000) == 1
        slowest = max(slowest, time.monotonic() - killed[0])
        killer.join()
        assert multiprocessing.active_children() == []
    effort.record("loaders_killed", {"kills": kills, "ended with an error": kills, "slowest end, s": round(slowest, 1)})


@pytest.mark.slow
def test_any_file_may_rot(cases: Path, tmp_path: Path, effort: Effort) -> None:
    """Random bytes of random files: nothing crashes, no patch is anything but finite, and every change is found."""
    assert tmp_path.is_dir()
    patches = patches_of(cases)
    healthy = {number: patches.indices[0].file(number).read_bytes() for number in range(CASES)}
    generator = np.random.default_rng(0)
    rounds, flips = effort.times(20, 1000), 0
    at_once = by_hash = harmless = 0
    for _ in range(rounds):
        case = int(generator.integers(CASES))
        file, content = patches.indices[0].file(case), bytearray(healthy[case])
        position, bit = int(generator.integers(len(content))), int(generator.integers(8))
        content[position] ^= 1 << bit
        file.write_bytes(content)
        flips += 1
        replaced = ReplacedPatches(patches, patches.indices, most_lost=2)
        numbers = [number for number in range(400) if patches.case_of(number)[1] == case][:5]
        readings = [replaced[number] for number in numbers]
        assert all(reading.patch is not None and bool(reading.patch[0].isfinite().all()) for reading in readings)
        if any(reading.damages for reading in readings):
            at_once += 1
        elif damage.find_damage(patches.indices[0], case):
            by_hash += 1
        else:
            harmless += 1
        file.write_bytes(healthy[case])
    effort.record(
        "flipped_bits",
        {
            "files": flips,
            "found in reading patches": at_once,
            "found by the hash": by_hash,
            "voxels unharmed": harmless,
        },
    )
