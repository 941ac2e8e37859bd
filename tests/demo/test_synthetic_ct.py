"""One synthetic scan: reproducible, plausible, and with the tumours that its split promises."""

import numpy as np
import pytest
from scipy import ndimage

from nnunet_genesis.demo.lesions import TUMOUR_CONTRAST
from nnunet_genesis.demo.synthetic_ct import LIVER, TUMOUR, SyntheticCT, make_case


@pytest.fixture(scope="module")
def cases() -> list[SyntheticCT]:
    return [make_case(0, "labelled", index) for index in range(4)]


def _millilitres(case: SyntheticCT, label: int) -> float:
    return float((case.segmentation == label).sum() * np.prod(case.spacing) / 1000)


def test_same_seed_gives_the_same_bytes_whatever_was_made_before(cases: list[SyntheticCT]) -> None:
    again = make_case(0, "labelled", 2)
    assert again.image.tobytes() == cases[2].image.tobytes()
    assert again.segmentation.tobytes() == cases[2].segmentation.tobytes()
    assert (again.spacing, again.origin) == (cases[2].spacing, cases[2].origin)


def test_other_seed_split_or_index_gives_another_patient(cases: list[SyntheticCT]) -> None:
    spacings = {cases[0].spacing, cases[1].spacing}
    spacings |= {make_case(1, "labelled", 0).spacing, make_case(0, "test", 0).spacing}
    assert len(spacings) == 4


def test_types_shapes_and_spacing(cases: list[SyntheticCT]) -> None:
    for case in cases:
        assert case.image.dtype == np.int16
        assert case.segmentation.dtype == np.uint8
        assert case.image.shape == case.segmentation.shape
        assert 40 <= case.image.shape[0] <= 48
        assert case.image.shape[1:] == (72, 72)
        assert 4 <= case.spacing[0] <= 6
        assert 4.5 <= case.spacing[1] == case.spacing[2] <= 5.2
        assert set(np.unique(case.segmentation)) == {0, LIVER, TUMOUR}
    assert len({case.spacing for case in cases}) == len(cases)


def test_tissues_have_plausible_hounsfield_units(cases: list[SyntheticCT]) -> None:
    for case in cases:
        corners = case.image[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.mean() < -950
        liver = case.image[case.segmentation == LIVER]
        assert 30 < liver.mean() < 130
        assert 10 < liver.std() < 40
        assert 0.005 < np.mean(case.image > 250) < 0.05  # bones
        assert 0.1 < np.mean((case.image > -150) & (case.image < -60)) < 0.5  # fat
        head = case.image[-4:, 20:52, 10:62]
        assert np.mean((head < -700) & (head > -950)) > 0.3  # lungs


def test_tumours_are_darker_than_the_liver_as_designed(cases: list[SyntheticCT]) -> None:
    contrasts = []
    for case in cases:
        core = ndimage.binary_erosion(case.segmentation == TUMOUR)
        around = ndimage.binary_erosion(case.segmentation == LIVER, iterations=2)
        if core.any():
            contrasts.append(float(case.image[around].mean() - case.image[core].mean()))
    assert len(contrasts) >= 3
    assert 0.6 * TUMOUR_CONTRAST[0] < np.mean(contrasts) < 1.4 * TUMOUR_CONTRAST[1]


def test_liver_and_tumours_have_plausible_sizes_and_places(cases: list[SyntheticCT]) -> None:
    for case in cases:
        whole, tumour = case.segmentation > 0, case.segmentation == TUMOUR
        assert 700 < _millilitres(case, LIVER) < 2300
        assert 0.5 < _millilitres(case, TUMOUR) < 0.5 * _millilitres(case, LIVER)
        parts, count = ndimage.label(whole)
        largest = parts == 1 + int(np.argmax(ndimage.sum(whole, parts, range(1, count + 1))))
        assert largest[whole].mean() > 0.97
        assert largest[tumour].all()
        _, _, columns = np.nonzero(whole)
        assert columns.mean() < 33  # the patient's right side comes first


def test_unlabelled_scans_may_be_free_of_tumours() -> None:
    counts = [int((make_case(0, "unlabelled", index).segmentation == TUMOUR).sum()) for index in range(2)]
    assert min(counts) == 0
    assert max(counts) > 0
