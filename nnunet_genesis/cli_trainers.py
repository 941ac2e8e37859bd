"""``genesis trainers``: the names that ``-tr`` takes, and pictures of their schedules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

_FORMATS = (".png", ".svg", ".pdf")


def add_trainer_commands(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    trainers = commands.add_parser("trainers", help="list the trainer names that -tr takes, or draw a schedule")
    trainers.add_argument("--plot", metavar="NAME", help="draw the learning rates of a trainer over its epochs")
    trainers.add_argument(
        "--output", type=Path, metavar="FILE", help="new picture, .png, .svg or .pdf (default: NAME.png)"
    )
    trainers.set_defaults(action=_trainers)


def _trainers(options: argparse.Namespace) -> int:
    from nnunet_genesis.trainers.grammar import describe_grammar, parse_trainer_name
    from nnunet_genesis.trainers.schedules import DEFAULT_EPOCHS, summarise

    if options.plot is None:
        if options.output is not None:
            raise SetupError("--output names a picture, and nothing is drawn", mend="genesis trainers --plot NAME")
        sys.stdout.write("\n".join(describe_grammar()) + "\n")
        return 0
    recipe = parse_trainer_name(options.plot)
    file = options.output or Path(f"{recipe.name}.png")
    if file.suffix not in _FORMATS:
        raise SetupError(f"--output {file}: a picture ends with {', '.join(_FORMATS)}", mend="--output schedule.png")
    if file.exists():
        raise SetupError("the picture exists already", where=file, mend="--output another.png")
    num_epochs = recipe.epochs or DEFAULT_EPOCHS

    from nnunet_genesis.trainers.schedule_figure import draw_schedule

    draw_schedule(file, recipe.schedule, num_epochs, recipe.name)
    sys.stdout.write(f"{summarise(recipe.schedule, num_epochs)}\n{file}\n")
    return 0
