"""What nnU-Net's own trainer saves is read, with its own logger's values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_genesis.interop import open_source
from nnunet_genesis.interop.safe_reading import read_safely
from tests.interop.files import nnunet_v2_content, without_aliases
from tests.transfer.networks import build

if TYPE_CHECKING:
    from pathlib import Path


def test_checkpoint_of_nnunets_trainer(tmp_path: Path) -> None:
    from nnunetv2.training.logging import nnunet_logger
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    # The logger was renamed between 2.6 and 2.8.
    logger = getattr(nnunet_logger, "LocalLogger", None) or nnunet_logger.nnUNetLogger
    network = build()
    trainer = SimpleNamespace(
        local_rank=0,
        disable_checkpointing=False,
        is_ddp=False,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True),
        grad_scaler=None,
        logger=logger(),
        _best_ema=np.float64(0.5),
        current_epoch=0,
        my_init_kwargs=nnunet_v2_content()["init_args"],
        inference_allowed_mirroring_axes=(0, 1, 2),
    )
    network(torch.rand(1, 1, 8, 8, 8)).mean().backward()
    trainer.optimizer.step()
    trainer.logger.log("mean_fg_dice", np.nanmean([0.25, 0.5], dtype=np.float32), 0)
    trainer.logger.log("train_losses", np.mean([np.float32(0.5)]), 0)
    file = tmp_path / "checkpoint_best.pth"
    nnUNetTrainer.save_checkpoint(trainer, str(file))
    assert b"multiarray" in file.read_bytes()

    source = open_source(file)
    assert source.kind == "nnU-Net v2 model"
    assert source.facts["epochs"] == 1
    weights = without_aliases(network.state_dict())
    assert source.weights.keys() == weights.keys()
    assert all(torch.equal(source.weights[name], weights[name]) for name in weights)
    assert read_safely(file)["logging"]["mean_fg_dice"] == [0.375]
