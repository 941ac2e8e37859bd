"""Identifiers: safe, unique, short and always the same."""

from __future__ import annotations

import re

import pytest

from nnunet_genesis.scans.naming import LONGEST_IDENTIFIER, Place, name_scans

HOSTILE = [
    ("..", "x"), ("a", "..", "b"), (".hidden",), ("line\nbreak",), ("Müller", "Größe"), ("患者",), ("x" * 255,),
    ("x" * 254 + "y",), ("deep",) * 60, ("case_seg",), ("CASE_SEG",), ("x_seg" + "y" * 300 + "_seg",), ("con",),
    ("NUL.x",), ("a b",), ("a;b",), ("a\tb",), ("\udcff",), ("",), (".",), ("end.",), ("-rf",), ("a:b",), ("%s{}",),
]  # fmt: skip


def name(*parts: str) -> str:
    return name_scans([Place(parts, "/".join(parts))])[0]


@pytest.mark.parametrize("parts", HOSTILE)
def test_names_are_safe(parts: tuple[str, ...]) -> None:
    identifier = name(*parts)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", identifier)
    assert len(identifier) <= LONGEST_IDENTIFIER
    assert not identifier.lower().endswith("_seg")
    assert not identifier.endswith(".")
    assert identifier.split(".")[0].lower() not in {"con", "nul"}


def test_different_places_have_different_names() -> None:
    names = name_scans([Place(parts, repr(parts)) for parts in HOSTILE])
    assert len({identifier.lower() for identifier in names}) == len(HOSTILE)


def test_plain_names_stay_as_they_are() -> None:
    assert name("patient_1", "T1") == "patient_1__T1"
    assert name("a.b-c_0") == "a.b-c_0"
    assert name("case_seg") == "case_seg-"
    assert re.fullmatch(r"a-b-[0-9a-f]{8}", name("a b"))
    assert name("a b") != name("a;b")


def test_same_paths_below_two_inputs_are_told_apart_in_any_order() -> None:
    places = [Place(("x",), "/a/x"), Place(("y",), "/a/y"), Place(("X",), "/b/X"), Place(("p", "q"), "/a/p/q")]
    places.append(Place(("p__q",), "/a/p__q"))
    names = name_scans(places)
    assert names[1] == "y"
    assert len({identifier.lower() for identifier in names}) == 5
    assert name_scans(places[::-1])[::-1] == names
