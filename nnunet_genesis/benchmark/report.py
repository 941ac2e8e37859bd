"""Writes what a benchmark shows: a page to read and print, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.reporting import arm_tables, comparison_tables
from nnunet_genesis.benchmark.reporting.material import Material, gather
from nnunet_genesis.benchmark.reporting.numbers_in_words import count
from nnunet_genesis.benchmark.reporting.pictures import Pictures
from nnunet_genesis.benchmark.reporting.provenance import command_blocks, run_blocks, setting_blocks
from nnunet_genesis.benchmark.reporting.results_file import RESULTS_JSON, write_results
from nnunet_genesis.benchmark.reporting.verdict_words import cautions, verdict
from nnunet_genesis.benchmark.statistics.metric_table import DICE, MEAN_OF_CLASSES
from nnunet_genesis.benchmark.statistics.significance import LEVEL
from nnunet_genesis.report_page import Block, Heading, Items, Paragraph, write_html

if TYPE_CHECKING:
    from pathlib import Path

REPORT_FILE = "report.html"


def write_report(folder: Path) -> Path:
    """Write ``report.html``, ``results.json`` and the pictures into a benchmark's folder, from what is in it.

    Trainings that are missing or failed are told, not waited for. An earlier report is replaced.

    Args:
        folder: Of the benchmark, with ``results.csv`` and, as far as there are, ``epochs.csv``, ``benchmark.json`` and
            ``runs``.

    Returns:
        The page.

    Raises:
        DataError: If there is no table of scores, or a file cannot be read.
    """
    material = gather(folder)
    blocks = [
        *_verdict(material),
        *_scores(material),
        *_savings(material),
        *_convergence(material),
        *_cases(material),
        *_others(material),
        *_provenance(material),
    ]
    write_results(folder / RESULTS_JSON, material)
    write_html(folder / REPORT_FILE, blocks)
    return folder / REPORT_FILE


def _verdict(material: Material) -> list[Block]:
    name = "" if material.record is None else f" of {material.record.settings.dataset}"
    blocks: list[Block] = [
        Heading(f"Benchmark{name}: pretrained or from scratch", level=1),
        Paragraph(verdict(material)),
    ]
    told = cautions(material)
    blocks += [Items(tuple(told))] if told else []
    if not material.verdicts:
        return blocks
    return [
        *blocks,
        comparison_tables.verdict_table(material.verdicts),
        Paragraph(
            "Gain: pretrained minus scratch with the same labelled cases and schedule, on the same test cases; every"
            " patient counts once. The interval covers other patients and, with two or more seeds, other trainings. The"
            " first p-value belongs to it; Wilcoxon's is about patients with these trainings. Both are corrected by"
            f" Holm for the {count(material.verdicts[0].family, 'row')} of this table. Better or worse is said where"
            f" both are below {LEVEL:g}."
        ),
    ]


def _scores(material: Material) -> list[Block]:
    if material.headline is None:
        return []
    pictures = Pictures(material)
    return [
        Heading("Scores and differences"),
        *pictures.label_efficiency(),
        *pictures.differences(),
        *_details(material),
        Paragraph("Means over patients and trainings." + _room(material)),
        arm_tables.score_table({place: material.tables[place] for place in material.shown}),
    ]


def _details(material: Material) -> list[Block]:
    if not material.verdicts:
        return []
    told = (
        "The comparisons before any correction. The bootstrap draws patients and trainings again; with few trainings"
        " it is too narrow and decides nothing."
    )
    return [Paragraph(told), comparison_tables.detail_table(material.verdicts)]


def _room(material: Material) -> str:
    return "" if len(material.shown) == len(material.tables) else " Single classes are in results.json."


def _savings(material: Material) -> list[Block]:
    if not material.savings:
        return []
    return [
        Heading("Labels needed"),
        Paragraph(
            "From which number of labelled cases on, of those tried, the mean is at least that of scratch with the most"
            f" that it was trained on{_not_all(material)}. The interval goes from the number from which on it is not"
            " shown to be worse, to the number from which on it is shown to be at least as good. Scratch's line says"
            " how many labels could be spared without any pretraining."
        ),
        arm_tables.saving_table(material.savings),
    ]


def _not_all(material: Material) -> str:
    """A caution where scratch with all labelled cases was not trained, or not yet."""
    all_cases = material.all_labelled
    short = sorted({one.most for one in material.savings if all_cases is not None and one.most < all_cases})
    if not short:
        return ""
    return f" (not with all {all_cases}, but with {' or '.join(map(str, short))}: what all would reach is not known)"


def _convergence(material: Material) -> list[Block]:
    if not material.convergence:
        return []
    return [
        Heading("Epochs needed"),
        Paragraph(
            "After how many epochs the smoothed pseudo Dice, mean over seeds, first reaches the one that scratch ends"
            " with. Scratch reaches it at its end at the latest; where it does so earlier, its curve is flat. The time"
            " of pretraining is not counted, and a training that is planned shorter has another learning rate."
        ),
        *Pictures(material).convergence(),
        arm_tables.convergence_table(material.convergence),
    ]


def _cases(material: Material) -> list[Block]:
    if material.headline is None:
        return []
    pictures = Pictures(material).overlays()
    return [Heading("Worst and best cases"), *pictures] if pictures else []


def _others(material: Material) -> list[Block]:
    others = {place: material.comparisons[place] for place in material.shown if place != material.headline}
    others = {place: found for place, found in others.items() if found}
    blocks: list[Block] = []
    if others:
        told = "Each metric and class is a family of its own for Holm's correction. They do not prove each other."
        told += _room(material)
        blocks += [
            Heading("Other metrics and classes"),
            Paragraph(told),
            comparison_tables.other_comparisons_table(others),
        ]
    single = {
        place: table for place, table in material.tables.items() if place[0] == DICE and table.label != MEAN_OF_CLASSES
    }
    missed = arm_tables.missed_table(single)
    if missed is not None:
        told = (
            "Test cases, over all trainings of a line, in which nothing of a class was found (Dice 0; they are part of"
            " all means), and in which it was found although the reference lacks it (they are part of none)."
        )
        blocks += [Heading("Missed and wrongly found"), Paragraph(told), missed]
    return blocks


def _provenance(material: Material) -> list[Block]:
    if material.record is None:
        return [Heading("Settings"), Paragraph("benchmark.json is not there: settings and commands are not known.")]
    return [
        *run_blocks(material.runs),
        *setting_blocks(material.record),
        *command_blocks(material.record, material.runs, material.folder),
    ]
