"""Fetch a file from the Hugging Face Hub, and say which commit it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from nnunet_genesis.hub import LOGGER, SUFFIXES, Address, choose
from nnunet_genesis.hub_errors import HUB_ERRORS, is_unreachable, reason_of, told

if TYPE_CHECKING:
    from huggingface_hub import CachedRevisionInfo


def fetch(address: Address) -> Path:
    """Bring a file into huggingface_hub's cache, or find it there.

    The repository's state is asked for first: hf_hub_download alone would quietly return an old file where the Hub
    does not answer.

    Raises:
        CheckpointError: If the file is not there, may not be fetched, or cannot be reached and is not cached.
    """
    api = HfApi()
    name = address.file
    try:
        info = api.model_info(address.repo, revision=address.revision)
        name = choose(address, [sibling.rfilename for sibling in info.siblings or ()])
        path = Path(api.hf_hub_download(address.repo, name, revision=address.revision))
    except HUB_ERRORS as error:
        if not is_unreachable(error):
            raise told(error, address) from error
        return _from_cache(replace(address, file=name), error)
    commit = _commit(path, name)
    if commit != info.sha:
        LOGGER.warning("%s: the Hub is at commit %s, the file used is of %s", address, info.sha, commit)
    LOGGER.info("%s is %s of commit %s: %s", address, name, commit, path)
    return path


def _from_cache(address: Address, error: Exception) -> Path:
    revision = _cached_revision(address)
    if revision is None:
        raise told(error, address, _not_cached()) from error
    cached = [file.file_path.relative_to(revision.snapshot_path).as_posix() for file in revision.files]
    candidates = [file for file in cached if file.endswith(SUFFIXES)] if address.file is None else [address.file]
    if not candidates or not set(candidates) <= set(cached):
        raise told(error, address, _not_cached()) from error
    name = choose(address, cached)
    LOGGER.warning(
        "%s: the Hub was not reached (%s); the cached %s of commit %s is used",
        address,
        reason_of(error),
        name,
        revision.commit_hash,
    )
    return revision.snapshot_path / name


def _cached_revision(address: Address) -> CachedRevisionInfo | None:
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None
    for repo in cache.repos:
        if (repo.repo_type, repo.repo_id) == ("model", address.repo):
            for revision in repo.revisions:
                if address.revision in (*revision.refs, revision.commit_hash):
                    return revision
    return None


def _commit(path: Path, name: str) -> str:
    """The cache keeps files under ``snapshots/COMMIT/NAME``."""
    return path.parents[name.count("/")].name


def _not_cached() -> str:
    return f"; it is not in the cache ({constants.HF_HUB_CACHE}) either"
