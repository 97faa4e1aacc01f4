"""Tables as Markdown and HTML: the content of a cell stays in it."""

from __future__ import annotations

import pytest

from napari_melanoma.figures.page import ReportTable, html_table

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


def test_html_shows_text_as_text() -> None:
    page = TABLE.to_html()
    assert "<h2>A &lt;b&gt; table</h2>" in page
    assert '<tr><td>&lt;script&gt;</td><td class="number">–</td></tr>' in page
    assert "<script>" not in page


PAIRS = ReportTable(
    "t", ("Row", "paper", "ours"), (("U-Net", "80.80", "55.0"),), groups=("", "JA", "JA"), introduction=("Of <all>.",)
)


def test_a_heading_spans_its_columns() -> None:
    assert "| Row | JA, paper | JA, ours |" in PAIRS.to_markdown()
    head = '<tr><th rowspan="2">Row</th><th class="group" colspan="2">JA</th></tr>'
    assert f'{head}<tr><th class="number">paper</th><th class="number">ours</th></tr>' in PAIRS.to_html()


def test_what_holds_for_all_rows_stands_above_them() -> None:
    assert PAIRS.to_markdown().splitlines()[2:4] == ["Of <all>.", ""]
    assert PAIRS.to_html().startswith('<h2>t</h2>\n<p class="quiet">Of &lt;all&gt;.</p>\n<div class="wide">')


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("5", "47"), ' class="number"'),
        (("0.856 (0.811 to 0.894)", ""), ' class="number"'),
        (("-0.293 (-0.366 to -0.225)", "+0.1"), ' class="number"'),
        (("0.886", "0.627, -0.259 (-0.340 to -0.185)"), ' class="number"'),
        (("8M", "12 %"), ' class="number"'),
        (("78.04 / 75.46", "0.50"), ' class="number"'),
        (("1", "not known"), ""),
        (("", "–"), ""),
        (("78.04 (SMARTSKINS), 75.46 (Dermofit)",), ""),
        (("a sentence of more than sixty letters, which is to be read and not spelt",), ' class="long"'),
    ],
)
def test_a_column_is_set_by_what_is_in_it(texts: tuple[str, ...], kind: str) -> None:
    page = html_table(("Column",), [(text,) for text in texts])
    assert page.startswith(f'<div class="wide"><table>\n<thead><tr><th{kind}>Column')
    assert page.count(f"<td{kind}>") == len(texts)


def test_the_line_does_not_break_within_an_interval() -> None:
    assert "0.856 <span>(0.811 to 0.894)</span>" in html_table(("JA",), [("0.856 (0.811 to 0.894)",)])


def test_a_row_needs_a_text_for_each_column() -> None:
    with pytest.raises(ValueError, match="has 2 columns, a row has 1"):
        ReportTable("t", ("a", "b"), (("one",),))
