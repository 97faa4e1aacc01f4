"""Every text names the width of a pixel, a slide or a lesion before its height, as those of images are stated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import napari_melanoma
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.readings import DepthReading, format_line_label, reading_warnings
from napari_melanoma.depth.report_blocks import reading_block
from napari_melanoma.depth.shown_blocks import compare_blocks
from napari_melanoma.depth.tumor_maps import describe_implausible_size
from napari_melanoma.reports.lesion import describe_photograph
from napari_melanoma.reports.slide import SlideReading, describe_scale
from napari_melanoma.slides.reading.slide import LevelInfo, ScaleInfo, SlideInfo, override_pixel_size, validate_scale
from napari_melanoma.slides.results import describe_other_scale
from napari_melanoma.slides.slide_content import format_sourced_scale
from napari_melanoma.ui.sections.lesions.resolve import describe_lesion
from napari_melanoma.ui.slide.context import list_slide_facts
from napari_melanoma.ui.viewer.photographs import format_pixel_size

SIZE, OTHER = PixelSize(0.5, 0.25, "file"), PixelSize(2.0, 2.0)
READING = DepthReading(reader="A", when="2026-01-02", line=((0, 0), (9, 0)), mm=1.8, um_per_px=(0.5, 0.25))
INFO = SlideInfo(Path("a.tif"), "a", "TIFF", (LevelInfo(500, 250, 1.0),), pixel_size=SIZE)
LESION: Any = SimpleNamespace(
    index=1, label="malignant", origin="found", label_origin="model", malignancy=0.9, class_probability=0.9,
    probability=0.9, area_mm2=None, perimeter_mm=None, height_mm=0.5, width_mm=0.25, extent=1.0, tissue_share=0.5,
)  # fmt: skip


def reading_scale() -> str:
    block = reading_block(READING, SIZE)
    scale = None if block is None else block.find("um_per_px")
    return "" if scale is None else scale.text


TEXTS: dict[str, Callable[[], str]] = {
    "home": lambda: format_scale(0.5, 0.25),
    "signature": lambda: format_sourced_scale((0.5, 0.25, "file")),
    "signed line": reading_scale,
    "line at another scale": lambda: format_line_label(READING, OTHER),
    "warning on a reading": lambda: " ".join(reading_warnings(READING, OTHER)),
    "results of another scale": lambda: describe_other_scale({"mpp": (0.5, 0.25)}, OTHER),
    "implausible scale": lambda: describe_implausible_size(PixelSize(50, 25), (0.5, 0.25)).replace("50", "0.5"),
    "scale of a file": lambda: validate_scale(0.5, 0.05, None, "file").warnings[0].replace("0.05", "0.25"),
    "scale set for a slide": lambda: override_pixel_size(ScaleInfo(OTHER, None), SIZE).warnings[0],
    "facts of a slide": lambda: " ".join(list_slide_facts(INFO)[:1]),
    "report of a slide": lambda: describe_scale(SlideReading(INFO, None, READING, READING, Validity(), ())),  # type: ignore[arg-type]
    "report of a photograph": lambda: describe_photograph({"image_shape": (9, 9), "pixel_size_um": SIZE.to_json()}),
    "photograph": lambda: format_pixel_size(SIZE),
    "lesion": lambda: describe_lesion(LESION),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_width_comes_before_the_height(name: str) -> None:
    text = TEXTS[name]()
    assert "0.25 x 0.5" in text
    assert "0.5 x 0.25" not in text


def test_a_signature_of_a_version_that_named_the_height_first_stays_valid() -> None:
    now = reading_block(READING, SIZE)
    assert now is not None
    signed = now.model_copy(
        update={
            "blocks": tuple(
                one.model_copy(update={"text": "0.5 x 0.25 µm per pixel"}) if one.key == "um_per_px" else one
                for one in now.blocks
            )
        }
    )
    assert signed != now
    assert compare_blocks((signed,), (now,)) == []


def test_no_text_names_the_height_first() -> None:
    root = Path(napari_melanoma.__file__).parent
    height_first = re.compile(r"""\{[^{}]*\b(y_um|height_mm|\["y"\]|\['y'\])[^{}]*\} x \{""")
    found = [path.name for path in root.rglob("*.py") if height_first.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_sizes_that_are_shown_alike_are_stated_once() -> None:
    assert format_scale(0.50000001, 0.5) == "0.5"
    assert format_scale(1000.0, 1000.0) == "1000"
