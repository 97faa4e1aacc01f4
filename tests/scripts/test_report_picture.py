"""The picture of a report for the documentation has no white pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_melanoma.figures.page import Report
from napari_melanoma.reports.pdf import write_pdf

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_a_report_with_too_few_pages_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("PyQt6.QtPdf")
    write_pdf(Report("Title", "", ()), tmp_path / "report.pdf")
    code = (
        "from pathlib import Path; from report_picture import draw_pages; draw_pages(Path('report.pdf'), Path('a.png'))"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.append({str(SCRIPTS)!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "expected at least 4 pages, found 1" in done.stderr
    assert not (tmp_path / "a.png").exists()
