"""Plans of a dataset that exists nowhere, for tests of what is computed from plans alone."""

from __future__ import annotations

from pathlib import Path

from nnunet_genesis.plans import PlannedConfiguration

CT_STATISTICS = {"mean": 100.0, "std": 40.0, "percentile_00_5": -60.0, "percentile_99_5": 220.0}
OTHER_STATISTICS = {"mean": 5.0, "std": 2.0, "percentile_00_5": 1.0, "percentile_99_5": 9.0}


def planned(*channels: tuple[str, str, bool]) -> PlannedConfiguration:
    """Plans with one (name, normalisation, masked) per channel."""
    names, schemes, masked = zip(*channels, strict=True)
    return PlannedConfiguration(
        dataset_name="Dataset999_Test",
        plans_name="nnUNetPlans",
        configuration="3d_fullres",
        dataset_folder=Path("preprocessed"),
        cases_folder=Path("preprocessed/cases"),
        results_folder=Path("results"),
        patch_size=(8, 8, 8),
        batch_size=2,
        spacing=(1.0, 1.0, 1.0),
        channel_names=names,
        normalization_schemes=schemes,
        masked_normalization=masked,
        foreground_intensities=tuple(
            CT_STATISTICS if scheme == "CTNormalization" else OTHER_STATISTICS for scheme in schemes
        ),
        architecture={},
        data_identifier="cases",
        preprocessing={},
        plans={},
    )


MR = ("T1", "ZScoreNormalization", False)
MASKED_MR = ("T2", "ZScoreNormalization", True)
CT = ("CT", "CTNormalization", False)
