"""``genesis inspect``, ``convert``, ``export`` and ``push``: weights from files and into files."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

_FILE = "checkpoint (ours, nnU-Net v2 or v1, nnssl, state dict), or hf://user/repo[/file][@revision]"


def add_weight_commands(commands: Any) -> None:
    """Add the parsers to those of ``genesis``."""
    inspect = commands.add_parser("inspect", help="say what a file of weights is, and where it would fit")
    inspect.add_argument("file", metavar="FILE", help=_FILE)
    inspect.add_argument("--into", metavar="DATASET", help="show what loading it into this dataset's network would do")
    inspect.add_argument("-c", dest="configuration", default="3d_fullres", help="default: %(default)s")
    inspect.add_argument("-p", dest="plans", default="nnUNetPlans", help="default: %(default)s")
    inspect.add_argument("--full", action="store_true", help="the decoder as well, all but the segmentation heads")
    inspect.add_argument("--allow-partial", action="store_true", help="take leading channels where widths differ")
    inspect.set_defaults(action=_inspect)
    convert = commands.add_parser("convert", help="write any readable file as a checkpoint of nnunet-genesis")
    convert.add_argument("file", metavar="IN", help=_FILE)
    convert.add_argument("out", metavar="OUT", type=Path, help="new file, e.g. weights.pth")
    convert.set_defaults(action=_convert)
    export = commands.add_parser(
        "export", help="write a trained model that stock nnU-Net predicts with, or an encoder as safetensors"
    )
    export.add_argument(
        "source", metavar="MODEL_FOLDER", help="nnUNet_results/DATASET/nnUNetTrainerGenesis__...; or FILE"
    )
    export.add_argument("out", metavar="OUT", type=Path, help="folder to put the model into; with --encoder a new file")
    export.add_argument("--encoder", action="store_true", help="write the encoder of FILE as safetensors")
    export.set_defaults(action=_export)
    push = commands.add_parser("push", help="upload a checkpoint to the Hugging Face hub, with a model card")
    push.add_argument("file", metavar="FILE", type=Path, help="checkpoint of nnunet-genesis")
    push.add_argument("repository", metavar="USER/REPO")
    push.add_argument("--private", action="store_true", help="make the repository private if it is new")
    push.set_defaults(action=_push)


def _inspect(options: argparse.Namespace) -> int:
    from nnunet_genesis.hub import resolve
    from nnunet_genesis.inspection import describe_source, describe_transfer
    from nnunet_genesis.interop import open_source

    source = open_source(resolve(options.file))
    lines = describe_source(source)
    if options.into:
        part = "full" if options.full else "encoder"
        lines.append("")
        lines += describe_transfer(
            source, options.into, options.plans, options.configuration, part=part, allow_partial=options.allow_partial
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _convert(options: argparse.Namespace) -> int:
    from nnunet_genesis.convert import convert
    from nnunet_genesis.hub import resolve
    from nnunet_genesis.interop import open_source

    sys.stdout.write("\n".join(convert(open_source(resolve(options.file)), options.out)) + "\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    if options.encoder:
        from nnunet_genesis.encoder import export_encoder

        export_encoder(options.source, options.out)
        sys.stdout.write(f"{options.out}\n")
        return 0
    from nnunet_genesis.export import export_model
    from nnunet_genesis.json_reading import read_json
    from nnunet_genesis.submission.models import previous_stage_folder

    folder = Path(options.source)
    if not folder.is_dir():
        raise SetupError("no such folder", where=folder, mend="give a model folder, or --encoder for a file")
    target = export_model(folder, options.out)
    folds = " ".join(sorted(fold.name.removeprefix("fold_") for fold in target.glob("fold_*")))
    lines = [str(target), f"nnUNetv2_predict_from_modelfolder -m {shlex.quote(str(target))} -f {folds} -i IN -o OUT"]
    first = None
    # Plans that nnU-Net cannot use, which it tells itself; copies under names that are none of nnU-Net's.
    with suppress(SetupError, OSError, ValueError):
        first = previous_stage_folder(read_json(target / "plans.json"), folder)
    if first is not None:
        lines[1] += " -prev_stage_predictions FIRST"
        lines.append(
            f"FIRST: the predictions of the cascade's first stage, {first.name}; to export that, too: genesis export"
            f" {shlex.quote(str(first))} {shlex.quote(str(options.out))}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _push(options: argparse.Namespace) -> int:
    from nnunet_genesis.hub import push

    sys.stdout.write(f"{push(options.file, options.repository, private=options.private)}\n")
    return 0
