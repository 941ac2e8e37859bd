"""Where the numbers of a report come from: settings, pretrained files, trainings and commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.progress import describe_duration
from nnunet_genesis.benchmark.record import RECORD_FILE
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.settings import PER_SEED, SUBSET_DRAWS
from nnunet_genesis.report_page import Block, Code, Heading, Items, Paragraph, Table
from nnunet_genesis.trainers.schedules import DEFAULT_EPOCHS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.benchmark.collect import RunReport
    from nnunet_genesis.benchmark.record import Record

_SHORT_HASH = 16
_LAST_LINES = 5
_MOST_NAMES = 50


def setting_blocks(record: Record) -> list[Block]:
    """What all trainings share, and what each initialisation is."""
    settings = record.settings
    shown = {
        "dataset": settings.dataset,
        "plans, configuration": f"{settings.plans}, {settings.configuration}",
        "plans, SHA-256": settings.plans_sha256[:_SHORT_HASH],
        "epochs of each training": str(settings.epochs or f"{DEFAULT_EPOCHS} (nnU-Net's own)"),
        "iterations of each epoch": str(settings.iterations or "nnU-Net's own"),
        "device": settings.device + (f", {settings.cpu_autocast}" if settings.cpu_autocast else ""),
        "labelled cases": SUBSET_DRAWS.get(settings.subset_draws, settings.subset_draws),
        "drawn by seed": str(settings.subset_seed),
        "cases, groups": f"{len(settings.groups)}, {len(set(settings.groups.values()))}",
        "test cases": f"{len(settings.test_cases)} ({', '.join(settings.test_cases)})",
        "neither tested nor trained on": f"{len(settings.left_out)} (of the test cases' groups)",
        "tolerance of NSD in mm": ", ".join(f"{name} {mm:g}" for name, mm in settings.tolerances_mm.items()),
    }
    told = {name: value for name, value in record.provenance.items() if value and not isinstance(value, (list, dict))}
    rows = [(name, str(value)) for name, value in (shown | told).items()]
    blocks: list[Block] = [Heading("Settings and data"), Table((("what", "value"), *rows), words=(1,))]
    blocks += [Heading("Labelled cases"), _subset_table(record)] if record.asked_subsets else []
    if record.initialisations:
        files = [row for name, told in record.initialisations.items() for row in _file_rows(name, told)]
        head = ("initialisation", "file", "SHA-256", "what it says of itself")
        blocks += [Heading("Pretrained files"), Table((head, *files), words=(1, 2, 3))]
    return blocks


def run_blocks(runs: Sequence[RunReport]) -> list[Block]:
    """How every training stands; failures with the last lines of their logs."""
    counts = Counter(report.state for report in runs)
    told = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    planned = f"{len(runs)} planned: {told}." if runs else "None is planned."
    blocks: list[Block] = [Heading("Trainings"), Paragraph(planned + _time_spent(runs))]
    failed = [report for report in runs if report.state is State.FAILED]
    for report in failed:
        blocks.append(
            Paragraph(f"Failed: {report.run.identifier}: {report.record.get('problem', 'no reason is known')}")
        )
        lines = [str(line) for line in report.record.get("last_lines", [])][-_LAST_LINES:]
        blocks += [Code("\n".join(lines))] if lines else []
    open_ones = [report for report in runs if report.state not in (State.FINISHED, State.FAILED)]
    if open_ones:
        blocks.append(Items(tuple(f"{report.run.identifier}: {report.state.value}" for report in open_ones)))
    return blocks


def _time_spent(runs: Sequence[RunReport]) -> str:
    """What is known of it: not that of restored trainings, nor of those whose starter was killed."""
    begun = [report for report in runs if report.state is State.FINISHED or report.record.get("attempts")]
    known = [report.seconds for report in begun if report.seconds]
    if not known:
        return ""
    who = "they" if len(known) == len(begun) else f"those whose time is known ({len(known)} of {len(begun)})"
    return f" Together {who} took {describe_duration(sum(known))}."


def command_blocks(record: Record, runs: Sequence[RunReport], folder: Path) -> list[Block]:
    """The commands that were run, and by which versions of what."""
    attempts = [attempt for report in runs for attempt in report.record.get("attempts", [])]
    exact = [str(attempt["command"]) for attempt in attempts if attempt.get("command")]
    invocations = [entry for entry in record.provenance.get("invocations", []) if isinstance(entry, dict)]
    places = {"BENCHMARK": str(folder.absolute())}
    places |= {name: str(record.provenance[name]) for name in ("nnUNet_results",) if record.provenance.get(name)}
    # In quotes, which a shell would need around such a place, a variable would not be one.
    places = {name: place for name, place in places.items() if shlex.quote(place) == place}
    begun = [f"# {entry.get('when', '')}\n{entry.get('command', '')}" for entry in invocations]
    trained = [with_variables(command, places) for command in exact]
    lines = ["\n".join(f"export {name}={place}" for name, place in places.items()), *begun, *trained]
    versions = {str(attempt["versions"]): attempt["versions"] for attempt in attempts if attempt.get("versions")}
    hosts = sorted({str(attempt["host"]) for attempt in attempts if attempt.get("host")})
    blocks: list[Block] = [
        Heading("Commands"),
        Paragraph("As they were run, the benchmark's first; long places are written as variables."),
        Code("\n\n".join(line for line in lines if line)),
    ]
    blocks += [
        Paragraph("Versions: " + ", ".join(f"{name} {version}" for name, version in found.items()) + ".")
        for found in versions.values()
    ]
    return [*blocks, Paragraph(f"Machines: {', '.join(hosts)}.")] if hosts else blocks


def short_training(record: Record) -> str | None:
    """What to say where trainings are shorter than nnU-Net's; None where they are not."""
    settings = record.settings
    if (settings.epochs or DEFAULT_EPOCHS) >= DEFAULT_EPOCHS and settings.iterations is None:
        return None
    each = f"{settings.iterations} iterations" if settings.iterations else "nnU-Net's own number of iterations"
    return (
        f"Every training had {settings.epochs or DEFAULT_EPOCHS} epochs of {each}; nnU-Net's own has"
        f" {DEFAULT_EPOCHS} of 250. What is shown here is shown for trainings of this length."
    )


