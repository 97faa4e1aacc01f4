"""A report is printed with page numbers, reads nothing outside itself, and says what is missing for a PDF file."""

from __future__ import annotations

import builtins
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pypdf import PdfReader

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.figures.page import write_html
from napari_melanoma.reports import pdf as pdf_files
from napari_melanoma.reports.pdf import write_pdf

PAGE = """{% extends "page" %}{% block title %}Case 7{% endblock %}{% block content %}
<h1>Case 7</h1>{% for row in rows %}<p>{{ row }}</p>{% endfor %}{{ extra|safe }}{% endblock %}"""
POINTS = {"a4": (595, 842), "letter": (612, 792)}


def page_sizes(path: Path) -> list[tuple[int, int]]:
    """Width and height of each page in points."""
    return [(round(page.mediabox.width), round(page.mediabox.height)) for page in PdfReader(path).pages]


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_a_report_is_printed_on_the_paper_that_was_chosen(tmp_path: Path, paper: pdf_files.Paper) -> None:
    html = tmp_path / "report.html"
    write_html(html, PAGE, rows=["Breslow thickness 1.34 mm"] * 120)
    assert write_pdf(html, tmp_path / "report.pdf", paper) == tmp_path / "report.pdf"
    sizes = page_sizes(tmp_path / "report.pdf")
    assert len(sizes) > 1
    assert set(sizes) == {POINTS[paper]}
    assert "1.34 mm" in PdfReader(tmp_path / "report.pdf").pages[-1].extract_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.pdf"]


def test_neither_files_nor_addresses_are_read(tmp_path: Path) -> None:
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
            f'<link rel="stylesheet" href="{private.as_uri()}"><link rel="stylesheet" href="private.css">'
            f'<a rel="attachment" href="{private.as_uri()}">attached</a><object data="{private.as_uri()}"></object>'
        )
        write_html(tmp_path / "report.html", PAGE, rows=["one", "two"], extra=extra)
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
        server.shutdown()
    assert asked == []
    assert len(page_sizes(tmp_path / "report.pdf")) == 1
    assert PdfReader(tmp_path / "report.pdf").attachments == {}


def test_without_pango_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_html(tmp_path / "report.html", PAGE, rows=[])
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("weasyprint"):
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MelanomaError, match=r"libpango-1\.0-0.*brew install pango.*print it to a PDF file"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


def test_truncated_photographs_are_still_refused_afterwards() -> None:
    code = (
        "from PIL import ImageFile; from napari_melanoma.reports.pdf import load_weasyprint; load_weasyprint(); "
        "print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 'a5'"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf", "a5")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"report\.html"):
        write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")


def test_the_layout_engine_is_imported_by_a_pdf_file_only() -> None:
    code = "import sys, napari_melanoma.reports.pdf; print('weasyprint' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
