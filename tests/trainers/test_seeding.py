"""A batch follows from seed, process and number alone, with any number of nnU-Net's workers, and from any epoch on."""

from __future__ import annotations

import pickle
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnunet_genesis.errors import SetupError
from nnunet_genesis.trainers.seeding import NumberedBatches, Stream, number_batches, read_seed, seed_generators

TRAINING = Stream.TRAINING_BATCHES


class Drawing:
    """Draws like nnU-Net's loader: from the global generators of numpy, torch and Python."""

    def __init__(self) -> None:
        blur = SimpleNamespace(benchmark=True)
        self.transforms = SimpleNamespace(transforms=[SimpleNamespace(transform=blur)])
        self.blur = blur

    def set_thread_id(self, thread_id: int) -> None:
        self.thread_id = thread_id

    def __next__(self) -> dict[str, Any]:
        return {"data": torch.rand(3), "case": np.random.choice(1000, 2), "more": random.random()}  # noqa: NPY002


def take(batches: Any, count: int) -> list[bytes]:
    taken = [next(batches) for _ in range(count)]
    if not isinstance(batches, SingleThreadedAugmenter):
        batches._finish()
    return [pickle.dumps((batch["data"].tolist(), batch["case"].tolist(), batch["more"])) for batch in taken]


def single(*, seed: int = 1, rank: int = 0, first: int = 0, stream: Stream = TRAINING) -> Any:
    loader = SingleThreadedAugmenter(Drawing(), None)
    return number_batches(loader, seed=seed, stream=stream, rank=rank, first=first)


def with_workers(workers: int, *, first: int = 0) -> Any:
    loader = NonDetMultiThreadedAugmenter(Drawing(), None, workers, num_cached=6, wait_time=0.002)
    next(loader)  # as nnU-Net does before it hands the loader out
    return number_batches(loader, seed=1, stream=TRAINING, rank=0, first=first)


def test_the_same_numbers_give_the_same_batches() -> None:
    assert take(single(), 6) == take(single(), 6)
    assert len(set(take(single(), 6))) == 6


def test_a_run_continued_at_any_batch_gets_what_it_would_have_got() -> None:
    assert take(single(first=4), 2) == take(single(), 6)[4:]


# A worker that is told to end may be handing over a tensor that nobody needs any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers: int) -> None:
    assert take(with_workers(workers), 8) == take(single(), 8)
    assert take(with_workers(workers, first=5), 3) == take(single(), 8)[5:]


def test_seed_process_and_purpose_change_everything() -> None:
    told = [*take(single(), 4), *take(single(seed=2), 4), *take(single(rank=1), 4)]
    told += take(single(stream=Stream.VALIDATION_BATCHES), 4)
    assert len(set(told)) == 16


def test_what_was_drawn_before_changes_nothing() -> None:
    before = take(single(), 2)
    batches = single()
    torch.rand(7)
    np.random.random(5)  # noqa: NPY002
    assert take(batches, 2) == before


def test_transforms_do_not_choose_by_the_clock() -> None:
    loader = Drawing()
    number_batches(SingleThreadedAugmenter(loader, None), seed=1, stream=TRAINING, rank=0, first=0)
    assert loader.blur.benchmark is False


def test_nnunets_blur_is_found() -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    transforms = nnUNetTrainer.get_training_transforms((8, 8, 8), (-0.1, 0.1), None, (0, 1, 2), False)
    clocked = [entry for entry in transforms.transforms if getattr(getattr(entry, "transform", 0), "benchmark", False)]
    assert clocked, "nnU-Net no longer times its blur: _take_no_times can go"
    loader = Drawing()
    loader.transforms = transforms
    number_batches(SingleThreadedAugmenter(loader, None), seed=1, stream=TRAINING, rank=0, first=0)
    assert not any(entry.transform.benchmark for entry in clocked)


def test_numbered_batches_reach_spawned_workers() -> None:
    batches = pickle.loads(pickle.dumps(NumberedBatches(Drawing(), (1, TRAINING, 0), first=0)))
    assert next(batches)["more"] == next(single())["more"]


def test_unknown_loaders_are_refused() -> None:
    with pytest.raises(SetupError, match="loads batches by list_iterator"):
        number_batches(iter([]), seed=1, stream=TRAINING, rank=0, first=0)


def test_weights_follow_from_the_seed() -> None:
    drawn = []
    for seed in (3, 3, 4):
        seed_generators(seed, Stream.INITIAL_WEIGHTS)
        drawn.append(torch.nn.Linear(4, 4).weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("text", "seed"), [(None, None), ("", None), ("0", 0), ("1234567890123", 1234567890123)])
def test_seeds_are_read(monkeypatch: pytest.MonkeyPatch, text: str | None, seed: int | None) -> None:
    monkeypatch.delenv("nnUNet_genesis_seed", raising=False)
    if text is not None:
        monkeypatch.setenv("nnUNet_genesis_seed", text)
    assert read_seed() == seed


@pytest.mark.parametrize("text", ["-1", "1.5", "one", "²"])
def test_other_texts_are_no_seeds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("nnUNet_genesis_seed", text)
    with pytest.raises(SetupError, match="a seed is a whole number"):
        read_seed()
