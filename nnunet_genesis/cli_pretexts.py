"""The flags that choose a pretext and its settings; shared by pretraining and its preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_genesis.config import PRETEXTS, PretrainingConfig
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

DEFAULT_PRETEXT = "models-genesis"


@dataclass(frozen=True)
class PretextFlag:
    """A flag that sets one setting.

    Attributes:
        flag: As it is typed.
        setting: Where its value goes: names of nested fields of `PretrainingConfig`, joined by dots.
        pretexts: Those that have the setting.
        type: Of the value.
        metavar: What stands for the value in the help.
        help: What it does.
    """

    flag: str
    setting: str
    pretexts: tuple[str, ...]
    type: type
    metavar: str
    help: str

    @property
    def destination(self) -> str:
        """Its name among the parsed options."""
        return f"pretext_{self.flag.lstrip('-').replace('-', '_')}"


PRETEXT_FLAGS = (
    PretextFlag(
        "--shuffling-window",
        "models_genesis.shuffling_max_window_voxels",
        ("models-genesis",),
        int,
        "VOXELS",
        "longest side of a shuffling window in voxels (default: 6; never more than a tenth of the axis)",
    ),
    PretextFlag(
        "--classes",
        "semantic_genesis.discovery.num_classes",
        ("semantic-genesis",),
        int,
        "N",
        "anatomical places to tell apart at most (default: 44; at most half the number of scans)",
    ),
    PretextFlag(
        "--features",
        "semantic_genesis.discovery.features",
        ("semantic-genesis",),
        str,
        "FILE",
        "a pretrained encoder whose features tell which scans are alike, a file or hf:// address (default: an"
        " auto-encoder is trained on the scans)",
    ),
    PretextFlag(
        "--classification-weight",
        "semantic_genesis.classification_weight",
        ("semantic-genesis",),
        float,
        "W",
        "weight of the cross-entropy beside the error of restoration in [0, 1] (default: 0.01)",
    ),
    PretextFlag(
        "--classification-first",
        "semantic_genesis.classification_first",
        ("semantic-genesis",),
        float,
        "SHARE",
        "share of the run with classification alone, at its beginning (default: 0)",
    ),
)


def add_pretext_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command."""
    described = "; ".join(f"{name}: {meaning}" for name, meaning in PRETEXTS.items())
    parser.add_argument("--pretext", choices=tuple(PRETEXTS), help=f"{described} (default: {DEFAULT_PRETEXT})")
    group = parser.add_argument_group("settings of pretexts")
    for one in PRETEXT_FLAGS:
        group.add_argument(
            one.flag,
            dest=one.destination,
            type=one.type,
            metavar=one.metavar,
            help=f"{', '.join(one.pretexts)}: {one.help}".replace("%", "%%"),
        )


def resolve_pretext(options: argparse.Namespace, defaults: PretrainingConfig) -> dict[str, Any]:
    """Settings of the pretexts: what the flags say, else what `defaults` has.

    Args:
        options: Parsed flags.
        defaults: The defaults, or the settings of the run that is continued; its `pretext` is that of this run.

    Returns:
        Values for the fields of `PretrainingConfig` that hold settings of a pretext.

    Raises:
        SetupError: If a flag belongs to another pretext.
    """
    groups: dict[str, Any] = {}
    for one in PRETEXT_FLAGS:
        name, *path = one.setting.split(".")
        groups.setdefault(name, getattr(defaults, name))
        value = getattr(options, one.destination, None)
        if value is None:
            continue
        if defaults.pretext not in one.pretexts:
            raise SetupError(
                f"{one.flag} is no setting of --pretext {defaults.pretext}",
                mend=f"--pretext {one.pretexts[0]}, or leave {one.flag} out",
            )
        groups[name] = _replace_nested(groups[name], path, value)
    return groups


def _replace_nested(settings: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return replace(settings, **{name: _replace_nested(getattr(settings, name), rest, value) if rest else value})
