"""Lower precision on a CPU: the network runs in it, the loss does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_genesis.errors import SetupError
from nnunet_genesis.trainers.cpu_autocast import (
    CPU_AUTOCAST_VARIABLE,
    LossInSinglePrecision,
    autocast_cpu,
    read_cpu_autocast,
)

CPU = torch.device("cpu")


def nnunets_loss() -> Any:
    settings = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DeepSupervisionWrapper(DC_and_CE_loss(settings, {}, dice_class=MemoryEfficientSoftDiceLoss), [2 / 3, 1 / 3])


def test_the_loss_of_outputs_in_bfloat16_is_computed_in_single_precision() -> None:
    torch.manual_seed(0)
    network, data = nn.Conv3d(1, 3, 3, padding=1), torch.randn(2, 1, 16, 16, 16)
    targets = [torch.randint(0, 3, (2, 1, 16, 16, 16)).float() for _ in range(2)]
    loss = LossInSinglePrecision(nnunets_loss())
    with autocast_cpu(torch.bfloat16):
        output = network(data)
        value = loss([output, 2 * output], targets)
    assert output.dtype is torch.bfloat16
    assert value.dtype is torch.float32
    single = [output.float(), (2 * output).float()]
    assert torch.equal(value, nnunets_loss()(single, targets))
    value.backward()
    assert network.weight.grad is not None
    assert network.weight.grad.dtype is torch.float32
    with autocast_cpu(torch.bfloat16):
        assert torch.equal(
            LossInSinglePrecision(nn.MSELoss())(output[:, :1], data), nn.MSELoss()(output[:, :1].float(), data)
        )


def test_nothing_changes_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CPU_AUTOCAST_VARIABLE, raising=False)
    assert read_cpu_autocast(CPU) is None
    with autocast_cpu(None):
        assert nn.Conv3d(1, 1, 1)(torch.zeros(1, 1, 2, 2, 2)).dtype is torch.float32


def test_the_variable_is_about_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_AUTOCAST_VARIABLE, "bfloat16")
    assert read_cpu_autocast(CPU) is torch.bfloat16
    assert read_cpu_autocast(torch.device("cuda")) is None
    monkeypatch.setenv(CPU_AUTOCAST_VARIABLE, "int8")
    with pytest.raises(SetupError, match="is 'int8': known is bfloat16"):
        read_cpu_autocast(CPU)


def test_a_continued_run_keeps_the_precision_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CPU_AUTOCAST_VARIABLE, raising=False)
    assert read_cpu_autocast(CPU, "bfloat16") is torch.bfloat16
    assert read_cpu_autocast(torch.device("cuda"), "bfloat16") is None
    with pytest.raises(SetupError, match=r"this run began in the precision 'int8'(.|\n)*fold_0/genesis_init\.json"):
        read_cpu_autocast(CPU, "int8", Path("fold_0", "genesis_init.json"))
    monkeypatch.setenv(CPU_AUTOCAST_VARIABLE, "bfloat16")
    assert read_cpu_autocast(CPU, None) is torch.bfloat16
