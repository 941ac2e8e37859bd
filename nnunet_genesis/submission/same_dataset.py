"""What a model's outputs mean is what its own dataset.json says: it must be what the raw dataset's says, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import read_json_object
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.submission.models import MEND_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.submission.images import TestImages
    from nnunet_genesis.submission.models import TrainedModel


def refuse_other_dataset(models: Sequence[TrainedModel], images: TestImages) -> None:
    """Refuse models whose labels, channels or file ending are others than those of the raw dataset.

    Raises:
        SetupError: If one differs, or its dataset.json cannot be read.
    """
    wanted = _meaning(images.dataset_json)
    for model in (stage for top in models for stage in top.stages()):
        file = model.folder / "dataset.json"
        try:
            own = _meaning(read_json_object(file, MEND_MODEL))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SetupError(
                f"no dataset.json of nnU-Net v2 ({type(error).__name__}: {error})", where=file, mend=MEND_MODEL
            ) from error
        differing = [name for name in wanted if own[name] != wanted[name]]
        if differing:
            raw = images.folder.parent / "dataset.json"
            raise SetupError(
                "the model was not trained with the dataset.json that the raw dataset has now:\n"
                + "\n".join(f"    {name}: the model {own[name]}, the raw dataset {wanted[name]}" for name in differing),
                where=model.folder,
                mend=f"make {raw} what it was in training ({file}), or name another model: --model FOLDER",
            )


def _meaning(dataset_json: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "labels": {str(name): value for name, value in dataset_json["labels"].items()},
        "regions_class_order": dataset_json.get("regions_class_order"),
        "number of channels": len(read_channel_names(dataset_json)),
        "file_ending": dataset_json["file_ending"],
    }
