"""nnU-Net's inside is as we need it, and an nnU-Net that changed it is named."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from nnunet_genesis import upstream
from nnunet_genesis.errors import SetupError
from nnunet_genesis.upstream import INTERNALS, Internal, check_upstream


@pytest.mark.parametrize("part", sorted(INTERNALS))
def test_installed_nnunet_has_all_that_is_used(part: str) -> None:
    check_upstream.__wrapped__(part)


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("generate_crossval_folds", (), "generate_crossval_folds (used for folds) is gone"),
        ("generate_crossval_split", ("train_identifiers", "shuffle"), "(used for folds) has no parameter shuffle"),
    ],
)
def test_what_changed_is_named_with_the_version(
    monkeypatch: pytest.MonkeyPatch, name: str, parameters: tuple[str, ...], told: str
) -> None:
    internal = Internal("nnunetv2.utilities.crossval_split", name, parameters, "folds")
    monkeypatch.setitem(upstream.INTERNALS, "plans", (internal,))
    with pytest.raises(SetupError) as raised:
        check_upstream.__wrapped__("plans")
    assert told in str(raised.value)
    assert f"nnunetv2 {version('nnunetv2')} is not as" in str(raised.value)
    assert "pip install 'nnunetv2>=2.6.4" in str(raised.value)
