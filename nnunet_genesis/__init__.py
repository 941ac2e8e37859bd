"""Self-supervised pretraining for nnU-Net v2.

Importing the package loads neither torch nor nnU-Net, so that command lines answer at once and the start-up line that
makes our trainers discoverable costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_genesis.encoder import load_encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "load_encoder":
        from nnunet_genesis.encoder import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
