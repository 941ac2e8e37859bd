"""What TensorBoard would show."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def recorded_epochs(folder: Path) -> list[int]:
    """Steps at which there is a validation loss."""
    events = import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars("val_loss")]
