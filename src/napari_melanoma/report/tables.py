"""Tables of words as Markdown and as HTML, from one value, so that both say the same."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table as it is read: a title, columns, rows of text, and sentences below it.

    Parameters
    ----------
    title : str
        One line.
    columns : tuple of str
        Headings.
    rows : tuple of tuple of str
        A text for each column; an empty one is shown as a dash.
    notes : tuple of str
        What the figures rest on.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows of another width.

        Raises
        ------
        ValueError
            Where a row has more or fewer texts than there are columns.
        """
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"'{self.title}' has {len(self.columns)} columns, a row has {len(wrong[0])}: {wrong[0]}")

    def markdown(self) -> str:
        """Write it as GitHub's Markdown.

        Returns
        -------
        str
            Ends with a line break.
        """
        lines = [
            f"### {self.title}",
            "",
            _markdown_row(self.columns),
            "|" + "|".join(" --- " for _ in self.columns) + "|",
        ]
        lines += [_markdown_row(row) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Write it as HTML, its text escaped.

        Returns
        -------
        str
            A heading, a ``table`` and a ``p`` for each note.
        """
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "\n".join(f"<tr>{_html_cells(row)}</tr>" for row in self.rows)
        notes = "\n".join(f'<p class="quiet">{html.escape(note)}</p>' for note in self.notes)
        title = html.escape(self.title)
        return (
            f'<h2>{title}</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>\n{notes}\n"
        )


def _markdown_row(cells: Sequence[str]) -> str:
    """Write a row; a bar inside a text would end its cell."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") or NOTHING for cell in cells) + " |"


def _html_cells(cells: Sequence[str]) -> str:
    """Write the cells of a row."""
    return "".join(f"<td>{html.escape(cell or NOTHING)}</td>" for cell in cells)
