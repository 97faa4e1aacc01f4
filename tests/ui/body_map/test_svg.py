"""The drawings of reports, which are written without Qt, are those of the body map."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.reports.body_map import find_spot, read_chart
from napari_melanoma.ui.body_map.chart import get_chart


def test_the_stored_drawings_are_those_of_the_body_map(
    repository: Path, monkeypatch: pytest.MonkeyPatch, qapp: object
) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    import body_map_svg

    assert body_map_svg.describe_chart(get_chart()) == read_chart(), "run scripts/body_map_svg.py"


@pytest.mark.parametrize(("word", "side"), [("cheek", "right"), ("upper back", "left"), ("nail", ""), ("face", "left")])
def test_marks_are_where_the_body_map_has_them(word: str, side: str, qapp: object) -> None:
    spot, stored = get_chart().find_site(word, side), find_spot(word, side)
    assert (spot is None) == (stored is None)
    if spot is not None and stored is not None:
        assert stored.drawing == spot.drawing
        assert (stored.x, stored.y) == pytest.approx([spot.anchor.x(), spot.anchor.y()], abs=0.01)
