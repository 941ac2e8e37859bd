"""Which trained models a submission is made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import read_json, read_json_object
from nnunet_genesis.nnunet_folders import FINAL_CHECKPOINT, folder_from_environment
from nnunet_genesis.plans_checks import is_plain_name

MEND_MODEL = "put it back: nnUNetv2_train writes it when it begins"
FIVE_FOLDS = ("0", "1", "2", "3", "4")
RECOMMENDATION = "inference_information.json"
"""What ``nnUNetv2_find_best_configuration`` leaves in the dataset's results folder."""


@dataclass(frozen=True)
class Choice:
    """What the user says of the models; None where they say nothing.

    Attributes:
        models: Model folders, or their names inside ``nnUNet_results/DATASET``; several make an ensemble.
        trainer: Name of the trainer class.
        plans: Plans identifier.
        configuration: Configuration.
        folds: Folds, or "all".
        checkpoint_name: File in the folds' folders.
    """

    models: tuple[str, ...] = ()
    trainer: str | None = None
    plans: str | None = None
    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    checkpoint_name: str = FINAL_CHECKPOINT

    @property
    def says_something(self) -> bool:
        """Whether the user named a model in any way."""
        return bool(self.models or self.trainer or self.plans or self.configuration)


@dataclass(frozen=True)
class TrainedModel:
    """One model folder of nnU-Net's, and what of it is used.

    Attributes:
        folder: ``TRAINER__PLANS__CONFIGURATION``.
        folds: Folds whose predictions are averaged.
        checkpoint_name: File in each fold's folder.
        previous: In a cascade, the model whose segmentation this one refines.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint_name: str
    previous: TrainedModel | None = None

    @property
    def checkpoints(self) -> list[Path]:
        """One file per fold."""
        return [self.folder / f"fold_{fold}" / self.checkpoint_name for fold in self.folds]

    @property
    def name(self) -> str:
        """Trainer, plans and configuration."""
        return self.folder.name

    def stages(self) -> list[TrainedModel]:
        """The models of a cascade in the order in which they predict; otherwise this one alone."""
        return [*(self.previous.stages() if self.previous else []), self]


def choose_models(dataset_name: str, choice: Choice) -> tuple[TrainedModel, ...]:
    """Find the models: those that are named, else those that nnU-Net found best, else the only one that there is.

    Raises:
        SetupError: If there is none, if it is not clear which is meant, or if folds are not trained to the end; it
            lists what there is.
    """
    results = folder_from_environment("nnUNet_results") / dataset_name
    if choice.models:
        if choice.trainer or choice.plans or choice.configuration:
            raise SetupError("--model and -tr, -p, -c both name models", mend="use one of them")
        folders = [Path(name) if Path(name).is_dir() else results / name for name in choice.models]
        if len(set(folders)) < len(folders):
            raise SetupError(f"--model names a model twice: {' '.join(choice.models)}", mend="name each once")
        return tuple(_open_model(folder, choice.folds, choice.checkpoint_name) for folder in folders)
    recommended = _read_recommendation(results)
    if recommended is not None and not choice.says_something:
        return tuple(
            _open_model(results / name, choice.folds or recommended[1], choice.checkpoint_name)
            for name in recommended[0]
        )
    found = [folder for folder in _list_models(results) if _fits(folder, choice)]
    if len(found) == 1:
        return (_open_model(found[0], choice.folds, choice.checkpoint_name),)
    there = "\n".join(f"    {folder.name}" for folder in _list_models(results)) or "    (none)"
    raise SetupError(
        f"{'no trained model fits' if not found else 'several trained models fit, which is meant is for you to say'};"
        f" models of {dataset_name}:\n{there}",
        where=results,
        mend="-tr TRAINER -p PLANS -c CONFIGURATION, or --model NAME (several for an ensemble)"
        + ("; or let nnU-Net choose: nnUNetv2_find_best_configuration" if found else ""),
    )


def _list_models(results: Path) -> list[Path]:
    return sorted({file.parents[1] for file in results.glob("*__*__*/fold_*/checkpoint_*.pth")})


def _fits(folder: Path, choice: Choice) -> bool:
    wanted = (choice.trainer, choice.plans, choice.configuration)
    return all(want in (None, part) for want, part in zip(wanted, folder.name.split("__"), strict=False))


def _read_recommendation(results: Path) -> tuple[list[str], tuple[str, ...]] | None:
    """Names of the models that nnU-Net found best, and their folds."""
    file = results / RECOMMENDATION
    if not file.is_file():
        return None
    try:
        told = read_json(file)
        models = told["best_model_or_ensemble"]["selected_model_or_models"]
        names = [f"{model['trainer']}__{model['plans_identifier']}__{model['configuration']}" for model in models]
        folds = tuple(str(fold) for fold in told["folds"])
        if not all(map(is_plain_name, (*names, *folds))):
            raise ValueError(f"names of models and folds: {str([*names, *folds])[:200]}")
        return names, folds
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"not as nnU-Net writes it ({type(error).__name__}: {error})",
            where=file,
            mend="run nnUNetv2_find_best_configuration again, or name the model: -tr TRAINER -p PLANS -c CONFIGURATION",
        ) from error


def _open_model(folder: Path, folds: tuple[str, ...] | None, checkpoint_name: str) -> TrainedModel:
    if len(folder.name.split("__")) != 3 or not folder.is_dir():
        there = ", ".join(model.name for model in _list_models(folder.parent)) or "(none)"
        raise SetupError(
            "no model folder of nnU-Net (TRAINER__PLANS__CONFIGURATION)", where=folder, mend=f"there are: {there}"
        )
    plans = read_json_object(folder / "plans.json", MEND_MODEL)
    read_json_object(folder / "dataset.json", MEND_MODEL)
    trained = sorted(file.parent.name.removeprefix("fold_") for file in folder.glob(f"fold_*/{checkpoint_name}"))
    if folds is None:
        folds = ("all",) if trained == ["all"] else FIVE_FOLDS
    missing = [fold for fold in folds if fold not in trained]
    if missing:
        trainer, _, configuration = folder.name.split("__")
        dataset = folder.parent.name
        raise SetupError(
            f"no {checkpoint_name} of fold {', '.join(missing)}; finished: {', '.join(trained) or 'none'}",
            where=folder,
            mend=(f"-f {' '.join(trained)}, or " if trained else "")
            + f"nnUNetv2_train {dataset} {configuration} {missing[0]} -tr {trainer} -p {folder.name.split('__')[1]}",
        )
    previous = previous_stage_folder(plans, folder)
    return TrainedModel(
        folder, folds, checkpoint_name, None if previous is None else _open_model(previous, folds, checkpoint_name)
    )


def previous_stage_folder(plans: dict[str, Any], folder: Path) -> Path | None:
    """The model folder whose predictions a model of a cascade's second stage reads; None for any other.

    Raises:
        SetupError: If the plans cannot be used.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_genesis.upstream import check_upstream

    check_upstream("plans")
    trainer, identifier, configuration = folder.name.split("__")
    try:
        stage = PlansManager(plans).get_configuration(configuration).previous_stage_name
    except Exception as error:  # nnU-Net takes entries for what they should be
        raise SetupError(
            f"the plans cannot be used: {type(error).__name__}: {str(error)[:200]}",
            where=folder / "plans.json",
            mend=MEND_MODEL,
        ) from error
    if stage is not None and not is_plain_name(stage):
        raise SetupError(f"the previous stage {stage!r:.100} is no name", where=folder / "plans.json", mend=MEND_MODEL)
    return None if stage is None else folder.parent / f"{trainer}__{identifier}__{stage}"
