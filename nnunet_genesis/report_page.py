"""Reports: one content, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nnunet_genesis.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


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
class Items:
    """Short texts, one below the other."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; the first row is its head, the first column its side.

    Attributes:
        rows: Cells; all rows are of one length.
        words: Numbers of further columns that hold words, which are set like the side and not like numbers.
    """

    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Code:
    """Commands to type."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG file, by its path from the report's folder, with what it shows."""

    name: str
    caption: str


Block: TypeAlias = Heading | Paragraph | Items | Table | Code | Picture

_STYLE = """
body{font-family:sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;line-height:1.5;color:#111;background:#fff}
h1+p{font-weight:bold}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
div.table{overflow-x:auto;margin:1rem 0}
td,th{border:1px solid #bbb;padding:.3rem .5rem;text-align:right}
th{vertical-align:bottom}
td{white-space:nowrap}
td:first-child,th:first-child,.words{text-align:left}
td.long{white-space:normal;min-width:11rem;overflow-wrap:anywhere}
pre{background:#f4f4f4;padding:1rem;white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:1.5rem 0}
img{max-width:100%}
figcaption{color:#555}
@page{margin:12mm}
@media print{
  body{max-width:none;margin:0;padding:0;font-size:9pt}
  table{font-size:6.4pt}
  div.table{overflow-x:visible;padding-right:1px}
  td,th{padding:.12rem .22rem}
  td:first-child{white-space:normal}
  td.long{min-width:7rem}
  pre{font-size:7pt}
  img{max-height:220mm}
  thead{display:table-header-group}
  tr,figure{break-inside:avoid}
  h1,h2,h3{break-after:avoid}
}
"""

_LONG = 24
"""Letters from which on a cell of words is broken into lines."""


def write_markdown(file: Path, blocks: list[Block]) -> None:
    """Write a report as Markdown, which names its pictures."""
    _write(file, "\n\n".join(_markdown(block) for block in blocks) + "\n")


def write_html(file: Path, blocks: list[Block]) -> None:
    """Write a report as one file that holds its pictures, for screens of any width and for paper.

    Args:
        file: Where to; the pictures' paths begin at its folder.
        blocks: The report; its first heading is its title.
    """
    body = "\n".join(_html(block, file.parent) for block in blocks)
    title = html.escape(next((block.text for block in blocks if isinstance(block, Heading)), "report"))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )
    _write(file, page)


def _write(file: Path, text: str) -> None:
    """Write all of a file or nothing."""
    with replacing(file) as part:
        part.write_text(text, encoding="utf-8")


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Items):
        return "\n".join(f"- {text}" for text in block.texts)
    if isinstance(block, Code):
        return f"```bash\n{block.text}\n```"
    if isinstance(block, Picture):
        return f"![{block.caption}]({block.name})\n\n*{block.caption}*"
    head, *rows = block.rows
    rule = ["---" if _holds_words(block, column) else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Picture):
        data = base64.b64encode((folder / block.name).read_bytes()).decode("ascii")
        caption = html.escape(block.caption)
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    head, *rows = (
        "".join(_cell(block, index, column, text) for column, text in enumerate(row))
        for index, row in enumerate(block.rows)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(table: Table, row: int, column: int, text: str) -> str:
    tag = "td" if row else "th"
    kinds = ["words"] if column and _holds_words(table, column) else []
    if kinds and len(text) > _LONG:
        kinds.append("long")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{kind}>{html.escape(text)}</{tag}>"


def _holds_words(table: Table, column: int) -> bool:
    return column == 0 or column in table.words
