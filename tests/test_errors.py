"""Errors say what is wrong, where, and what mends it, also from another process."""

from __future__ import annotations

import pickle
from pathlib import Path

from nnunet_genesis.errors import CheckpointError, GenesisError


def test_message_holds_the_three_parts() -> None:
    text = str(GenesisError("3 channels, expected 4", where=Path("/data/case.b2nd"), mend="preprocess again"))
    assert text.splitlines() == ["3 channels, expected 4", "  where: /data/case.b2nd", "  to mend it: preprocess again"]


def test_error_survives_pickling_with_its_kind_and_parts() -> None:
    copy = pickle.loads(pickle.dumps(CheckpointError("damaged", where="file", mend="copy it again")))
    assert isinstance(copy, CheckpointError)
    assert (copy.problem, copy.where, copy.mend) == ("damaged", "file", "copy it again")
