"""Send a checkpoint of ours to the Hugging Face Hub, with a card that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.hub import CARD_NAME, FINAL_NAME, HUB_PREFIX, LOGGER, Address
from nnunet_genesis.hub_errors import HUB_ERRORS, told
from nnunet_genesis.model_card import model_card


def upload(file: Path, address: Address, *, private: bool) -> str:
    """Do what `nnunet_genesis.hub.push` promises.

    Raises:
        CheckpointError: See there.
    """
    if address.file is not None or address.revision != "main":
        raise CheckpointError(f"{address}: only a repository can be pushed to", mend=f"give {address.repo}")
    content = checkpoint.read(file)
    genesis = content["genesis"]
    if "converted" in genesis:
        raise CheckpointError(
            f"the file was converted from another ({genesis['converted'].get('from')}): its card would be about weights"
            " that others made",
            where=file,
            mend="share the original file, with its own card",
        )
    target = Address(address.repo, None if file.name == FINAL_NAME else file.name)
    card = model_card(genesis, str(target))
    api = HfApi()
    try:
        url = str(api.create_repo(address.repo, private=private, exist_ok=True))
        _check_repository(api, file, address, private=private)
        with TemporaryDirectory() as folder:
            nameless = Path(folder, file.name)
            checkpoint.write(nameless, {**content, "genesis": without_case_names(genesis)})
            commit = api.create_commit(
                address.repo,
                [
                    CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(nameless)),
                    CommitOperationAdd(path_in_repo=CARD_NAME, path_or_fileobj=card.encode()),
                ],
                commit_message=f"Add {file.name}",
            )
    except HUB_ERRORS as error:
        raise told(error, address) from error
    LOGGER.info("pushed %s to %s as commit %s", file, url, commit.oid)
    return url


def without_case_names(genesis: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance whose cases are known by the hash of their voxels alone, and files by their names, not their folders.

    Names of cases may be those of patients, and folders are named after people, too.
    """
    hashed = {
        key: {str(digest): str(digest) for digest in genesis[key].values()}
        for key in ("cases", "validation_cases")
        if isinstance(genesis.get(key), Mapping)
    }
    nameless = {**genesis, **hashed, "excluded_cases": [], "quarantined_cases": []}
    if isinstance(genesis.get("config"), Mapping):
        nameless["config"] = {**genesis["config"], "exclude": ()}
    settings = ("config", "pretext_settings")
    return {key: _without_folders(value) if key in settings else value for key, value in nameless.items()}


def _without_folders(settings: Any) -> Any:
    if not isinstance(settings, Mapping):
        return settings
    return {
        key: Path(value).name
        if key == "features" and isinstance(value, str) and not value.startswith(HUB_PREFIX)
        else _without_folders(value)
        for key, value in settings.items()
    }


def _check_repository(api: HfApi, file: Path, address: Address, *, private: bool) -> None:
    info = api.model_info(address.repo)
    if private and not info.private:
        raise CheckpointError(
            f"{address.repo} exists and is public; nothing was sent",
            where=str(address),
            mend="choose another name, make it private in its settings, or leave --private out",
        )
    present = {sibling.rfilename for sibling in info.siblings or ()}
    taken = sorted(present & {file.name, CARD_NAME})
    if taken:
        raise CheckpointError(
            f"{address.repo} already holds {', '.join(taken)}; nothing was sent or replaced",
            where=str(address),
            mend="push to a new repository, or delete the files there first",
        )
