"""Compute what nnU-Net v1's own networks return, for the tests of its converter.

Run once, from the top of the repository; the tests need no v1::

    pip download nnunet==1.7.1 --no-deps --dest /tmp/v1
    tar xf /tmp/v1/nnunet-1.7.1.tar.gz -C /tmp/v1
    PYTHONPATH=/tmp/v1/nnunet-1.7.1 python -m tests.interop.make_nnunet_v1_fixtures

Weights and inputs are made from their names, so the files hold only names, shapes and some of the numbers returned.
"""

from __future__ import annotations

import importlib
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIXTURES = Path(__file__).parent / "fixtures"
STATE_DICTS = FIXTURES / "nnunet_v1_state_dicts.json"
OUTPUTS = FIXTURES / "nnunet_v1_outputs.npz"
POSITIONS = 40


class Network(NamedTuple):
    """Arguments of v1's Generic_UNet as its nnUNetTrainerV2 passes them, and the shape of an input."""

    features: int
    max_features: int
    classes: int
    kernels: Sequence[Sequence[int]]
    strides: Sequence[Sequence[int]]
    input_shape: tuple[int, ...]
    convs: int = 2
    segmentation_bias: bool = False


NETWORKS = {
    # 3d_fullres of Task003_Liver
    "task003": Network(32, 320, 3, [[3] * 3] * 6, [[2] * 3] * 5, (1, 1, 64, 32, 32)),
    # the file of Models Genesis' authors, by their script Genesis_nnUNet in the folder competition
    "luna16": Network(32, 320, 2, [[3] * 3] * 6, [*[[2] * 3] * 4, [1, 2, 2]], (1, 1, 64, 32, 32)),
    "anisotropic": Network(
        8, 24, 4, [[1, 3, 3], [1, 3, 3], [3] * 3, [3] * 3], [[1, 2, 2], [1, 2, 2], [2] * 3], (2, 2, 8, 32, 32)
    ),
    # the lowest stage has a shorter kernel than the one above it, as where an axis is down to few voxels
    "thin_bottom": Network(6, 20, 2, [[3] * 3, [3] * 3, [1, 3, 3]], [[2] * 3, [2] * 3], (1, 1, 8, 24, 16), convs=1),
    "2d": Network(8, 20, 3, [[3] * 2] * 4, [[2] * 2] * 3, (2, 3, 48, 32), convs=3, segmentation_bias=True),
}


def seeded_state_dict(shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Weights that depend on names and shapes alone, of sizes that keep numbers near 1 in a deep network."""
    return {name: torch.from_numpy(_seeded_weight(name, tuple(shape))).float() for name, shape in shapes.items()}


def seeded_input(network: str) -> torch.Tensor:
    """An input of uniform noise from -2 to 2, (batch, channels, *patch_size)."""
    return torch.from_numpy(4 * _uniform(network, NETWORKS[network].input_shape) - 2).float()


def channel_statistics(output: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of each channel over the batch and all positions, (2, channels)."""
    channels = output.transpose(0, 1).flatten(1)
    return torch.stack([channels.mean(1), channels.std(1)])


def _seeded_weight(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    numbers = _uniform(name, shape)
    if name.endswith("bias"):
        return numbers - 0.5
    if len(shape) == 1:
        return numbers + 0.5
    inputs = shape[0] if name.startswith("tu.") else int(np.prod(shape[1:]))
    return (numbers - 0.5) * float(np.sqrt(24 / inputs))


def _uniform(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(zlib.crc32(name.encode())).random(shape)


def _build(network: Network) -> torch.nn.Module:
    generic_unet = importlib.import_module("nnunet.network_architecture.generic_UNet").Generic_UNet
    dim = len(network.kernels[0])
    built: torch.nn.Module = generic_unet(
        network.input_shape[1],
        network.features,
        network.classes,
        len(network.strides),
        num_conv_per_stage=network.convs,
        conv_op=getattr(torch.nn, f"Conv{dim}d"),
        norm_op=getattr(torch.nn, f"InstanceNorm{dim}d"),
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        dropout_op=getattr(torch.nn, f"Dropout{dim}d"),
        dropout_op_kwargs={"p": 0, "inplace": True},
        nonlin_kwargs={"negative_slope": 1e-2, "inplace": True},
        deep_supervision=True,
        final_nonlin=torch.nn.Identity(),
        pool_op_kernel_sizes=network.strides,
        conv_kernel_sizes=network.kernels,
        convolutional_pooling=True,
        convolutional_upsampling=True,
        max_num_features=network.max_features,
        seg_output_use_bias=network.segmentation_bias,
    )
    return built


def make() -> None:
    """Write both files; outputs are computed in double precision."""
    shapes: dict[str, dict[str, list[int]]] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for key, network in NETWORKS.items():
        reference = _build(network)
        shapes[key] = {name: list(tensor.shape) for name, tensor in reference.state_dict().items()}
        reference.load_state_dict(seeded_state_dict(shapes[key]))
        with torch.no_grad():
            outputs = reference.double().eval()(seeded_input(key).double())
        for level, output in enumerate(outputs):
            positions = (_uniform(f"{key} {level}", (POSITIONS,)) * output.numel()).astype(np.int64)
            arrays[f"{key}/{level}/shape"] = np.array(output.shape)
            arrays[f"{key}/{level}/positions"] = positions
            arrays[f"{key}/{level}/values"] = output.flatten()[positions].numpy()
            arrays[f"{key}/{level}/statistics"] = channel_statistics(output).numpy()
    FIXTURES.mkdir(exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in shapes.items())
    STATE_DICTS.write_text(f"{{\n{lines}\n}}\n")
    save: Callable[..., None] = np.savez_compressed
    save(OUTPUTS, **arrays)


if __name__ == "__main__":
    make()
