"""The same pretrained encoder with convolutions as large as fresh ones, for an ablation.

    python -m benchmarks.rescale_encoder CHECKPOINT NEW_FILE

Pretraining with AdamW lets convolutions grow. Before a norm layer the size of a convolution changes no output, but a
large one learns slowly. Here every convolution of the encoder, with its bias, gets the norm of nnU-Net's initialisation
(He et al., ICCV 2015, slope 0.01). Outputs stay what they were, but for the epsilon of the norm layers.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.transfer.names import is_alias
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    import torch

SLOPE = 0.01


def rescale(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights with other sizes, and the factor of every convolution of the encoder; aliases are treated alike."""
    scaled, factors = dict(weights), {}
    for name, tensor in weights.items():
        if "encoder." in name and name.endswith(".weight") and tensor.ndim > 2:
            deviation = math.sqrt(2 / (1 + SLOPE**2) / tensor[0].numel())
            factors[name] = deviation * math.sqrt(tensor.numel()) / tensor.norm().item()
            bias = name.removesuffix("weight") + "bias"
            scaled[name] = tensor * factors[name]
            if bias in weights:
                scaled[bias] = weights[bias] * factors[name]
    return scaled, factors


def main() -> None:
    """Write the file, and say by how much sizes changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("new_file", type=Path)
    options = parser.parse_args()
    if options.new_file.exists():
        raise SetupError("the file is there already", where=options.new_file, mend="name another one")
    content = checkpoint.read(options.checkpoint)
    content["network_weights"], factors = rescale(content["network_weights"])
    content["genesis"]["rescaled_from"] = checkpoint.sha256_of_file(options.checkpoint)
    content["genesis"][checkpoint.CHECKSUM_KEY] = weights_digest(content["network_weights"])
    options.new_file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(options.new_file, content)
    for name, factor in factors.items():
        if not is_alias(name):
            sys.stdout.write(f"{name}: {factor:.3f}\n")


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
