"""Readers of weights that others wrote, and of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.interop.source import SourceModel

__all__ = ["open_source"]


def open_source(file: Path) -> SourceModel:
    """Read weights from a file, whoever wrote it; the format is recognised by what the file holds, not by its name.

    Nothing in the file is run, and no more memory is taken than the file has bytes for its tensors. Known are: our
    pretraining checkpoints and exported encoders (safetensors), models of nnU-Net v2 and v1, pretraining of nnssl
    (OpenMind), and state dicts with nnU-Net's names, bare or under ``network_weights``, ``state_dict`` or
    ``model_state_dict``.

    Raises:
        CheckpointError: If the file is missing, damaged or unsafe, if its weights are not finite, or if they belong to
            no network of nnU-Net.
    """
    from nnunet_genesis import encoder_file
    from nnunet_genesis.interop import genesis, models_genesis, nnssl, nnunet_v1, nnunet_v2
    from nnunet_genesis.interop.names import check_finite, find_state_dict
    from nnunet_genesis.interop.safe_reading import read_safely
    from nnunet_genesis.interop.state_dict import convert

    if file.is_file() and encoder_file.is_encoder_file(file):
        return encoder_file.read(file)
    content = read_safely(file)
    if genesis.is_genesis(content):
        return genesis.convert(content, file)
    if nnssl.is_nnssl(content):
        return nnssl.convert(content, file)
    if nnunet_v2.is_nnunet_v2(content):
        return nnunet_v2.convert(content, file)
    weights = find_state_dict(content, file)
    if nnunet_v1.is_nnunet_v1(content):
        check_finite(weights, file)
        return nnunet_v1.convert(content, file)
    if models_genesis.is_models_genesis(weights):
        raise models_genesis.refusal(file)
    return convert(weights, file)
