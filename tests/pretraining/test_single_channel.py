"""One channel per patch: which one, from what plans, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.data import CasePatches, Patch
from nnunet_genesis.pretraining.pretexts import check_pretext
from nnunet_genesis.pretraining.single_channel import (
    SingleChannelPatches,
    join_channels,
    learned_plans,
    learned_range,
    single_channel_plans,
    with_channels_drawn,
)
from tests.planned import CT, MASKED_MR, MR, planned


class FourChannels(CasePatches):
    """Patches whose voxels are the number of their channel."""

    def case_of(self, index: int) -> tuple[int, int]:
        return index % 2, 0

    def __getitem__(self, index: int) -> Patch:
        voxels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 3, 4).contiguous()
        return voxels, torch.zeros(3, 2, dtype=torch.int64), {"source": index % 2}


def test_every_channel_is_drawn_alike_and_the_label_says_which() -> None:
    patches = SingleChannelPatches(FourChannels(), seed=3)
    channels = []
    for index in range(400):
        voxels, _, labels = patches[index]
        assert voxels.shape == (1, 2, 3, 4)
        assert labels == {"source": index % 2, "channel": int(voxels[0, 0, 0, 0])}
        assert voxels.untyped_storage().nbytes() == 4 * voxels.numel(), "the other channels are left behind"
        channels.append(labels["channel"])
    assert np.bincount(channels, minlength=4).min() > 70
    assert [SingleChannelPatches(FourChannels(), seed=3)[index][2]["channel"] for index in range(400)] == channels
    assert [SingleChannelPatches(FourChannels(), seed=4)[index][2]["channel"] for index in range(400)] != channels


def test_plans_for_one_channel_preprocess_like_their_first() -> None:
    facts = {
        "channels": 2,
        "normalization_schemes": ["CTNormalization"] * 2,
        "use_mask_for_norm": [False, False],
        "ct_intensities": {"0": {"mean": 1.0}, "1": {"mean": 2.0}},
        "spacing": [1.0, 1.0, 1.0],
    }
    plans = replace(planned(CT, ("CT late", "CTNormalization", False)), preprocessing=facts)
    single = single_channel_plans(plans)
    assert (single.num_channels, single.channel_names) == (1, ("CT or CT late",))
    assert single.preprocessing == {
        "channels": 1,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "ct_intensities": {"0": {"mean": 1.0}},
        "spacing": [1.0, 1.0, 1.0],
    }
    assert plans.preprocessing == facts, "the plans of the dataset stay as they are"


def test_plans_with_one_channel_stay_what_they_are() -> None:
    plans = planned(MR)
    assert single_channel_plans(plans) is plans


@pytest.mark.parametrize("second", [CT, MASKED_MR])
def test_channels_that_are_normalised_differently_are_refused(second: tuple[str, str, bool]) -> None:
    with pytest.raises(SetupError, match=r"T1 by ZScoreNormalization, .* by "):
        single_channel_plans(planned(MR, second))


def test_a_run_without_the_flag_keeps_all_channels() -> None:
    plans, patches = planned(MR, MR), FourChannels()
    config = PretrainingConfig(pretext="models-genesis", batch_size=2)
    assert learned_plans(plans, config) is plans
    assert with_channels_drawn(patches, config) is patches


def test_one_channel_for_several_of_ct_spans_all_of_their_clip_bounds() -> None:
    late = {"mean": 150.0, "std": 40.0, "percentile_00_5": 30.0, "percentile_99_5": 280.0}
    plans = planned(CT, ("CT late", "CTNormalization", False))
    plans = replace(
        plans,
        foreground_intensities=(plans.foreground_intensities[0], late),
        preprocessing={"normalization_schemes": [CT[1]] * 2, "use_mask_for_norm": [False] * 2, "ct_intensities": {}},
    )
    config = PretrainingConfig("models-genesis", batch_size=2, single_channel=True)
    samples = [np.linspace(-2, 2, 20, dtype=np.float32).reshape(2, 10)]
    measured = learned_range(plans, config, samples)
    assert (measured.low, measured.high) == ((-4.0,), (3.25,))  # (-60 - 100) / 40 and (280 - 150) / 40
    both = learned_range(plans, replace(config, single_channel=False), samples)
    assert (both.low, both.high) == ((-4.0, -3.0), (3.0, 3.25))


def test_samples_of_any_number_of_channels_are_joined() -> None:
    samples = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 4), dtype=np.float32)]
    assert [sample.tolist() for sample in join_channels(samples)] == [[[0, 1, 2, 3, 4, 5]], [[1, 1, 1, 1]]]


def test_semantic_genesis_needs_all_channels() -> None:
    config = PretrainingConfig(pretext="semantic-genesis", batch_size=2, single_channel=True)
    with pytest.raises(SetupError, match="--single-channel: places are discovered in whole scans"):
        check_pretext(config, planned(MR))
