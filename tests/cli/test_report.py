"""``report``: written files, messages and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_case import ReportedCase, write_case
from typer.testing import Result

from napari_melanoma.reports.pdf import WeasyPrintError

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("features_found_once")


@pytest.fixture
def reported(tmp_path: Path) -> ReportedCase:
    return write_case(tmp_path / "stored")


def test_the_report_of_a_case_and_its_slide(run: Run, reported: ReportedCase, tmp_path: Path) -> None:
    result = run("report", reported.folder, reported.results, "--out", "out/report.html", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["files"] == ["out/report.html"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    before = (tmp_path / "out/report.html").read_bytes()
    assert run("report", reported.folder, reported.results, "--out", "out/report.html").exit_code == 0
    assert (tmp_path / "out/report.html").read_bytes() == before  # the same inputs give the same report


@pytest.mark.slow
def test_a_pdf_is_written_next_to_the_report(run: Run, reported: ReportedCase, tmp_path: Path) -> None:
    from pypdf import PdfReader

    result = run("report", reported.folder, "--out", "report.html", "--pdf")
    assert result.exit_code == 0, result.output
    pages = PdfReader(tmp_path / "report.pdf").pages
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in pages} == {(595, 842)}
    assert 2 <= len(pages) <= 12
    for number, page in enumerate(pages, start=1):
        text = " ".join(page.extract_text().split())
        assert f"Page {number} of {len(pages)}" in text
        assert "Case P-ZV1QS0-BRDZ2J" in text
        assert "Research use only; not for diagnosis." in text


def test_a_foreign_pdf_next_to_a_report_is_not_replaced(run: Run, reported: ReportedCase, tmp_path: Path) -> None:
    assert run("report", reported.folder, "--out", "report.html").exit_code == 0
    (tmp_path / "report.pdf").write_text("mine", encoding="utf-8")
    result = run("report", reported.folder, "--out", "report.html", "--pdf")
    assert result.exit_code == 2
    assert (tmp_path / "report.pdf").read_text(encoding="utf-8") == "mine"


def without_pango() -> None:
    raise WeasyPrintError("the library libpango-1.0-0 (Pango) cannot be loaded", "Install it")


def test_without_pango_the_page_and_all_problems_remain(
    run: Run, reported: ReportedCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.reports.pdf.load_weasyprint", without_pango)
    reported.slide.unlink()
    result = run("report", reported.folder, "--out", "report.html", "--pdf", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    failed = {one["about"]: one["error"] for one in lines if one["event"] == "failed"}
    assert list(failed) == ["Image 3", "PDF"]
    assert failed["PDF"] == (
        "PDF files need WeasyPrint: the library libpango-1.0-0 (Pango) cannot be loaded. Print the HTML report to PDF "
        "from the browser. Or: Install it."
    )
    assert lines[-1]["files"] == ["report.html"]
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "report.pdf").exists()


def test_missing_parts_are_reported(run: Run, reported: ReportedCase, tmp_path: Path) -> None:
    reported.slide.unlink()
    result = run("report", reported.folder, "--out", "report.html")
    assert result.exit_code == 1
    assert "failed: Image 3: " in result.stderr
    assert (tmp_path / "report.html").is_file()


def test_nothing_to_report_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    result = run("report", tmp_path, "--out", "report.html")
    assert result.exit_code == 2
    assert "expected the folder of a case" in result.stderr
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("existing", "out", "options", "expected"),
    [
        ("report.html", "report.html", [], "is not a report of napari-melanoma"),
        ("report.pdf", "report.html", ["--pdf"], "report.pdf exists, and is not a report of napari-melanoma"),
        ("", "report.pdf", [], "expected a file that ends with .html (--pdf also writes a PDF file)"),
    ],
)
def test_other_files_are_not_replaced(
    run: Run, reported: ReportedCase, tmp_path: Path, existing: str, out: str, options: list[str], expected: str
) -> None:
    if existing:
        (tmp_path / existing).write_text("mine", encoding="utf-8")
    result = run("report", reported.folder, "--out", out, *options)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())
    assert not existing or (tmp_path / existing).read_text(encoding="utf-8") == "mine"
