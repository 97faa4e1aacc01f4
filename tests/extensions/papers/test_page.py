"""The HTML page of a reproduction has the style of all pages, is complete and escaped."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.extensions.papers.figures import NextStep, ReportPicture, write_page


def test_the_page_shows_pictures_omissions_and_next_steps(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"dot")
    picture = ReportPicture("Dots", tmp_path / "dot.png", "Not drawn: A & B.")
    steps = [NextStep("Train <it>", "train a")]
    write_page("A & B", ["about"], [], [picture], steps, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in page
    assert 'alt="Dots" src="data:image/png;base64,ZG90"' in page
    assert page.count("<style>") == page.count("body { font: 16px/1.5 system-ui, sans-serif;") == 1
    assert '<p class="notice">' not in page
    assert '<p class="quiet">Not drawn: A &amp; B.</p>' in page
    assert "<li>Train &lt;it&gt;: <code>train a</code></li>" in page
    assert "Research use only" in page
