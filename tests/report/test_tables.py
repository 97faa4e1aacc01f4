"""Tables as text: what stands in a cell stays in it, in Markdown and in HTML."""

from __future__ import annotations

import pytest

from napari_melanoma.report.tables import Table

TABLE = Table("A <b> table", ("Row", "n"), (("one | two", "3"), ("<script>", "")), ("A note.",))


def test_markdown_keeps_cells_apart() -> None:
    assert TABLE.markdown().splitlines()[2:] == [
        "| Row | n |",
        "| --- | --- |",
        "| one \\| two | 3 |",
        "| <script> | – |",
        "",
        "A note.",
    ]


def test_html_shows_text_as_text() -> None:
    page = TABLE.html()
    assert "<h2>A &lt;b&gt; table</h2>" in page
    assert "<tr><td>&lt;script&gt;</td><td>–</td></tr>" in page
    assert "<script>" not in page


def test_a_row_needs_a_text_for_each_column() -> None:
    with pytest.raises(ValueError, match="has 2 columns, a row has 1"):
        Table("t", ("a", "b"), (("one",),))
