"""What files of weights say of themselves is refused, or left out, where it is something else than it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.facts_checks import check_facts, shown, usable_facts
from nnunet_genesis.inspection import describe_source
from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = {"name": "labelled", "kind": "labelled cases", "num_cases": 4, "chance": 1.0, "own": True}
DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channel_names", 5),
        ("channel_names", "CT"),
        ("package_versions", [{"torch": "2.0"}]),
        ("dataset", "\ud800"),
        ("epochs", 10**30),
        ("num_cases", -1),
        ("num_cases", True),
        ("patch_size", [8, float("inf")]),
        ("spacing", [1.0, None]),
        ("cases", ["case_000"]),
        ("cases", {"case_000": 5}),
        ("cases", {1: "0"}),
        ("architecture", {"arch_kwargs": []}),
        ("pretext_settings", {"a": DEEP}),
        ("config", {"seed": 10**30}),
        ("history", [{"val_loss": 1.0}]),
        ("history", [{"epoch": 0, "val_loss": "1"}]),
        ("history", [3]),
        ("baselines", {"identity": None}),
        ("divergence", {"skipped_steps": "3"}),
        ("divergence", {"went_back": [{"step": 3}]}),
        ("sources", {"name": "labelled"}),
        ("sources", [{**SOURCE, "chance": "often"}]),
        ("sources", [{"name": "pool", "kind": "pool", "num_cases": 4, "chance": 1.0, "num_without_key": 2}]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value.encode("unicode_escape").decode(),
)
def test_facts_that_are_none_are_refused(tmp_path: Path, name: str, value: object) -> None:
    file = tmp_path / "checkpoint_final.pth"
    told = {"format_version": checkpoint.FORMAT_VERSION, "pretext": "masked", name: value}
    checkpoint.write(file, {"network_weights": {}, "genesis": told})
    with pytest.raises(CheckpointError, match=f"of itself cannot be used: {name} ") as raised:
        checkpoint.read(file)
    assert raised.value.where == file
    assert "copy or download the file again" in str(raised.value.mend)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"architecture": None, "channel_names": (), "spacing": (1, 0.5), "unknown entry": object()},
        {"sources": [SOURCE], "history": [{"epoch": 0, "val_loss": float("nan")}, {"epoch": 1}]},
        {"baselines": {"identity": 1.0, "sources": {"mr": {"identity": 1.0}}}, "divergence": {"went_back": []}},
        {"architecture": {"arch_kwargs": {"features_per_stage": 32, "dropout_op": None}}},
    ],
)
def test_facts_of_any_version_are_taken(facts: Mapping[str, Any]) -> None:
    check_facts(facts, Path("file"))


def test_odd_facts_of_others_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    facts = usable_facts({"epochs": 3, "dataset": None, "spacing": 1.0, "patch_size": [8, 8]}, Path("model.pth"))
    assert facts == {"epochs": 3, "patch_size": [8, 8]}
    assert caplog.messages == ["model.pth: what it says of its spacing is left out, as it is none: 1.0"]


def test_what_python_cannot_show_is_told() -> None:
    nested = DEEP
    for _ in range(100_000):
        nested = [nested]
    assert shown(nested) == "(list, too long or too deep to show)"
    assert shown([10**5000]) == "(list, too long or too deep to show)"
    with pytest.raises(CheckpointError, match=r"pretext_settings .*too deep"):
        check_facts({"pretext_settings": {"a": nested}}, Path("file"))


def test_an_incomplete_architecture_is_told() -> None:
    lines = describe_source(SourceModel("kind", Path("file"), {}, {"network_class_name": "a.PlainConvUNet"}))
    assert lines[-1] == "architecture: the file's description of it is incomplete"


def test_a_terminal_is_told_nothing_but_text() -> None:
    lines = describe_source(SourceModel("kind", Path("file"), {}, None, {"dataset": "\x1b[31m", "notes": ["\ud800"]}))
    assert lines[-2:] == ["dataset: \\x1b[31m", "notes: \\ud800"]
