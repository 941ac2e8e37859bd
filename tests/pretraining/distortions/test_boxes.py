"""Pieces of a patch, and the memory that they are worked on in."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from nnunet_genesis.pretraining.distortions.boxes import CHUNK_VOXELS, chunks_of_box, scratch, whole_box
from nnunet_genesis.pretraining.distortions.mirroring import Mirroring, mirror_boxes
from nnunet_genesis.pretraining.pretexts.base import weight_inside


@pytest.mark.parametrize("size", [(128, 128, 128), (16, 320, 320), (3, 700, 700), (1, 32, 32), (640, 512), (5,)])
def test_chunks_cover_a_box_once_and_are_small(size: tuple[int, ...]) -> None:
    covered = np.zeros(size, dtype=np.int8)
    for chunk in chunks_of_box(whole_box(size)):
        part = covered[chunk]
        part += 1
        assert part.size <= CHUNK_VOXELS or part.shape[0] == 1, "as small as a plane at least"
    assert (covered == 1).all()


def test_scratch_is_kept_per_name_and_thread_and_grows() -> None:
    first = scratch("test", (10, 10), torch.float32)
    assert scratch("test", (5, 4), torch.float32).data_ptr() == first.data_ptr()
    assert scratch("other test", (5, 4), torch.float32).data_ptr() != first.data_ptr()
    larger = scratch("test", (2, CHUNK_VOXELS), torch.float32)
    assert larger.shape == (2, CHUNK_VOXELS)
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(scratch("test", (5, 4), torch.float32).data_ptr()))
    thread.start()
    thread.join()
    assert elsewhere[0] != larger.data_ptr()


def test_weight_counts_the_box_and_one_value_is_enough_without_padding() -> None:
    inside = torch.tensor([[[1, 4], [0, 6], [2, 5]], [[0, 5], [0, 6], [0, 7]]])
    weight = weight_inside(inside, (5, 6, 7), torch.device("cpu"))
    assert weight.shape == (2, 1, 5, 6, 7)
    expected = torch.zeros(5, 6, 7)
    expected[1:4, 0:6, 2:5] = 1
    assert torch.equal(weight[0, 0], expected)
    assert (weight[1] == 1).all()
    full = weight_inside(inside[1:].expand(3, -1, -1), (5, 6, 7), torch.device("cpu"))
    assert full.shape == (3, 1, 5, 6, 7)
    assert full.untyped_storage().nbytes() == 4


def test_mirrored_boxes_are_where_mirrored_voxels_are() -> None:
    inside = torch.tensor([[[1, 4], [0, 3], [2, 5]], [[0, 5], [1, 6], [0, 2]]])
    parameters = Mirroring(torch.tensor([[True, False, True], [False, True, False]]))
    device = torch.device("cpu")
    expected = weight_inside(inside, (5, 6, 7), device)
    expected = torch.stack([expected[0].flip(1, 3), expected[1].flip(2)])
    mirrored = mirror_boxes(inside, parameters, (5, 6, 7))
    assert torch.equal(weight_inside(mirrored, (5, 6, 7), device), expected)
