"""What Python's own reader of JSON takes, and we do not."""

from __future__ import annotations

import os

import pytest

from nnunet_genesis.json_reading import parse_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r'["\ud800"]', r"half a character, '\\ud800'"),
        (r'{"\uDFFF": 1}', r"half a character, '\\udfff'"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_would_fail_later_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_characters_of_two_halves_and_names_that_are_no_utf8_are_kept() -> None:
    assert parse_json(r'["\ud83e\ude7b", "\udce9"]') == ["\U0001fa7b", os.fsdecode(b"\xe9")]
