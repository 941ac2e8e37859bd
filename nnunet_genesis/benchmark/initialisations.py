"""The pretrained files that are compared, looked at before anything is trained: what they saw, and whether they fit."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Any

from nnunet_genesis.config import DEFAULT_PRETEXT
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nnunet_genesis.benchmark.candidates import Candidate
    from nnunet_genesis.benchmark.settings import BenchmarkSettings
    from nnunet_genesis.interop.source import SourceModel
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.trainers.leaks import Leaks
    from nnunet_genesis.transfer import TransferReport

LOGGER = logging.getLogger("nnunet_genesis")
PRETRAINING_PREFIX = "pretraining_"
"""Of folders in the benchmark's, for the pretrainings that it asks for."""
_FACTS = ("method", "dataset", "plans", "configuration", "epochs", "num_cases", "pretext_settings", "package_versions")
_SHOWN = 5


def examine(
    candidate: Candidate,
    planned: PlannedConfiguration,
    settings: BenchmarkSettings,
    *,
    full: bool,
    trust: bool,
    exclude_file: Path,
) -> dict[str, Any]:
    """Find out whether a file may take part, before anything is trained.

    Args:
        candidate: The file.
        planned: The dataset.
        settings: Of the benchmark.
        full: Whether a schedule loads the decoder, too.
        trust: Whether to take a file for clean that does not tell all of what it saw.
        exclude_file: List of what pretraining must not see, named in the refusal.

    Returns:
        What to record, plain values.

    Raises:
        CheckpointError: If the file is damaged or unsafe.
        TransferError: If its weights do not fit the network.
        SetupError: If pretraining saw a test case, or, unless `trust`, if that cannot be told.
    """
    from nnunet_genesis.checkpoint import sha256_of_file
    from nnunet_genesis.interop import open_source

    source = open_source(candidate.file)
    transfer = _check_fit(source, planned, full=full)
    leaks = _check_leaks(source.facts, candidate, planned, settings, exclude_file=exclude_file)
    notes = leaks.unchecked  # no benchmark is judged on imagesTs
    if notes and not trust:
        raise SetupError(
            f"{candidate.name}: whether pretraining saw the test cases cannot be told:\n"
            + "\n".join(f"    {note}" for note in notes),
            where=candidate.file,
            mend="--trust-unchecked, if you know that it did not; the report then says so",
        )
    for note in notes:
        LOGGER.warning("%s: %s; it is trusted, as --trust-unchecked says", candidate.name, note)
    return {
        "address": candidate.address,
        "file": str(candidate.file),
        "sha256": sha256_of_file(candidate.file),
        "format": source.kind,
        "share_of_encoder": transfer.encoder_share,
        **({"share_of_decoder": transfer.decoder_share} if full else {}),
        "unchecked": notes,
        "saw_images_of_imagesTs": len(leaks.test),
        **{name: source.facts[name] for name in _FACTS if source.facts.get(name) is not None},
    }


def refuse_other_files(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep a name to one file.

    Raises:
        SetupError: If the name of an earlier initialisation is given to another file, or differs from it in capitals
            alone: both would have the same folders where a file system knows no capitals.
    """
    spellings = {name.casefold(): name for name in before}
    for name in now.keys() - before.keys():
        if name.casefold() in spellings:
            raise SetupError(
                f"--initialisation {name}: this benchmark has the name {spellings[name.casefold()]}",
                where=now[name]["file"],
                mend=_under_another_name(name, now[name]),
            )
    for name in sorted(before.keys() & now.keys()):
        if before[name]["sha256"] != now[name]["sha256"]:
            raise SetupError(
                f"--initialisation {name}: in this benchmark that is the name of another file"
                f" (SHA-256 {before[name]['sha256'][:12]}..., now {now[name]['sha256'][:12]}...)",
                where=now[name]["file"],
                mend=_under_another_name(name, now[name]),
            )


def _under_another_name(name: str, told: Mapping[str, Any]) -> str:
    return f"--initialisation {name}-2={shlex.quote(str(told['address']))}"


def _check_fit(source: SourceModel, planned: PlannedConfiguration, *, full: bool) -> TransferReport:
    from nnunet_genesis.inspection import try_transfer
    from nnunet_genesis.planned_networks import list_planned_networks
    from nnunet_genesis.trainers.initial_weights import allows_partial

    network = next(
        one
        for one in list_planned_networks(planned.dataset_name, planned.plans_name)
        if (one.plans_name, one.configuration) == (planned.plans_name, planned.configuration)
    )
    report, refused = try_transfer(source, network, "full" if full else "encoder", allows_partial())
    if refused is not None or report is None:
        raise refused or AssertionError  # one of both is always there
    return report


def _check_leaks(
    facts: Mapping[str, Any],
    candidate: Candidate,
    planned: PlannedConfiguration,
    settings: BenchmarkSettings,
    *,
    exclude_file: Path,
) -> Leaks:
    """Refuse what was seen."""
    from nnunet_genesis.trainers.leaks import find_leaks

    if "trainer" in facts and facts.get("dataset") == planned.dataset_name:
        raise SetupError(
            f"{candidate.name} is a model that was trained with labels of {planned.dataset_name}: it may have learned"
            " from the test cases, and from more labels than its runs are to have",
            where=candidate.file,
            mend="compare files that were pretrained without labels",
        )
    leaks = find_leaks(
        facts,
        dataset_name=planned.dataset_name,
        results_folder=planned.results_folder,
        validation_cases=(*settings.test_cases, *settings.left_out),
    )
    if leaks.validation:
        held_out = len(settings.test_cases) + len(settings.left_out)
        raise SetupError(
            f"{candidate.name}: pretraining saw {len(leaks.validation)} of the {held_out} cases that are held out:"
            f" {_listed(leaks.validation)}. A score on them is not one of unseen images",
            where=candidate.file,
            mend="pretrain without them:\n    " + pretraining_command(planned, exclude_file, facts.get("method")),
        )
    return leaks


def pretraining_command(planned: PlannedConfiguration, exclude_file: Path, pretext: str | None = None) -> str:
    """The command that pretrains without the test cases, into a folder beside their list."""
    method = f" --pretext {pretext}" if pretext else ""
    output = exclude_file.with_name(f"{PRETRAINING_PREFIX}{pretext or DEFAULT_PRETEXT}")
    return (
        f"genesis-pretrain-nnunet {planned.dataset_name} -c {planned.configuration} -p {planned.plans_name}{method}"
        f" --exclude {shlex.quote(str(exclude_file))} --output {shlex.quote(str(output))}"
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
