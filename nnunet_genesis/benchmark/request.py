"""What a user asks a benchmark for, and what follows from it and from what the folder holds already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.scoring import read_labels
from nnunet_genesis.benchmark.settings import (
    BFLOAT16,
    FIXED,
    BenchmarkSettings,
    digest_plans,
    refuse_other_settings,
)
from nnunet_genesis.benchmark.subsets import TestSet, check_test_set, draw_test_set, hold_out
from nnunet_genesis.benchmark.tolerances import finest_spacing, parse_tolerances
from nnunet_genesis.errors import SetupError
from nnunet_genesis.groups import groups_by_pattern, read_groups
from nnunet_genesis.plans import list_cases
from nnunet_genesis.plans_files import read_dataset_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

DEFAULT_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Request:
    """What the flags say; None and empty for those that were not given.

    Attributes:
        device: What trains.
        cpu_bf16: Whether a CPU trains in bfloat16.
        epochs: Of every training.
        iterations: Per epoch.
        groups_file: Table of cases and groups.
        group_pattern: Regular expression that finds the group in the name of a case.
        test_cases_file: List of the test cases.
        test_share: Share of the cases that is drawn as test set.
        test_fold: Fold of the user's ``splits_final.json`` whose validation cases are the test set.
        subset_seed: Decides what is drawn.
        subset_draws: Key of `SUBSET_DRAWS`.
        tolerances: Of surfaces, in mm: ``2`` for all classes or ``CLASS=2``.
    """

    device: str | None = None
    cpu_bf16: bool = False
    epochs: int | None = None
    iterations: int | None = None
    groups_file: Path | None = None
    group_pattern: str | None = None
    test_cases_file: Path | None = None
    test_share: float | None = None
    test_fold: int | None = None
    subset_seed: int | None = None
    subset_draws: str | None = None
    tolerances: Sequence[str] = ()


def resolve_settings(
    request: Request, planned: PlannedConfiguration, before: BenchmarkSettings | None, folder: Path, device: str
) -> BenchmarkSettings:
    """Settings by the flags, where they are silent by the folder, else by the defaults.

    Args:
        request: The flags.
        planned: The dataset.
        before: What the folder holds, or None.
        folder: Of the benchmark, for messages.
        device: Where nothing else is said.

    Raises:
        SetupError: If flags make no sense, or are not those that the benchmark was begun with.
    """
    _check_request(request)
    cases = list_cases(planned.cases_folder) if before is None else list(before.groups)
    gone = sorted(set(cases) - set(list_cases(planned.cases_folder)))
    if gone:
        raise SetupError(
            f"{len(gone)} case(s) that this benchmark was begun with are gone, the first is {gone[0]}",
            where=planned.cases_folder,
            mend="preprocess them again, or begin another benchmark with --name",
        )
    groups = _resolve_groups(request, cases, before)
    seed = request.subset_seed if request.subset_seed is not None else before.subset_seed if before else 0
    test_set = _resolve_test_set(request, planned, groups, seed, before)
    check_test_set(groups, test_set)
    _require_references(planned, test_set.cases)
    labels = read_labels(read_dataset_json(planned.dataset_folder / "dataset.json"))
    default = finest_spacing(planned)
    tolerances = before.tolerances_mm if before else dict.fromkeys(labels, default)
    settings = BenchmarkSettings(
        dataset=planned.dataset_name,
        plans=planned.plans_name,
        configuration=planned.configuration,
        plans_sha256=digest_plans(planned, before.plans_sha256 if before else None),
        device=request.device or (before.device if before else device),
        cpu_autocast=BFLOAT16 if request.cpu_bf16 else before.cpu_autocast if before else None,
        epochs=request.epochs or (before.epochs if before else None),
        iterations=request.iterations or (before.iterations if before else None),
        subset_seed=seed,
        subset_draws=request.subset_draws or (before.subset_draws if before else FIXED),
        test_cases=test_set.cases,
        left_out=test_set.left_out,
        groups=groups,
        tolerances_mm=parse_tolerances(request.tolerances, tolerances),
    )
    if settings.cpu_autocast and settings.device != "cpu":
        raise SetupError(
            f"--cpu-bf16 with -device {settings.device}: it is about training on a CPU",
            mend="leave it out: nnU-Net's own mixed precision is used on a GPU",
        )
    if before is not None:
        refuse_other_settings(before, settings, folder)
    return settings


def _check_request(request: Request) -> None:
    for flag, value in (("--epochs", request.epochs), ("--iterations", request.iterations)):
        if value is not None and value < 1:
            raise SetupError(f"{flag} {value}: must be at least 1", mend=f"{flag} 100")
    if request.subset_seed is not None and request.subset_seed < 0:
        raise SetupError(f"--subset-seed {request.subset_seed}: must not be negative", mend="--subset-seed 0")


def _resolve_groups(request: Request, cases: Sequence[str], before: BenchmarkSettings | None) -> dict[str, str]:
    if request.groups_file is not None:
        return read_groups(request.groups_file, cases)
    if request.group_pattern is not None:
        return groups_by_pattern(request.group_pattern, cases)
    return {case: case for case in cases} if before is None else dict(before.groups)


def _resolve_test_set(
    request: Request,
    planned: PlannedConfiguration,
    groups: Mapping[str, str],
    seed: int,
    before: BenchmarkSettings | None,
) -> TestSet:
    if request.test_cases_file is not None:
        return hold_out(groups, _read_cases(request.test_cases_file, groups))
    if request.test_fold is not None:
        chosen = planned.validation_cases(request.test_fold, flag="--test-fold")
        return hold_out(groups, _check_cases(chosen, groups, planned.dataset_folder / "splits_final.json"))
    if before is not None and request.test_share is None and seed == before.subset_seed:
        return TestSet(before.test_cases, before.left_out)
    share = DEFAULT_TEST_SHARE if request.test_share is None else request.test_share
    return draw_test_set(groups, share, seed)


def _read_cases(file: Path, groups: Mapping[str, str]) -> list[str]:
    from nnunet_genesis.pretraining.unlabeled.exclusion import read_list

    return _check_cases(list(read_list(file, "--test-cases")), groups, file)


def _check_cases(cases: list[str], groups: Mapping[str, str], where: Path) -> list[str]:
    unknown = [case for case in cases if case not in groups]
    if unknown:
        raise SetupError(
            f"{len(unknown)} test case(s) are not preprocessed, the first is {unknown[0]}; cases are named like"
            f" {min(groups)}",
            where=where,
            mend="a preprocessed case of the dataset per line",
        )
    return cases


def _require_references(planned: PlannedConfiguration, cases: Sequence[str]) -> None:
    """nnU-Net compares with the references in the preprocessed folder, after hours of training."""
    folder = planned.dataset_folder / "gt_segmentations"
    ending = str(read_dataset_json(planned.dataset_folder / "dataset.json")["file_ending"])
    missing = [case for case in cases if not (folder / f"{case}{ending}").is_file()]
    if missing:
        raise SetupError(
            f"{len(missing)} test case(s) have no reference segmentation, the first is {missing[0]}",
            where=folder,
            mend=f"nnUNetv2_preprocess -d {int(planned.dataset_name[7:10])} -plans_name {planned.plans_name} -c"
            f" {planned.configuration}",
        )


def refuse_cascade(planned: PlannedConfiguration) -> None:
    """A second stage of a cascade depends on a first stage, which every run would have to train before.

    Raises:
        SetupError: If the configuration is one.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    previous = PlansManager(dict(planned.plans)).get_configuration(planned.configuration).previous_stage_name
    if previous is not None:
        raise SetupError(
            f"-c {planned.configuration} is trained on the predictions of {previous}, which a benchmark does not make",
            mend=f"-c {previous}, or another configuration that is trained alone",
        )
