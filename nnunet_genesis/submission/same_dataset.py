"""What a model's outputs mean is what its own dataset.json says: it must be what the raw dataset's says, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import read_json_object
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.submission.labels import IGNORE
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
    for model in (stage for top in models for stage in top.stages()):
        differing = find_differences(model, images)
        if differing:
            raw = images.folder.parent / "dataset.json"
            raise SetupError(
                "the model was not trained with the dataset.json that the raw dataset has now:\n"
                + "\n".join(f"    {line}" for line in differing),
                where=model.folder,
                mend=f"make {raw} what it was in training ({model.folder / 'dataset.json'}), or name another model:"
                " --model FOLDER",
            )


def find_differences(model: TrainedModel, images: TestImages) -> list[str]:
    """Tell what a model's dataset.json says otherwise than the raw dataset's.

    Raises:
        SetupError: If the model's cannot be read.
    """
    file = model.folder / "dataset.json"
    try:
        own = _meaning(read_json_object(file, MEND_MODEL))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SetupError(
            f"no dataset.json of nnU-Net v2 ({type(error).__name__}: {error})", where=file, mend=MEND_MODEL
        ) from error
    wanted = _meaning(images.dataset_json)
    return [
        f"{name}: the model {own[name]}, the raw dataset {wanted[name]}" for name in wanted if own[name] != wanted[name]
    ]


def _meaning(dataset_json: Mapping[str, Any]) -> dict[str, Any]:
    labels = {str(name).lower(): value for name, value in dataset_json["labels"].items()}
    return {
        "labels": {name: value for name, value in labels.items() if name != IGNORE},  # it is never predicted
        "regions_class_order": dataset_json.get("regions_class_order"),
        "number of channels": len(read_channel_names(dataset_json)),
        "file_ending": dataset_json["file_ending"],
    }
