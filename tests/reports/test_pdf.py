"""A report is printed as PDF with page numbers, reads nothing outside itself, and loses nothing."""

from __future__ import annotations

import http.server
import io
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fake_case import write_case
from fake_report import make_report
from pypdf import PdfReader

from napari_melanoma.core.context import RunContext
from napari_melanoma.figures.page import GENERATOR, NOTICE, Report, Section, Table, render_report
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.pdf import WeasyPrintError, is_pdf_report, print_page, write_pdf

LONG = Table("Long", ("Name", "Value"), tuple((f"Row {number}", f"{number}.5") for number in range(120)))


def pages_of(content: bytes) -> list[str]:
    """The text of each page, with single spaces."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(content)).pages]


def as_pages(report: Report) -> list[str]:
    return pages_of(print_page(render_report(report)))


@pytest.mark.slow
def test_a_report_is_printed_with_its_identity_on_each_page_and_without_dates(tmp_path: Path) -> None:
    report = Report("Case 7", "", (Section("Values", (LONG,)),), "Case 7", "program 1.0")
    write_pdf(report, tmp_path / "report.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.pdf"]
    assert is_pdf_report(tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    reader = PdfReader(io.BytesIO(content))
    # Letter is the subject of tests/cli/test_report.py.
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in reader.pages} == {(595, 842)}
    assert reader.metadata is not None
    assert reader.metadata.title == "Case 7"
    assert "/CreationDate" not in reader.metadata
    assert not re.search(rb"20[2-9]\d-\d\d-\d\dT", content)
    pages = pages_of(content)
    assert len(pages) >= 3
    for number, page in enumerate(pages, start=1):
        for expected in ("Case 7", NOTICE, "program 1.0", "Name Value", f"Page {number} of {len(pages)}"):
            assert expected in page
    text = " ".join(pages)
    assert [len(re.findall(rf"Row {number} {number}\.5", text)) for number in range(120)] == [1] * 120
    (tmp_path / "other.pdf").write_bytes(content.replace(GENERATOR.encode(), b"another program"))
    assert not is_pdf_report(tmp_path / "other.pdf")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError("cannot load library 'libpango-1.0-0': no such file"),
            r"the library libpango-1\.0-0 \(Pango\) cannot be loaded\. Print the HTML report to PDF from the browser\. "
            r"Or: Install Pango .*apt-get install libpango.*brew install pango.*MSYS2",
        ),
        (OSError("another reason"), r"it cannot be loaded \(another reason\)\. Print .* Or: Reinstall it"),
        (ImportError("halted"), r"the Python package cannot be imported \(halted\)\. Print .* Or: Reinstall it"),
    ],
)
def test_missing_weasyprint_is_an_error_with_a_remedy(error: ImportError | OSError, expected: str) -> None:
    assert re.search(expected, str(WeasyPrintError.from_error(error)))


def test_a_broken_package_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(WeasyPrintError, match="import of weasyprint halted"):
        write_pdf(Report("Case 7", "", ()), tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_case_of_three_images_is_compact_and_begins_with_a_summary(tmp_path: Path) -> None:
    written = write_case(tmp_path)
    report = collect_report([written.folder, written.results], run=RunContext()).report
    pages = as_pages(report)
    assert len(pages) <= 6
    assert all(text in pages[0] for text in ("Summary", "Signed by BV", "pT1a: 0.22 mm", "Lesions: 1 Left upper back"))
    assert "Image 1" not in pages[0]
    (synoptic,) = (page for page in pages if "Synoptic report" in page and "Not filled in" in page)
    assert "Microsatellites" in synoptic


@pytest.mark.slow
def test_every_text_of_every_block_is_printed() -> None:
    report = replace(make_report("Pigment"), identity="Case 7", program="program 1.0")
    assert " ".join(as_pages(report)).count("Pigment") > 20


def test_neither_files_nor_addresses_are_read(tmp_path: Path) -> None:
    requested: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
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
        content = print_page(f"<title>Case 7</title><h1>Case 7</h1><p>one</p><p>two</p>{extra}")
        server.shutdown()
    assert requested == []
    assert len(pages_of(content)) == 1
    assert PdfReader(io.BytesIO(content)).attachments == {}


@pytest.mark.slow
def test_weasyprint_is_imported_late_and_truncated_photographs_are_refused_afterwards() -> None:
    code = (
        "import sys; from PIL import ImageFile; from napari_melanoma.reports.pdf import load_weasyprint; "
        "print('weasyprint' in sys.modules); load_weasyprint(); print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
