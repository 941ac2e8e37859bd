"""Wilcoxon and Holm against examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnunet_genesis.benchmark.statistics.significance import holm, wilcoxon_p


def test_holm_by_hand() -> None:
    # In order: 0.005 x 4 = 0.02; 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, but not below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_does_not_count_what_was_not_tested() -> None:
    corrected = holm([0.7, np.nan, 0.02, 0.6])
    assert np.isnan(corrected[1])
    assert [corrected[0], *corrected[2:]] == pytest.approx([1.0, 0.06, 1.0])
    assert holm([]) == []


def test_wilcoxon_by_hand() -> None:
    # The negative ones have the ranks 1 and 2. Of all 2^8 choices of signs, 5 have a sum of ranks up to 3:
    # {}, {1}, {2}, {3}, {1, 2}; as many are as far off on the other side.
    differences = np.array([1.1, -0.4, 2.3, 3.0, -0.2, 1.9, 0.7, 2.8])
    assert wilcoxon_p(differences) == pytest.approx(10 / 256)
    assert stats.wilcoxon(differences, method="exact").pvalue == pytest.approx(10 / 256)


def test_wilcoxon_leaves_out_groups_without_a_difference() -> None:
    differences = np.array([0.3, 0.0, 0.1, 0.2, 0.0, -0.05])
    assert wilcoxon_p(differences) == pytest.approx(wilcoxon_p(differences[differences != 0]))
    assert wilcoxon_p(np.zeros(5)) == 1
