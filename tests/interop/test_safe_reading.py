"""Files are read without running them, without more memory than they have bytes, and onto the CPU."""

from __future__ import annotations

import codecs
import functools
import io
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop.numpy_values import NumberType, number
from nnunet_genesis.interop.safe_reading import read_safely
from tests.hostile import RunsCommand
from tests.interop.files import edit_pickle, nnunet_v2_content

if TYPE_CHECKING:
    from pathlib import Path

BOTH_FORMATS = pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint_final.pth"


def save(content: object, file: Path, archive: bool = True) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=archive)


@BOTH_FORMATS
def test_all_that_nnunet_writes_is_read(file: Path, archive: bool) -> None:
    content = nnunet_v2_content()
    save(content, file, archive)
    read = read_safely(file)
    assert read.keys() == content.keys()
    for name, tensor in content["network_weights"].items():
        assert torch.equal(read["network_weights"][name], tensor)
    assert read["logging"] == content["logging"]
    assert read["_best_ema"] == 0.5
    assert read["init_args"] == content["init_args"]
    assert read["optimizer_state"] == content["optimizer_state"]


@pytest.mark.parametrize(
    "value",
    [
        np.float16(-0.5),
        np.float32(0.1),
        np.float64(1e300),
        np.int8(-1),
        np.uint64(2**64 - 1),
        np.bool_(False),
    ],
)
def test_numpy_scalars_become_the_same_python_numbers(file: Path, value: Any) -> None:
    save({"value": value}, file)
    read = read_safely(file)["value"]
    assert type(read) in (bool, int, float)
    assert read == value.item()


def test_numpy_scalars_have_the_byte_order_that_the_file_says(file: Path) -> None:
    """As a machine of the other order would have written it: numpy here makes no such scalar."""
    save({"value": np.int16(1)}, file)
    assert read_safely(file) == {"value": 1}
    order = b"X\x01\x00\x00\x00"
    edit_pickle(file, order + b"<", order + b">")
    assert read_safely(file) == {"value": 256}


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"], ids=["numpy 1", "numpy 2"])
def test_numpy_scalars_are_read_whichever_numpy_wrote_them(file: Path, module: bytes) -> None:
    save({"value": np.float32(0.25)}, file)
    ours = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in file.read_bytes())
    edit_pickle(file, b"c" + ours, b"c" + module)
    assert read_safely(file) == {"value": 0.25}


def test_what_others_allow_torch_to_load_is_not_allowed_here_and_stays_allowed(file: Path) -> None:
    save({"value": np.float32(0.25), "pool": torch.nn.MaxPool3d(2)}, file)
    before = torch.serialization.get_safe_globals()
    allowed: list[Any] = [np.dtype, type(np.dtype("f4")), torch.nn.MaxPool3d]
    with torch.serialization.safe_globals(allowed):
        with pytest.raises(CheckpointError, match=r"MaxPool3d"):
            read_safely(file)
        save({"value": np.float32(0.25)}, file)
        assert read_safely(file) == {"value": 0.25}
        assert set(torch.serialization.get_safe_globals()) == {*before, *allowed}
    assert set(torch.serialization.get_safe_globals()) == set(before)


@pytest.mark.parametrize("code", ["O8", "U4", "S4", "V8", "M8", "f16", "(1000000000000,)f8"])
def test_numpy_types_that_are_no_numbers_are_refused(code: str) -> None:
    with pytest.raises(ValueError, match="no plain number"):
        NumberType(code)
    with pytest.raises(ValueError, match="no plain number"):
        number(np.dtype("O"), b"12345678")


