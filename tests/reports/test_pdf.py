"""A report is printed with page numbers by WeasyPrint or Qt, reads nothing outside itself, and loses nothing."""

from __future__ import annotations

import builtins
import http.server
import io
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_case import write_case
from fake_report import make_report
from pypdf import PdfReader

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.figures.page import CONTROL, render_html
from napari_melanoma.reports import pdf as pdf_files
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.page import GENERATOR, NOTICE, Figure, Gallery, Report, Section, Table, Text, fields
from napari_melanoma.reports.pdf import is_pdf_report, print_with_qt, print_with_weasyprint, run_printer, write_pdf
from napari_melanoma.reports.printed_page import prepare_print

PAGE = """{% extends "page" %}{% block title %}Case 7{% endblock %}{% block content %}
<h1>Case 7</h1>{% for row in rows %}<p>{{ row }}</p>{% endfor %}{{ extra|safe }}{% endblock %}"""
POINTS = {"a4": (595, 842), "letter": (612, 792)}
WAYS = ["WeasyPrint", "Qt"]
LONG = Table("Long", ("Name", "Value"), tuple((f"Row {number}", f"{number}.5") for number in range(120)))
HOSTILE = (
    "</style></body><script>alert(1)</script><img src=x onerror=alert(1)> &lt;b&gt; {{ 7 * 7 }} {% raw %} \" ' \\",
    "W" * 200,
    "a\x00b\x1b[31m \ud800 None",
)


def page_sizes(path: Path) -> list[tuple[int, int]]:
    """Width and height of each page in points."""
    return [(round(page.mediabox.width), round(page.mediabox.height)) for page in PdfReader(path).pages]


