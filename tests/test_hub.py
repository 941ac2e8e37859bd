"""Files on the Hub: fetched once, pinned, cached, refused in words; pushed with a card that names no case."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from huggingface_hub import ModelCard, constants

from nnunet_genesis import checkpoint, hub
from nnunet_genesis.errors import CheckpointError
from tests.hub_server import Hub, Repository, running_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, SECOND = b"first " * 5000, b"second " * 5000


def set_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "ENDPOINT", url)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        set_endpoint(monkeypatch, running.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        repository = running.repositories["ann/liver"] = Repository()
        repository.commit({"checkpoint_final.pth": FIRST, "checkpoint_best.pth": b"best", "README.md": b"x"}, "v1")
        repository.commit({"checkpoint_final.pth": SECOND}, "feature/x")
        yield running


def test_a_path_is_returned_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkpoint_final.pth").touch()
    assert hub.resolve("checkpoint_final.pth") == Path("checkpoint_final.pth")
    assert hub.resolve(tmp_path / "checkpoint_final.pth") == tmp_path / "checkpoint_final.pth"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        hub.resolve("missing.pth")
    with pytest.raises(CheckpointError, match=r"(?s)this is a folder.*name the file: .*checkpoint_final\.pth"):
        hub.resolve(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://ann/liver", hub.Address("ann/liver")),
        ("hf://ann/liver@v1", hub.Address("ann/liver", None, "v1")),
        ("hf://ann/liver/sub/a.pth", hub.Address("ann/liver", "sub/a.pth")),
        ("hf://ann/liver/a.pth@feature/x", hub.Address("ann/liver", "a.pth", "feature/x")),
    ],
)
def test_addresses_are_taken_apart_and_put_together(text: str, expected: hub.Address) -> None:
    assert hub.parse(text) == expected
    assert hub.parse(Path(text)) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["hf://ann", "hf://", "hf:///liver", "hf://ann/liver/", "hf://ann/liver@", "hf://ann/liver/../../x", "hf://a b/c"],
)
def test_malformed_addresses_are_refused_without_a_request(text: str, server: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"no address of a file(?s:.*)write hf://user/repo"):
        hub.resolve(text)
    assert server.requests == []


def test_a_file_is_fetched_once_and_its_commit_is_logged(server: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nnunet_genesis")
    path = hub.resolve("hf://ann/liver")
    assert path.read_bytes() == SECOND
    assert f"commit {server.repositories['ann/liver'].refs['main']}" in caplog.text
    num_downloads = len([request for request in server.asked("GET") if "/resolve/" in request])
    assert num_downloads == 1
    assert hub.resolve("hf://ann/liver/checkpoint_final.pth") == path
    assert len([request for request in server.asked("GET") if "/resolve/" in request]) == num_downloads


def test_a_moved_branch_is_followed(server: Hub) -> None:
    hub.resolve("hf://ann/liver")
    server.repositories["ann/liver"].commit({"checkpoint_final.pth": b"third"})
    assert hub.resolve("hf://ann/liver").read_bytes() == b"third"


def test_branch_tag_and_commit_pin_a_file(server: Hub) -> None:
    first = next(iter(server.repositories["ann/liver"].commits))
    assert hub.resolve("hf://ann/liver@v1").read_bytes() == FIRST
    assert hub.resolve(f"hf://ann/liver@{first}").read_bytes() == FIRST
    assert hub.resolve("hf://ann/liver@main").read_bytes() == SECOND


def test_an_interrupted_download_goes_on_where_it_stopped(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    server.cut_after = 1000
    try:
        path = hub.resolve("hf://ann/liver")
    except CheckpointError:  # huggingface_hub 1.0 gives up, and resumes when asked again
        path = hub.resolve("hf://ann/liver")
    assert path.read_bytes() == SECOND
    assert server.ranges[0] is None
    assert server.ranges[1] == "bytes=1000-"


def test_the_only_checkpoint_is_taken_and_several_are_listed(server: Hub) -> None:
    one = server.repositories["ann/one"] = Repository()
    one.commit({"encoder.safetensors": b"weights", "README.md": b"x"})
    assert hub.resolve("hf://ann/one").read_bytes() == b"weights"
    one.commit({"b.pth": b"other"})
    with pytest.raises(CheckpointError, match=r"several checkpoints .*: b\.pth, encoder\.safetensors") as raised:
        hub.resolve("hf://ann/one")
    assert "hf://ann/one/b.pth" in str(raised.value.mend)
    server.repositories["ann/none"] = Repository()
    server.repositories["ann/none"].commit({"README.md": b"x"})
    with pytest.raises(CheckpointError, match="ann/none holds no checkpoint"):
        hub.resolve("hf://ann/none")


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("hf://ann/nothing", "there is no repository ann/nothing", "hf auth login"),
        ("hf://ann/liver@v9", "no branch, tag or commit v9", "commits/main"),
        ("hf://ann/liver@v1/checkpoint_final.pth", "the revision comes last", "commits/main"),
        ("hf://ann/liver/x.pth", r"no file x\.pth at main; checkpoints in it: checkpoint_best", "write hf://"),
        ("hf://ann/gated", "ann/gated is gated", "ask for access"),
        ("hf://ann/liver--x", "is no name of a repository", "write user/repo"),
    ],
)
def test_what_cannot_be_had_is_told_with_a_mend(server: Hub, text: str, problem: str, mend: str) -> None:
    gated = server.repositories["ann/gated"] = Repository(gated=True)
    gated.commit({"checkpoint_final.pth": FIRST})
    with pytest.raises(CheckpointError, match=problem) as raised:
        hub.resolve(text)
    assert mend in str(raised.value.mend)


def test_a_download_that_breaks_off_is_not_taken_for_an_empty_repository(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", break_off)
    with pytest.raises(CheckpointError, match=r"Connection reset by peer.*; it is not in the cache"):
        hub.resolve("hf://ann/liver")
    assert "HEAD /ann/liver/resolve/main/checkpoint_final.pth" in server.requests


def test_a_cached_file_does_not_hide_that_the_hub_says_no(server: Hub) -> None:
    hub.resolve("hf://ann/liver")
    del server.repositories["ann/liver"]
    with pytest.raises(CheckpointError, match="there is no repository ann/liver"):
        hub.resolve("hf://ann/liver")


@pytest.mark.parametrize("trouble", ["offline", "no connection", "status 503", "other server"])
def test_without_the_hub_the_cached_file_is_used_with_a_warning(
    server: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    paths = {text: hub.resolve(text) for text in ("hf://ann/liver", "hf://ann/liver@v1")}
    commit = server.repositories["ann/liver"].refs["main"]
    if trouble == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif trouble == "no connection":
        set_endpoint(monkeypatch, "http://127.0.0.1:9")
    else:
        server.status = 503 if trouble == "status 503" else 200
    for text, path in paths.items():
        assert hub.resolve(text) == path
    assert f"the cached checkpoint_final.pth of commit {commit} is used" in caplog.text
    for text in ("hf://ann/liver/checkpoint_best.pth", "hf://ann/other"):
        with pytest.raises(CheckpointError, match="it is not in the cache") as raised:
            hub.resolve(text)
        assert ("unset HF_HUB_OFFLINE" if trouble == "offline" else "HF_ENDPOINT") in str(raised.value.mend)


def test_a_full_disk_is_not_called_a_missing_connection(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refuse)
    with pytest.raises(CheckpointError, match=r"(?s)cannot be stored .*No space left.*HF_HOME"):
        hub.resolve("hf://ann/liver")
    assert server.requests


def test_environment_variables_of_the_hub_hold(server: Hub, tmp_path: Path) -> None:
    code = "import sys; from nnunet_genesis import hub; print(hub.resolve(sys.argv[1]))"
    variables = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}

    def resolve(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "hf://ann/liver"],
            env={**variables, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = resolve(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in refused.stderr
    assert server.requests == []
    fetched = resolve()
    assert Path(fetched.stdout.strip()).read_bytes() == SECOND, fetched.stderr
    assert Path(fetched.stdout.strip()).is_relative_to(tmp_path / "home")
    num_requests = len(server.requests)
    assert resolve(HF_HUB_OFFLINE="1").stdout == fetched.stdout
    assert len(server.requests) == num_requests


def provenance() -> dict[str, Any]:
    return {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": "models-genesis",
        "dataset": "Dataset003_Liver",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "patch_size": [40, 56, 40],
        "spacing": [1.0, 0.75, 0.75],
        "channel_names": ["CT"],
        "normalization_schemes": ["CTNormalization"],
        "architecture": {"network_class_name": "a.b.PlainConvUNet", "arch_kwargs": {"features_per_stage": [8, 16]}},
        "num_cases": 2,
        "cases": {"meier_hans": "ab", "liver_7": "cd"},
        "validation_cases": {"liver_8": "ef"},
        "excluded_cases": ["liver_9"],
        "quarantined_cases": ["meier_otto"],
        "config": {
            "exclude": ("liver_9", "archive/meier_eva"),
            "pools": ("archive",),
            "semantic_genesis": {"discovery": {"features": "/home/meier_paul/weights.pth", "num_classes": 44}},
        },
        "pretext_settings": {"discovery": {"features": "hf://ann/features"}, "crop_size": [16, 24, 16]},
        "package_versions": {"torch": "2.15.0"},
        "seed": 0,
        "epochs": 2,
        "steps": 6,
        "citations": ["Zhou et al., Models Genesis, MICCAI 2019"],
        "history": [
            {"epoch": 0, "train_loss": 2.0, "val_loss": 1.53219},
            {"epoch": 1, "train_loss": 1.0, "val_loss": 0.47412},
        ],
        "baselines": {"identity": 2.41, "blurred": 1.3812, "constant": 1.0001},
    }


def write_checkpoint(file: Path) -> Path:
    checkpoint.write(file, {"network_weights": {"encoder.weight": torch.ones(3)}, "genesis": provenance()})
    return file


def test_a_pushed_file_comes_back_and_its_card_tells_what_it_is_both_without_names_of_cases(
    server: Hub, tmp_path: Path
) -> None:
    file = write_checkpoint(tmp_path / "checkpoint_final.pth")
    assert hub.push(file, "ann/new") == f"{server.url}/ann/new"
    returned = checkpoint.read(hub.resolve("hf://ann/new"))
    assert torch.equal(returned["network_weights"]["encoder.weight"], torch.ones(3))
    changed: dict[str, Any] = {
        "cases": {"ab": "ab", "cd": "cd"},
        "validation_cases": {"ef": "ef"},
        "excluded_cases": [],
    }
    discovery = {"features": "weights.pth", "num_classes": 44}
    changed["config"] = {"exclude": (), "pools": ("archive",), "semantic_genesis": {"discovery": discovery}}
    changed["quarantined_cases"] = []
    assert returned["genesis"] == {**provenance(), **changed}, "cases are known by the hash of their voxels"
    assert [path.rsplit("/", 2)[-2] for path in server.asked("POST") if path.startswith("/api/models")] == [
        "preupload",
        "commit",
    ]
    repository = server.repositories["ann/new"]
    assert not repository.private
    sent = repository.commits[repository.refs["main"]]
    for name in (b"meier", b"liver_7", b"liver_8", b"liver_9"):
        assert not any(name in content for content in sent.values())
    text = sent["README.md"].decode()
    for fact in (
        "export nnUNet_genesis_checkpoint=hf://ann/new\n",
        "| cases learned from | 2 |",
        "| patch size (voxels) | 40 x 56 x 40 |",
        "| size of the crops learned from (voxels) | 16 x 24 x 16 |",
        "| after epoch 2 | 0.4741 |",
        "| no network: its best blur | 1.381 |",
        "- Zhou et al., Models Genesis, MICCAI 2019",
        "PlainConvUNet",
    ):
        assert fact in text
    card = ModelCard(text)
    metadata = vars(card.data)
    assert metadata["library_name"] == "nnunet-genesis"
    assert {"models-genesis", "nnU-Net", "Dataset003_Liver"} <= set(metadata["tags"])


def test_a_file_of_another_name_is_pushed_under_it_and_can_be_private(server: Hub, tmp_path: Path) -> None:
    hub.push(write_checkpoint(tmp_path / "liver.pth"), "hf://ann/secret", private=True)
    repository = server.repositories["ann/secret"]
    assert repository.private
    files = repository.commits[repository.refs["main"]]
    assert sorted(files) == ["README.md", "liver.pth"]
    assert b"nnUNet_genesis_checkpoint=hf://ann/secret/liver.pth\n" in files["README.md"]


def test_nothing_on_the_hub_is_replaced(server: Hub, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "checkpoint_final.pth")
    with pytest.raises(CheckpointError, match=r"already holds README\.md, checkpoint_final\.pth; nothing was sent"):
        hub.push(file, "ann/liver")
    assert len(server.repositories["ann/liver"].commits) == 2


def test_a_private_push_never_goes_to_a_public_repository(server: Hub, tmp_path: Path) -> None:
    server.repositories["ann/public"] = Repository()
    with pytest.raises(CheckpointError, match="exists and is public; nothing was sent"):
        hub.push(write_checkpoint(tmp_path / "checkpoint_final.pth"), "ann/public", private=True)
    assert server.repositories["ann/public"].commits == {}


def test_only_our_files_are_pushed_and_only_to_a_repository(server: Hub, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of nnunet-genesis"):
        hub.push(tmp_path / "other.pth", "ann/new")
    for target in ("ann/new/file.pth", "ann/new@v1"):
        with pytest.raises(CheckpointError, match="only a repository can be pushed to"):
            hub.push(write_checkpoint(tmp_path / "checkpoint_final.pth"), target)
    with pytest.raises(CheckpointError, match="no address"):
        hub.push(write_checkpoint(tmp_path / "checkpoint_final.pth"), "new")
    assert server.requests == []


def test_pushing_needs_a_token(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "secret"
    file = write_checkpoint(tmp_path / "checkpoint_final.pth")
    with pytest.raises(CheckpointError, match="does not let you do this") as raised:
        hub.push(file, "ann/new")
    assert "hf auth login" in str(raised.value.mend)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert hub.push(file, "ann/new").endswith("/ann/new")


def test_pushing_offline_is_told(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        hub.push(write_checkpoint(tmp_path / "checkpoint_final.pth"), "ann/new")
    assert server.requests == []


def test_a_card_says_no_more_than_the_file_and_takes_no_commands() -> None:
    from nnunet_genesis.model_card import model_card

    bare = model_card({"pretext": "masked"}, "hf://ann/new")
    assert "unknown" in bare
    assert "The file holds no validation curve." in bare
    hostile = model_card({**provenance(), "dataset": "D\n---\n<script>|x"}, "hf://ann/new")
    assert "<script>" not in hostile.replace("\\<", "")
    assert vars(ModelCard(hostile).data)["library_name"] == "nnunet-genesis"
    same = model_card({"architecture": {"arch_kwargs": {"features_per_stage": 32}}}, "hf://ann/new")
    assert "| features per stage | 32 |" in same, "plans name one number where it is the same for all stages"