@BOTH_FORMATS
def test_tensors_of_all_kinds_are_read(file: Path, archive: bool) -> None:
    base = torch.arange(24.0)
    content = {
        "whole": base,
        "part": base[4:16].view(3, 4).t(),
        "parameter": torch.nn.Parameter(torch.rand(2, 3)),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 5),
        "ordered": OrderedDict(half=torch.ones(2, dtype=torch.float16), brain=torch.ones(2, dtype=torch.bfloat16)),
        "flag": torch.tensor([True]),
    }
    save(content, file, archive)
    read = read_safely(file)
    for name in ("whole", "part", "parameter", "scalar", "empty", "flag"):
        assert torch.equal(read[name], content[name])  # type: ignore[arg-type]
    assert read["ordered"]["half"].dtype == torch.float16
    assert read["ordered"]["brain"].dtype == torch.bfloat16


@BOTH_FORMATS
@pytest.mark.parametrize("device", ["cuda:0", "cuda:7", "mps"])
def test_tensors_of_other_devices_come_to_the_cpu(
    file: Path, archive: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: device)
    save({"weight": torch.arange(4.0)}, file, archive)
    assert device.encode() in file.read_bytes()
    read = read_safely(file)["weight"]
    assert read.device == torch.device("cpu")
    assert torch.equal(read, torch.arange(4.0))


@pytest.mark.parametrize("container", ["archive", "before torch 1.6", "pickle"])
def test_code_is_named_and_not_run(file: Path, container: str) -> None:
    trace = file.with_name("code_ran")
    hostile: dict[str, Any] = {"network_weights": {"a": 1.0}, "payload": RunsCommand(trace)}
    if container == "pickle":
        file.write_bytes(pickle.dumps(hostile))
    else:
        save(hostile, file, container == "archive")
    with pytest.raises(CheckpointError, match=r"could run code \(\w+\.system\)") as raised:
        read_safely(file)
    assert str(file) in str(raised.value)
    assert not trace.exists()


class Claims:
    """Pickled as a call that torch allows, and that takes as much memory as its argument says."""

    def __init__(self, function: Any, size: int) -> None:
        self.call = (function, (size,))

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "function", [bytearray, torch.Tensor, functools.partial], ids=["bytearray", "Tensor", "partial"]
)
def test_calls_that_weights_do_not_need_are_refused(file: Path, function: Any) -> None:
    save({"a": torch.ones(1), "b": Claims(function, 10**12)}, file)
    with pytest.raises(CheckpointError, match=f"could run code .*{function.__name__}"):
        read_safely(file)


class Encoded:
    """Pickled as bytes are in protocol 2, but by a codec that Python would have to look for."""

    def __reduce__(self) -> Any:
        return (codecs.encode, ("weights", "utf-7"))


def test_bytes_of_another_codec_are_refused(file: Path) -> None:
    save({"a": torch.ones(1), "bytes": b"\xff\x00"}, file)
    assert read_safely(file)["bytes"] == b"\xff\x00"
    save({"a": torch.ones(1), "bytes": Encoded()}, file)
    with pytest.raises(CheckpointError, match=r"could run code \(_codecs\.encode to something else than latin1\)"):
        read_safely(file)


def test_whole_modules_are_refused_by_name(file: Path) -> None:
    save(torch.nn.Conv3d(1, 1, 1), file)
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.conv\.Conv3d.*not loaded"):
        read_safely(file)


