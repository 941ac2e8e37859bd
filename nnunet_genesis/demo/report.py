"""Write the report of the demonstration: one content, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.demo.results import Comparison


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or 2."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first row is its head, the first column its side."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    """Commands to type."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the report, with what it shows."""

    name: str
    caption: str


Block: TypeAlias = Heading | Paragraph | Table | Code | Picture

_STYLE = (
    "body{font-family:sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;line-height:1.5}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3rem .7rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}pre{background:#f4f4f4;padding:1rem;overflow-x:auto}"
    "img{max-width:100%}figcaption{color:#555}"
)


def dice_table(comparisons: list[Comparison]) -> Table:
    """Return the Dice of both networks and their difference, a row per class."""
    head = ("Dice on the test scans", "pretrained", "from scratch", "difference", "per scan: lowest", "highest")
    rows = [
        (
            entry.name,
            f"{entry.pretrained:.3f}",
            f"{entry.scratch:.3f}",
            f"{entry.difference:+.3f}",
            f"{entry.lowest:+.3f}",
            f"{entry.highest:+.3f}",
        )
        for entry in comparisons
    ]
    return Table((head, *rows))


def time_table(seconds: dict[str, float]) -> Table:
    """Return the time that each stage took."""
    rows = [(name, f"{value:.0f} s") for name, value in seconds.items()]
    return Table((("stage", "time"), *rows, ("together", f"{sum(seconds.values()) / 60:.1f} min")))


def write_report(folder: Path, blocks: list[Block]) -> None:
    """Write ``report.md`` and ``report.html`` into the folder that holds the pictures."""
    (folder / "report.md").write_text("\n\n".join(_markdown(block) for block in blocks) + "\n", encoding="utf-8")
    body = "\n".join(_html(block, folder) for block in blocks)
    title = html.escape(next((block.text for block in blocks if isinstance(block, Heading)), "report"))
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Code):
        return f"```bash\n{block.text}\n```"
    if isinstance(block, Picture):
        return f"![{block.caption}]({block.name})\n\n*{block.caption}*"
    head, *rows = block.rows
    rule = ("---", *["---:"] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Picture):
        data = base64.b64encode((folder / block.name).read_bytes()).decode("ascii")
        caption = html.escape(block.caption)
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    rows = []
    for index, row in enumerate(block.rows):
        tag = "th" if index == 0 else "td"
        rows.append("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return f"<table>{''.join(rows)}</table>"
