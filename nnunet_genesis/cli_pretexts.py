"""The flags that choose a pretext and its settings; shared by pretraining and its preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_genesis.config import DEFAULT_PRETEXT, PRETEXTS, PretrainingConfig
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class PretextFlag:
    """A flag that sets one setting.

    Attributes:
        flag: As it is typed.
        settings: The pretexts that have the setting, and where its value goes in each: names of nested fields of
            `PretrainingConfig`, joined by dots.
        type: Of the value.
        metavar: What stands for the value in the help.
        help: What it does.
        nargs: How many values make a tuple, as argparse says it; None for a single value.
        constant: The value that the flag stands for where it takes none, else None.
        extends: Whether values add up where the flag is given several times; else the last ones count.
    """

    flag: str
    settings: Mapping[str, str]
    type: type
    metavar: str | tuple[str, ...]
    help: str
    nargs: int | str | None = None
    constant: float | bool | None = None
    extends: bool = False

    @property
    def destination(self) -> str:
        """Its name among the parsed options."""
        return f"pretext_{self.flag.lstrip('-').replace('-', '_')}"


PRETEXT_FLAGS = (
    PretextFlag(
        "--shuffling-window",
        {
            "models-genesis": "models_genesis.shuffling_max_window_voxels",
            "universal-model": "models_genesis.shuffling_max_window_voxels",
            "masked-genesis": "masked_genesis.shuffling_max_window_voxels",
        },
        int,
        "VOXELS",
        "longest side of a shuffling window in voxels (default: 6; never more than a tenth of the axis)",
    ),
    PretextFlag(
        "--classes",
        {"semantic-genesis": "semantic_genesis.discovery.num_classes"},
        int,
        "N",
        "anatomical places to tell apart at most (default: 44; at most half the number of scans)",
    ),
    PretextFlag(
        "--features",
        {"semantic-genesis": "semantic_genesis.discovery.features"},
        str,
        "FILE",
        "a pretrained encoder whose features tell which scans are alike, a file or hf:// address (default: an"
        " auto-encoder is trained on the scans)",
    ),
    PretextFlag(
        "--classification-weight",
        {"semantic-genesis": "semantic_genesis.classification_weight"},
        float,
        "W",
        "weight of the cross-entropy beside the error of restoration in [0, 1] (default: 0.01)",
    ),
    PretextFlag(
        "--classification-first",
        {"semantic-genesis": "semantic_genesis.classification_first"},
        float,
        "SHARE",
        "share of the run with classification alone, at its beginning (default: 0)",
    ),
    PretextFlag(
        "--modality",
        # With any pretext, --source-weights modality draws by it.
        dict.fromkeys(("universal-model", *PRETEXTS), "universal_model.modality"),
        str,
        "SOURCE=NAME",
        "modality of a pool or dataset, e.g. chest_ct=CT (default: the channels' names; pools have none); for"
        " universal-model, and for --source-weights modality",
        nargs="+",
        extends=True,
    ),
    PretextFlag(
        "--scale-weight",
        {"universal-model": "universal_model.scale_weight"},
        float,
        "W",
        "weight of telling the scale of a crop; 0 leaves it out (default: 0.1)",
    ),
    PretextFlag(
        "--adversary",
        {"universal-model": "universal_model.adversary"},
        str,
        "KIND",
        "what hides the modality: discriminant (Fisher's, of the last patches) or classifier (a network, its gradient"
        " reversed; default: discriminant)",
    ),
    PretextFlag(
        "--adversary-weight",
        {"universal-model": "universal_model.adversary_weight"},
        float,
        "W",
        "strength of hiding the modality at the end of the run; 0 leaves it out (default: 1; classifier: 0.1)",
    ),
    PretextFlag(
        "--no-scale",
        {"universal-model": "universal_model.scale_weight"},
        float,
        "",
        "the same as --scale-weight 0",
        constant=0.0,
    ),
    PretextFlag(
        "--no-adversary",
        {"universal-model": "universal_model.adversary_weight"},
        float,
        "",
        "the same as --adversary-weight 0",
        constant=0.0,
    ),
    PretextFlag(
        "--alternating",
        {"universal-model": "universal_model.alternating"},
        bool,
        "",
        "with --adversary classifier: the network and the encoder learn in turns, not both at once",
        constant=True,
    ),
    PretextFlag(
        "--mask-ratio",
        {"masked": "masked.mask_ratio", "masked-genesis": "masked_genesis.mask_ratio"},
        float,
        ("LOW", "HIGH"),
        "share of the blocks that is hidden, drawn between two limits (default: 0.6 0.9; masked-genesis: 0.6 0.75)",
        nargs=2,
    ),
    PretextFlag(
        "--mask-block",
        {"masked": "masked.mask_block", "masked-genesis": "masked_genesis.mask_block"},
        int,
        "VOXELS",
        "sides of a block, one number or one per axis (default: one cell of the network's deepest stage)",
        nargs="+",
    ),
    PretextFlag(
        "--visible-weight",
        {"masked-genesis": "masked_genesis.visible_weight"},
        float,
        "W",
        "weight of the error on visible voxels beside that on hidden ones (default: 0.15)",
    ),
)


def add_pretext_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command."""
    described = "; ".join(f"{name}: {meaning}" for name, meaning in PRETEXTS.items())
    parser.add_argument("--pretext", choices=tuple(PRETEXTS), help=f"{described} (default: {DEFAULT_PRETEXT})")
    add_setting_flags(parser, [one.flag for one in PRETEXT_FLAGS])


def add_setting_flags(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    """Add some of `PRETEXT_FLAGS` to a command."""
    group = parser.add_argument_group("settings of pretexts")
    for one in PRETEXT_FLAGS:
        if one.flag not in flags:
            continue
        told = f"{', '.join(one.settings)}: {one.help}".replace("%", "%%")
        if one.constant is not None:
            group.add_argument(one.flag, dest=one.destination, action="store_const", const=one.constant, help=told)
            continue
        group.add_argument(
            one.flag,
            dest=one.destination,
            action="extend" if one.extends else "store",
            type=one.type,
            nargs=one.nargs,
            metavar=one.metavar,
            help=told,
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
        for setting in one.settings.values():
            name = setting.split(".")[0]
            groups.setdefault(name, getattr(defaults, name))
        value = getattr(options, one.destination, None)
        if value is None:
            continue
        if defaults.pretext not in one.settings:
            raise SetupError(
                f"{one.flag} is no setting of --pretext {defaults.pretext}",
                mend=f"--pretext {next(iter(one.settings))}, or leave {one.flag} out",
            )
        name, *path = one.settings[defaults.pretext].split(".")
        groups[name] = _replace_nested(groups[name], path, tuple(value) if one.nargs else value)
    return groups


def _replace_nested(settings: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return replace(settings, **{name: _replace_nested(getattr(settings, name), rest, value) if rest else value})