def test_programs_of_torchscript_are_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("model/code/__torch__.py", "class Network(Module): ...", zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_safely(file)


@BOTH_FORMATS
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused_and_left(file: Path, archive: bool, share: float) -> None:
    save({"weight": torch.rand(1000), "other": torch.rand(10)}, file, archive)
    whole = file.read_bytes()
    part = whole[: int(share * len(whole))]
    file.write_bytes(part)
    with pytest.raises(CheckpointError, match=r"damaged or incomplete|the file has \d+ for it") as raised:
        read_safely(file)
    assert "copy or download the file again" in str(raised.value)
    assert file.read_bytes() == part


EIGHT, MANY = b"K\x08", b"\x8a\x06" + (10**12).to_bytes(6, "little")
BELOW = b"J" + (-8).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (EIGHT + b"t", MANY + b"t"),
        (EIGHT + b"\x85", MANY + b"\x85"),
        (b"K\x00" + EIGHT, MANY + EIGHT),
        (b"K\x01\x85", BELOW + b"\x85"),
        (b"K\x00" + EIGHT, BELOW + EIGHT),
    ],
    ids=["storage", "shape", "offset", "stride below 0", "offset below 0"],
)
@BOTH_FORMATS
def test_tensors_that_claim_more_than_the_file_holds_are_refused(
    file: Path, archive: bool, old: bytes, new: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch opened the file"))
    save({"weight": torch.arange(8.0)}, file, archive)
    if archive:
        edit_pickle(file, old, new)
    else:
        old = old.replace(b"t", b"N") if old.endswith(b"t") else old
        raw = file.read_bytes()
        file.write_bytes(raw.replace(old, new.replace(b"t", b"N") if new.endswith(b"t") else new, 1))
        assert raw != file.read_bytes()
    with pytest.raises(CheckpointError, match=r"a tensor (claims|of shape) .*not loaded"):
        read_safely(file)


def test_expanded_tensors_that_would_fill_the_memory_are_refused(file: Path) -> None:
    save({"weight": torch.ones(1).expand(10**6, 10**6)}, file)
    with pytest.raises(CheckpointError, match=r"shape \(1000000, 1000000\) does not fit its 1 stored"):
        read_safely(file)


def test_entries_that_unpack_to_more_than_the_file_are_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, protocol=2))
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(CheckpointError, match=r"claim 10000\d\d bytes in a file of \d{3,4};"):
        read_safely(file)


def test_an_archive_with_a_second_pickle_of_the_same_name_is_refused(file: Path) -> None:
    save({"a": torch.ones(1)}, file)
    root = zipfile.ZipFile(file).namelist()[0].split("/")[0]
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"{root}/DATA.pkl", pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(CheckpointError, match="not as torch writes it"):
        read_safely(file)


def test_a_pickle_with_an_archive_at_its_end_is_checked_as_what_torch_reads(file: Path) -> None:
    """Such a file is an archive to zipfile, and a pickle to torch."""
    trace = file.with_name("code_ran")
    harmless = io.BytesIO()
    torch.save({"a": torch.ones(1)}, harmless)
    save({"payload": RunsCommand(trace)}, file, archive=False)
    file.write_bytes(file.read_bytes() + harmless.getvalue())
    assert zipfile.is_zipfile(file)
    with pytest.raises(CheckpointError, match=r"could run code \(\w+\.system\)"):
        read_safely(file)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@BOTH_FORMATS
def test_broken_bytes_raise_nothing_but_our_error(file: Path, archive: bool) -> None:
    draw = random.Random(0)
    save({"weights": {"a": torch.rand(4, 2)}, "log": [np.float32(1)], "device": torch.device("cpu")}, file, archive)
    whole = file.read_bytes()
    refused = 0
    for _ in range(400):
        broken = bytearray(whole)
        broken[draw.randrange(min(600, len(whole)))] = draw.randrange(256)
        file.write_bytes(broken)
        try:
            read_safely(file)
        except CheckpointError:
            refused += 1
    assert refused > 200


def test_other_files_are_told_apart(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_safely(file)
    with pytest.raises(CheckpointError, match="a folder, not a file"):
        read_safely(tmp_path)
    save([torch.ones(1)], file)
    with pytest.raises(CheckpointError, match="holds a list, not a dictionary"):
        read_safely(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "dear torch")
    with pytest.raises(CheckpointError, match="not as torch writes it"):
        read_safely(file)
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match="no file of torch"):
        read_safely(file)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied"), "you may not read this file"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_what_is_not_the_files_fault_is_not_called_damage(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    torch.save({"weight": torch.zeros(3)}, file)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_safely(file)
    assert "damaged" not in str(caught.value)
