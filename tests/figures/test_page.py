"""HTML pages share one style, are complete and escaped."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.evaluation.pipeline import Page, write_evaluation_page
from napari_melanoma.figures.page import data_uri, png_uri


def test_pictures_are_part_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"dot")
    assert png_uri(tmp_path / "dot.png") == "data:image/png;base64,ZG90"
    assert data_uri(b"dot", "image/jpeg") == "data:image/jpeg;base64,ZG90"


def test_a_page_has_the_style_and_its_figures(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"dot")
    path, figures = tmp_path / "page.html", {"Dots": tmp_path / "dot.png"}
    table = ("Metrics", ("JA",), [("0.9",)])
    write_evaluation_page(Page("A & B", "2 images", "well", [table], figures, [], ["note"], ["beware"]), path)
    page = path.read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in page
    assert 'alt="Dots" src="data:image/png;base64,ZG90"' in page
    assert page.count("<style>") == page.count("body { font: 16px/1.5 system-ui, sans-serif;") == 1
    assert '<p class="notice">beware</p>' in page
    assert "Research use only" in page


def test_an_evaluation_page_lists_next_steps(tmp_path: Path) -> None:
    write_evaluation_page(Page("A", "2 images", "well", [], next="Look & see."), tmp_path / "page.html")
    assert "<p>Look &amp; see.</p>" in (tmp_path / "page.html").read_text(encoding="utf-8")
