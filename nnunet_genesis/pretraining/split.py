"""Which cases pretraining learns from, which it is judged on, and which it must not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import list_cases
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator

if TYPE_CHECKING:
    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration


@dataclass(frozen=True)
class CaseSplit:
    """Sorted identifiers.

    Attributes:
        train: Cases that patches are drawn from.
        validation: Cases of the fixed validation pairs.
        excluded: Cases that pretraining never opens (validation cases of the excluded fold).
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    excluded: tuple[str, ...]


def split_cases(planned: PlannedConfiguration, config: PretrainingConfig) -> CaseSplit:
    """Split the preprocessed cases; the same seed and cases give the same split.

    Raises:
        SetupError: If fewer than two cases are left, one to learn from and one to be judged on.
    """
    excluded = set() if config.exclude_fold is None else set(planned.validation_cases(config.exclude_fold))
    cases = [case for case in list_cases(planned.cases_folder) if case not in excluded]
    if len(cases) < 2:
        raise SetupError(
            f"{len(cases)} case(s) to pretrain on, at least 2 are needed"
            + (f" (fold {config.exclude_fold} excludes {len(excluded)})" if excluded else ""),
            where=planned.cases_folder,
            mend=f"add images and run nnUNetv2_plan_and_preprocess -d {int(planned.dataset_name[7:10])}",
        )
    held_out = min(len(cases) - 1, max(1, round(config.val_fraction * len(cases))))
    generator = numpy_generator(config.seed, Stream.SPLIT)
    chosen = set(generator.choice(len(cases), held_out, replace=False).tolist())
    return CaseSplit(
        train=tuple(case for i, case in enumerate(cases) if i not in chosen),
        validation=tuple(case for i, case in enumerate(cases) if i in chosen),
        excluded=tuple(sorted(excluded)),
    )