def doubtful_files(record: Record) -> list[str]:
    """Pretrained files of which it cannot be told whether they saw test images."""
    found = []
    for name, told in record.initialisations.items():
        if name == SCRATCH:
            continue
        if told.get("unchecked"):
            found.append(f"{name}: {'; '.join(map(str, told['unchecked']))}. It was trusted by --trust-unchecked.")
        if told.get("saw_images_of_imagesTs"):
            number = told["saw_images_of_imagesTs"]
            found.append(f"{name}: pretraining saw {number} image(s) of imagesTs, which are no test cases here.")
    return found


def _subset_table(record: Record) -> Table:
    """Which cases were labelled; as groups are not divided, there may be more of them than were asked for."""
    per_seed = record.settings.subset_draws == PER_SEED
    rows = [
        (
            " or ".join(subset.asked),
            str(len(subset.cases)),
            *((str(subset.draw),) if per_seed else ()),
            ", ".join(subset.cases) if len(subset.cases) <= _MOST_NAMES else f"{RECORD_FILE} names them",
        )
        for subset in record.asked_subsets
    ]
    head = ("asked for", "cases", *(("seed",) if per_seed else ()), "names")
    return Table((head, *rows), words=(len(head) - 1,))


def _file_rows(name: str, told: dict[str, Any]) -> list[tuple[str, ...]]:
    """The file that trainings begin from now, and those of before the benchmark was restored."""
    earlier = [
        (one, "the same pretraining before: trainings that were restored began from it") for one in _earlier(told)
    ]
    return [
        (name, str(one.get("address", "")), str(one.get("sha256", ""))[:_SHORT_HASH], said)
        for one, said in [(told, _facts(told)), *earlier]
    ]


def _earlier(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in told.get("earlier", ()) if isinstance(one, dict)]


def _facts(told: dict[str, Any]) -> str:
    names = (
        "method",
        "dataset",
        "plans",
        "configuration",
        "epochs",
        "num_cases",
        "share_of_encoder",
        "share_of_decoder",
    )
    return ", ".join(f"{name} {told[name]}" for name in names if told.get(name) is not None)


def with_variables(command: str, places: dict[str, str]) -> str:
    """Write places as variables, but not where only their first letters agree, nor in quotes, where none would be."""
    parts = re.split(r"""('[^']*'|"[^"]*")""", command)  # in those with even numbers nothing is quoted
    for name, place in places.items():
        whole = rf"(?<![^=:\s]){re.escape(place)}(?=[/:\s]|$)"
        parts[::2] = [re.sub(whole, f"${{{name}}}", part) for part in parts[::2]]
    return "".join(parts)
