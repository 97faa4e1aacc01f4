"""Tables as Markdown and HTML: the content of a cell stays in it."""

from __future__ import annotations

import pytest

from napari_melanoma.figures.page import Block, Report, ReportTable, Table, Text, render_report

TABLE = ReportTable("A <b> table", ("Row", "n"), (("one | two", "3"), ("<script>", "")), ("A note.",))


def test_markdown_keeps_cells_apart() -> None:
    assert TABLE.to_markdown().splitlines()[2:] == [
        "| Row | n |",
        "| --- | --- |",
        "| one \\| two | 3 |",
        "| <script> | – |",
        "",
        "A note.",
    ]


def rendered(*blocks: Block) -> str:
    return render_report(Report("Title", "", blocks))


def test_html_shows_text_as_text() -> None:
    page = rendered(TABLE.to_section())
    assert "<h2>A &lt;b&gt; table</h2>" in page
    assert '<tr><th scope="row">&lt;script&gt;</th><td class="number unbroken">–</td></tr>' in page
    assert "<script>" not in page


PAIRS = ReportTable(
    "t", ("Row", "paper", "ours"), (("U-Net", "80.80", "55.0"),), groups=("", "JA", "JA"), introduction=("Of <all>.",)
)


def test_a_heading_spans_its_columns() -> None:
    assert "| Row | JA, paper | JA, ours |" in PAIRS.to_markdown()
    head = '<tr><td class="group" colspan="1"></td><th scope="colgroup" class="group" colspan="2">JA</th></tr>'
    names = '<th scope="col" class="number">paper</th><th scope="col" class="number">ours</th></tr>'
    assert f'{head}\n<tr><th scope="col">Row</th>{names}' in rendered(PAIRS.to_section())


def test_notes_for_all_rows_are_above_the_table() -> None:
    assert PAIRS.to_markdown().splitlines()[2:4] == ["Of <all>.", ""]
    above, table = PAIRS.to_section().blocks
    assert (above, table.kind) == (Text("Of <all>.", quiet=True), "table")


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("5", "47"), "number"),
        (("0.856 (0.811 to 0.894)", ""), "number"),
        (("-0.293 (-0.366 to -0.225)", "+0.1"), "number"),
        (("0.886", "0.627, -0.259 (-0.340 to -0.185)"), "number"),
        (("8M", "12 %"), "number"),
        (("78.04 / 75.46", "0.50"), "number"),
        (("1", "not known"), ""),
        (("", "–"), ""),
        (("78.04 (SMARTSKINS), 75.46 (Dermofit)",), ""),
        (("a sentence of more than sixty letters, which is to be read and not spelt",), "long"),
    ],
)
def test_a_column_is_encoded_by_its_values(texts: tuple[str, ...], kind: str) -> None:
    assert Table("t", ("Row", "Column"), tuple(("a", text) for text in texts)).column_classes == ("", kind)


def test_the_line_does_not_break_within_an_interval() -> None:
    table = Table("t", ("Row", "JA"), (("a", "0.856 (0.811 to 0.894)"),))
    assert '0.856 <span class="unbroken">(0.811 to 0.894)</span>' in rendered(table)


def test_a_row_needs_a_text_for_each_column() -> None:
    with pytest.raises(ValueError, match="has 2 columns, a row has 1"):
        ReportTable("t", ("a", "b"), (("one",),))
