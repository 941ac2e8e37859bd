"""Files of weights: ours, those of others, and exported encoders."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis import checkpoint, encoder_file
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.convert import convert
from nnunet_genesis.hub_upload import without_case_names
from nnunet_genesis.inspection import describe_source
from nnunet_genesis.interop import open_source
from nnunet_genesis.model_card import model_card
from nnunet_genesis.networks import build_source_network, num_inputs
from nnunet_genesis.pretraining.run_files import check_same_run, config_of, stored_config
from tests.hostile import RunsCommand
from tests.interop.files import nnunet_v2_content
from tests.interop.written import write_genesis, write_nnssl, write_nnunet_v1, write_nnunet_v2
from tests.reliability.fuzzing.mutations import mutate_bytes, mutate_value
from tests.reliability.fuzzing.reader import Reader
from tests.transfer.networks import build, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

_SMALL: dict[str, Any] = {"features": (2, 4, 4), "dim": 2}
_CONFIG = PretrainingConfig(pretext="models-genesis", batch_size=2)
_WRITERS = {"genesis": write_genesis, "nnunet_v2": write_nnunet_v2, "nnssl": write_nnssl, "nnunet_v1": write_nnunet_v1}


def _make_with(kind: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        file = folder / "checkpoint_final.pth"
        # Generic_UNet of v1 has two stacks in its deepest stage, hence two blocks.
        small = {**_SMALL, "blocks": (2, 2, 2), "decoder_blocks": 2} if kind == "nnunet_v1" else _SMALL
        _WRITERS[kind](file, build(**small), describe(**small))
        if kind == "genesis":
            content = checkpoint.read(file)
            content["genesis"]["config"] = _CONFIG.as_dict()
            checkpoint.write(file, content)
        return [file]

    return make


def _make_old(folder: Path) -> Sequence[Path]:
    file = folder / "checkpoint_final.model"
    content = nnunet_v2_content(dict(build(**_SMALL).state_dict()), describe(**_SMALL))
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return [file]


def _make_encoder(folder: Path) -> Sequence[Path]:
    (checkpoint_file,) = _make_with("genesis")(folder)
    source = open_source(checkpoint_file)
    checkpoint_file.unlink()
    file = folder / "encoder.safetensors"
    weights = {name: tensor for name, tensor in source.weights.items() if name.startswith("encoder.")}
    file.write_bytes(encoder_file.to_bytes(weights, encoder_file.describe(source)))
    return [file]


def _read(folder: Path, file: Path) -> None:
    """All that is done with a file of weights before its tensors are used."""
    source = open_source(file)
    "\n".join(describe_source(source)).encode()
    if source.architecture is not None:
        build_source_network(source, num_inputs(source), 2)
    out = folder / "converted.pth"
    out.unlink(missing_ok=True)
    convert(source, out)


def _read_ours(folder: Path, file: Path) -> None:
    content = checkpoint.read(file)
    source = open_source(file)
    "\n".join(describe_source(source)).encode()
    model_card(content["genesis"], "user/repo").encode()
    without_case_names(content["genesis"])
    stored_config(folder)
    check_same_run(config_of(content, file), _CONFIG, file)
    build_source_network(source, num_inputs(source), 2)


def _mutate_content(content: bytes, random: Random) -> bytes:
    """Half of the time bytes; else entries of the dictionary, written by torch as a whole file again."""
    if random.random() < 0.5:
        return mutate_bytes(content, random)
    held = torch.load(io.BytesIO(content), weights_only=False)
    for _ in range(random.choice((1, 1, 2, 5))):
        held = mutate_value(held, random)
    stream = io.BytesIO()
    torch.save(held, stream, _use_new_zipfile_serialization=content[:2] == b"PK")
    return stream.getvalue()


def _traps(folder: Path) -> Sequence[bytes]:
    """Code, bombs, and lies."""
    canary = folder.parent.parent / "code_was_run"
    stored = io.BytesIO()
    torch.save({"network_weights": {"a": RunsCommand(canary)}}, stored)
    old = io.BytesIO()
    torch.save({"network_weights": {"a": RunsCommand(canary)}}, old, _use_new_zipfile_serialization=False)
    memo_bomb = b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b"."
    long_bytes = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a."
    nested = b"\x80\x02" + b"(" * 100_000 + b"."
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    huge_number = b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"."
    pickles = (pickle.dumps(RunsCommand(canary)), memo_bomb, long_bytes, nested, deep, huge_number)
    return (
        stored.getvalue(),
        old.getvalue(),
        *pickles,
        *map(_archive, pickles),
        _zip_bomb(),
        b"",
        b"\x80",
        b"PK\x03\x04",
    )


def _archive(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", b"\0" * 64)
    return stream.getvalue()


def _zip_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", pickletools.optimize(pickle.dumps({})))
        archive.writestr("archive/data/0", b"\0" * (1 << 26))
    return stream.getvalue()


def _encoder_traps(_: Path) -> Sequence[bytes]:
    def header(length: int, text: bytes) -> bytes:
        return struct.pack("<Q", length) + text

    key = encoder_file.KEY
    huge = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    nested = b'{"__metadata__":{"%s":"%s"}}' % (key.encode(), b"[" * 100_000)
    zeros = (
        b'{"__metadata__":{"%s":"{}"},"a":{"dtype":"F32","shape":[0,1099511627776],"data_offsets":[0,0]}}'
        % key.encode()
    )
    return (
        header(1 << 62, b"{}"), header(2, b"{}"), header(len(huge), huge), header(len(nested), nested),
        header(len(zeros), zeros), header(100_000, b"{" * 100_000), header(8, b'{"a":1}'),
    )  # fmt: skip


WEIGHTS = (
    Reader("checkpoint", _make_with("genesis"), _read_ours, _mutate_content, _traps),
    Reader("nnunet_v2", _make_with("nnunet_v2"), _read, _mutate_content),
    Reader("nnunet_v1", _make_with("nnunet_v1"), _read, _mutate_content),
    Reader("nnssl", _make_with("nnssl"), _read, _mutate_content),
    Reader("old_torch", _make_old, _read, _mutate_content),
    Reader("encoder", _make_encoder, _read, mutate_bytes, _encoder_traps),
)
