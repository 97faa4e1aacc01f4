"""The page of a report: its parts are found by people and programs, and no text can change its structure."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_report import make_report

from napari_melanoma.figures.page import (
    CONTROL,
    HEADER_LENGTH,
    NOTICE,
    Report,
    Section,
    Table,
    css_string,
    fields,
    is_report,
    write_report,
)
from napari_melanoma.reports.body_map import BodyMap, SiteMark

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><h1>other</h1>",
    "<img src=x onerror=alert(1)>",
    "<!-- a comment",
    "-->",
    "<![CDATA[",
    "]]>",
    "&lt;b&gt;",
    "&#60;b&#62;",
    "&amp;amp;",
    '" onload="alert(1)',
    "' onload='alert(1)",
    "`${alert(1)}`",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{# a comment #}",
    '"; } body { display: none; } /*',
    "*/ @import url(http://example.org/x.css);",
    '\\"; }',
    "\\",
    "javascript:alert(1)",
    "data:text/html,<b>",
    "\u202eright to left\u202c",
    "\u2066isolated",
    "\u200f\u200eמלנומה",
    "a\x00b",
    "a\x1b[31mb\x07",
    "line\nbreak\tand tab",
    "W" * 10_000,
    "\ud800",
    "",
]


class PageReader(HTMLParser):
    """Collects the tags with the names of their attributes, and the texts, of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.structure: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.structure.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value for _, value in attrs if value]

    def handle_endtag(self, tag: str) -> None:
        self.structure.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        self.values.append(data.strip())


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
def test_no_text_changes_the_structure_of_a_page(text: str, tmp_path: Path) -> None:
    harmless = "".join(letter if letter.isspace() else "x" for letter in text)
    for name, content in (("given", text), ("harmless", harmless)):
        write_report(tmp_path / f"{name}.html", make_report(content))
    found, expected = PageReader(tmp_path / "given.html"), PageReader(tmp_path / "harmless.html")
    assert found.structure == expected.structure
    shown = CONTROL.sub("\ufffd", text).encode("utf-8", "backslashreplace").decode().strip()
    assert sum(value == shown for value in found.values) == sum(value == harmless.strip() for value in expected.values)
    raw = (tmp_path / "given.html").read_bytes()
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", raw)
    assert (tmp_path / "given.html").read_text(encoding="utf-8").count("</style>") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Case P-0042", r"Case P\2d 0042"),
        ('a"; }', r"a\22 \3b  \7d "),
        ("\n", r"\a "),
        ("\x00", r"\fffd "),
        ("é", r"\e9 "),
        ("x" * 100, "x" * (HEADER_LENGTH - 1) + r"\2026 "),
    ],
)
def test_a_text_in_the_head_of_printed_pages_is_escaped_for_css(text: str, expected: str) -> None:
    assert css_string(text) == expected


def test_headings_are_in_order_and_tables_have_headings(tmp_path: Path) -> None:
    inner = Section("Inner", (Table("Values", ("Name", "Value"), (("a", "1"), ("b", "2.5"))),))
    report = Report("Title", "", (Section("Outer", (inner, fields("Facts", {"Age": "64"}))),))
    write_report(tmp_path / "page.html", report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<(h\d)>([^<]*)", page) == [("h1", "Title"), ("h2", "Outer"), ("h3", "Inner")]
    assert page.count('<th scope="col"') == 2
    assert page.count('<th scope="row">') == 3
    assert '<td class="number unbroken">2.5</td>' in page
    assert "<caption" in page
    assert '<html lang="en">' in page


def test_deep_sections_have_valid_html_headings(tmp_path: Path) -> None:
    section = Section("8", ())
    for number in range(7, 0, -1):
        section = Section(str(number), (section,))
    write_report(tmp_path / "page.html", Report("Title", "", (section,)))
    levels = re.findall(r"<h(\d)>", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert levels == ["1", "2", "3", "4", "5", "6", "6", "6", "6"]


def test_the_notice_is_on_the_page_and_on_each_printed_page(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Report("Title", "", ()))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count(NOTICE) == 2
    assert f'@top-right {{ content: "{css_string(NOTICE)}"' in page
    assert 'counter(page) " of " counter(pages)' in page
    assert "http" not in page


def test_only_reports_of_this_program_are_recognized(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Report("Title", "", ()))
    (tmp_path / "other.html").write_text("<title>my page</title>", encoding="utf-8")
    assert is_report(tmp_path / "page.html")
    assert not is_report(tmp_path / "other.html")


def marked_sites(body: BodyMap) -> list[tuple[str, str]]:
    return re.findall(r'class="site" data-site="([\w ]+)" data-side="(\w+)"', body.drawings)


def test_the_body_map_marks_lesions_and_names_those_without_a_site() -> None:
    found = BodyMap((SiteMark("1", "upper back", "left"), SiteMark("2", "upper back", "left"), SiteMark("3", "", "")))
    (_, first), (_, second) = found.placed
    assert abs(first[0] - second[0]) + abs(first[1] - second[1]) > 10  # beside each other
    assert found.caption == "Lesions: 1 Left upper back; 2 Left upper back; 3 Site unknown. Not on the map: 3."
    assert re.findall(r'<g id="(\w+)"', found.drawings) == ["front", "back"]
    assert re.findall(r'class="site" data-site="([\w ]+)" data-side="(\w+)"', found.drawings) == [
        ("upper back", "left")
    ]


def test_the_body_map_shows_details_if_a_lesion_is_marked_there() -> None:
    found = BodyMap((SiteMark("1", "nose", "left"),))
    assert re.findall(r'<g id="(\w+)"', found.drawings)[:3] == ["front", "back", "face"]
    # Marked on the left, but the nose is one site.
    assert marked_sites(found) == [("nose", "midline")]
