"""The documentation lists all measurements and the reference colors."""

from __future__ import annotations

import re
from pathlib import Path

from napari_melanoma.imaging.color import ABCD_COLORS
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS


def page(repository: Path) -> str:
    return (repository / "docs" / "reference" / "measurements-reference.md").read_text(encoding="utf-8")


def test_every_column_is_explained(repository: Path) -> None:
    # `max_diameter_px`, `_mm` names two columns.
    text = re.sub(r"`(\w+)_px`, `_mm`", r"`\1_px`, `\1_mm`", page(repository))
    explained = set(re.findall(r"`(\w+)`", text))
    assert set(MEASUREMENT_COLUMNS) <= explained


def test_the_reference_colors_are_those_of_the_code(repository: Path) -> None:
    text = page(repository)
    assert "| " + " | ".join(ABCD_COLORS) + " |" in text
    assert "| " + " | ".join(", ".join(map(str, color)) for color in ABCD_COLORS.values()) + " |" in text