def choose(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Pango unavailable, so that Qt prints."""
    if way == "WeasyPrint":
        return
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("weasyprint"):
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)


def pages_of(content: bytes) -> list[str]:
    """The text of each page, with single spaces."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(content)).pages]


# How the command prints letter with WeasyPrint, tests/cli/test_report.py is about.
@pytest.mark.parametrize(("paper", "way"), [("a4", "WeasyPrint"), ("a4", "Qt"), ("letter", "Qt")])
def test_a_report_is_printed_on_the_paper_that_was_chosen(
    tmp_path: Path, paper: pdf_files.Paper, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(way, monkeypatch)
    report = Report("Case 7", "", (Section("Values", (LONG,)),), "Case 7", "program 1.0")
    note = write_pdf(report, tmp_path / "report.pdf", paper)
    assert ("without tags for screen readers" in note) == (way == "Qt")
    sizes = page_sizes(tmp_path / "report.pdf")
    assert len(sizes) >= 3
    assert set(sizes) == {POINTS[paper]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.pdf"]
    assert is_pdf_report(tmp_path / "report.pdf")
    found = PdfReader(tmp_path / "report.pdf").metadata
    assert found is not None
    assert str(found.producer).startswith(way)
    assert found.title == "Case 7"
    assert found.get("/CreationDate", "").strip("D:Z")[:14] in ("", "19700101000000")
    assert not re.search(rb"20[2-9]\d-\d\d-\d\dT", (tmp_path / "report.pdf").read_bytes())
    for number, page in enumerate(pages_of((tmp_path / "report.pdf").read_bytes()), start=1):
        for expected in ("Case 7", NOTICE, "program 1.0", f"Page {number} of {len(sizes)}"):
            assert expected in page


@pytest.fixture(scope="module")
def empty_report() -> bytes:
    return print_with_qt(Report("My page", "", ()), "a4")


def test_other_pdf_files_are_no_reports(tmp_path: Path, empty_report: bytes) -> None:
    content, other = empty_report, "another program, here."
    for encoding in ("utf-8", "utf-16-be"):
        content = content.replace(GENERATOR.encode(encoding), other.encode(encoding))
    (tmp_path / "other.pdf").write_bytes(content)
    assert not is_pdf_report(tmp_path / "other.pdf")


def test_a_report_without_xmp_metadata_is_recognized(tmp_path: Path, empty_report: bytes) -> None:
    (tmp_path / "report.pdf").write_bytes(re.sub(rb"<x:xmpmeta.*?</x:xmpmeta>", b"", empty_report, flags=re.DOTALL))
    assert b"CreatorTool" not in (tmp_path / "report.pdf").read_bytes()
    assert is_pdf_report(tmp_path / "report.pdf")


def test_a_broken_package_is_not_called_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    note = write_pdf(Report("Case 7", "", ()), tmp_path / "report.pdf")
    assert "import of weasyprint halted" in note
    assert "reinstall weasyprint" in note
    assert "Pango" not in note


class Printer:
    """A printer that notes the environment of each start, and ends with given codes."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.environments = list(codes), []

    def run(self, *_: object, env: dict[str, str] | None = None, **__: object) -> object:
        self.environments.append(env or {})
        return subprocess.CompletedProcess([], self.codes.pop(0), b"%PDF-1.4", b"no window server")


@pytest.mark.parametrize(("system", "codes"), [("darwin", (-6, 0)), ("darwin", (1,)), ("linux", (-6,))])
def test_without_a_window_server_macos_prints_without_it(
    system: str, codes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    printer = Printer(*codes)
    monkeypatch.setattr(subprocess, "run", printer.run)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setitem(sys.modules, "qtpy", SimpleNamespace(API="pyside6"))
    job = prepare_print(Report("Case 7", "", ()), "a4")
    if codes[-1]:
        with pytest.raises(MelanomaError, match="no window server"):
            run_printer(job)
    else:
        assert run_printer(job).startswith(b"%PDF")
    assert printer.codes == []
    assert [one.get("QT_QPA_PLATFORM") for one in printer.environments] == [None, "offscreen"][: len(codes)]
    assert {one["QT_API"] for one in printer.environments} == {"pyside6"}


def words_by_section(content: bytes, titles: list[str]) -> list[list[str]]:
    """The words of each main section without margins and drawings; headers of tables may be repeated on a page."""
    drawn = {"Front", "Back", "right", "left", "1"}
    pages = pages_of(content)
    margins = r"Page \d+ of \d+|Case P-ZV1QS0-BRDZ2J|napari-melanoma [\w.+]+(?! ?,)|" + re.escape(NOTICE)
    # A line may end at a hyphen within a word, or at the dash of an interval.
    text = re.sub(r"(?<=\w)([-–])\s+(?=\w)", r"\1", " ".join(re.sub(margins, "", page) for page in pages))
    starts = [text.index(title) for title in titles]
    assert starts == sorted(starts)
    parts = [text[start:end] for start, end in zip([0, *starts], [*starts, len(text)], strict=True)]
    return [sorted({word for word in part.split() if word not in drawn}) for part in parts]


def test_both_ways_print_the_same_sections_and_words(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    report = collect_report([case.folder, case.results], personal=True, run=RunContext()).report
    sections = [block for block in report.blocks if isinstance(block, Section)]
    titles = [block.title for block in sections if not block.folded]
    assert len(titles) >= 4
    # WeasyPrint leaves the titles of some tables hidden, as on the screen; both show those that are titled.
    qt, other = (words_by_section(show(report, "a4"), titles) for show in (print_with_qt, as_page))
    assert qt == other


def test_a_case_of_three_images_is_compact_and_begins_with_a_summary(tmp_path: Path) -> None:
    written = write_case(tmp_path)
    report = collect_report([written.folder, written.results], run=RunContext()).report
    pages = pages_of(as_page(report, "a4"))
    assert len(pages) <= 6
    assert all(text in pages[0] for text in ("Summary", "signed by BV", "pT1a: 0.22 mm", "Lesions: 1 Left upper back"))
    assert "Image 1" not in pages[0]
    (synoptic,) = (page for page in pages if "Synoptic report" in page and "Not filled in" in page)
    assert "Microsatellites" in synoptic


def as_page(report: Report, paper: pdf_files.Paper) -> bytes:
    return print_with_weasyprint(pdf_files.render_report(report), paper)


def test_every_text_of_every_block_is_printed() -> None:
    report = replace(make_report("Pigment"), identity="Case 7", program="program 1.0")
    qt, other = (" ".join(pages_of(show(report, "a4"))).count("Pigment") for show in (print_with_qt, as_page))
    assert qt == other > 20


def test_no_text_changes_the_structure_of_a_printed_page() -> None:
    blocks = tuple(block for text in HOSTILE for block in make_report(text).blocks)
    content = print_with_qt(replace(make_report("".join(HOSTILE)), blocks=blocks), "a4")
    flat = "".join("".join(pages_of(content)).split())
    for text in HOSTILE:
        shown = "".join(CONTROL.sub("\ufffd", text).encode("utf-8", "backslashreplace").decode().split())
        assert flat.count(shown[:40]) >= 10, text
    assert len(PdfReader(io.BytesIO(content)).attachments) == 0


def test_a_long_table_repeats_its_header_and_names_each_row_once() -> None:
    pages = pages_of(print_with_qt(Report("Title", "", (Section("Values", (LONG,)),)), "a4"))
    assert len(pages) == 3
    assert all("Name Value" in page for page in pages)
    text = " ".join(pages)
    assert [len(re.findall(rf"Row {number} {number}\.5", text)) for number in range(120)] == [1] * 120


def test_paragraphs_and_cells_over_several_pages_are_printed_once() -> None:
    blocks = (Text("alpha " * 1200), fields("Values", {"Name": "beta " * 1200}))
    pages = pages_of(print_with_qt(Report("Title", "", blocks), "a4"))
    assert len(pages) > 2
    text = "".join(pages).replace(" ", "")
    assert (text.count("alpha"), text.count("beta")) == (1200, 1200)


def test_pictures_that_cannot_be_read_are_named() -> None:
    broken = Figure("data:image/png;base64,AAAA", "Contour of the lesion", "Caption")
    report = Report("Title", "", (broken, Gallery((broken, replace(broken, small=True)))))
    (page,) = pages_of(print_with_qt(report, "a4"))
    assert page.count("Contour of the lesion") == 3


@pytest.mark.parametrize("way", WAYS)
def test_neither_files_nor_addresses_are_read(tmp_path: Path, way: str) -> None:
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    private = tmp_path / "private.css"
    private.write_text("body { page-break-before: always } p { page-break-after: always }", encoding="utf-8")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        extra = (
            f'<img src="{address}/picture.png" alt=""><link rel="stylesheet" href="{address}/style.css">'
            f'<link rel="stylesheet" href="{private.as_uri()}"><link rel="stylesheet" href="{private}">'
            f'<a rel="attachment" href="{private.as_uri()}">attached</a><object data="{private.as_uri()}"></object>'
        )
        html = render_html(PAGE, rows=["one", "two"], extra=extra)
        if way == "Qt":
            content = run_printer(replace(prepare_print(Report("Case 7", "", ()), "a4"), html=html))
        else:
            content = print_with_weasyprint(html, "a4")
        server.shutdown()
    assert asked == []
    assert len(pages_of(content)) == 1
    assert PdfReader(io.BytesIO(content)).attachments == {}


def test_without_pango_and_qt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("Qt", monkeypatch)
    monkeypatch.setattr(pdf_files, "PRINTER", "napari_melanoma.no_such_module")
    with pytest.raises(MelanomaError, match=r"no_such_module.*in a browser.*libpango-1\.0-0.*brew install pango"):
        write_pdf(Report("Case 7", "", ()), tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


def test_weasyprint_is_imported_late_and_truncated_photographs_are_refused_afterwards() -> None:
    code = (
        "import sys; from PIL import ImageFile; from napari_melanoma.reports.pdf import load_weasyprint; "
        "print('weasyprint' in sys.modules); load_weasyprint(); print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_another_paper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 'a5'"):
        write_pdf(Report("Case 7", "", ()), tmp_path / "report.pdf", "a5")  # type: ignore[arg-type]
