"""Validation of scales: a table of values in files and the accepted scale."""

import struct

import numpy as np
import pytest
import tifffile

from napari_melanoma.slides.reading.opening import is_slide, open_slide
from napari_melanoma.slides.reading.slide import validate_scale

CASES = {
    "nothing stated": ((None, None, None), None, "the file states no pixel size"),
    "20x": ((0.5, 0.5, 20), (0.5, 0.5), None),
    "sides that differ": ((0.5, 0.45, 20), (0.5, 0.45), "not square: 0.45 um wide and 0.5 um high"),
    "sides that hardly differ": ((0.22710, 0.22709, 40), (0.22710, 0.22709), None),
    "dots of a print": ((84.67, 84.67, None), None, "states 84.67 x 84.67 um per pixel, but slides have 0.02 to 20"),
    "a true overview": (
        (28.97, 28.97, None),
        None,
        "If this is an overview image, open the slide at its full resolution",
    ),
    "cells of a tenth of a millimeter": (
        (16.78, 16.78, None),
        (16.78, 16.78),
        "no model can be used at this scale: the file states 16.78 um per pixel",
    ),
    "what the coarsest model expects": ((4.0, 4.0, None), (4.0, 4.0), None),
    "an inch for a centimetre": ((1.27, 1.27, 20), (1.27, 1.27), "does not match an objective of 20x"),
    "a centimetre for an inch": ((0.1, 0.1, 40), (0.1, 0.1), "its unit may be wrong"),
    "half of what is usual": (
        (0.4965, 0.4965, 10),
        (0.4965, 0.4965),
        "is usual for 20x, but the file states an objective of 10x",
    ),
    "twice what is usual": ((1.0, 1.0, 20), (1.0, 1.0), "is usual for 10x"),
    "a camera that is a little finer": ((0.2277, 0.2277, 40), (0.2277, 0.2277), None),
    "zero": ((0.0, 0.0, None), None, "states 0 x 0 um"),
    "no number": ((float("nan"), 0.5, None), None, "is ignored"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_believed(case: str) -> None:
    (y_um, x_um, magnification), believed, warning = CASES[case]
    scale = validate_scale(y_um, x_um, magnification)
    size = scale.pixel_size
    assert (None if size is None else (size.y_um, size.x_um)) == believed
    assert scale.magnification == magnification
    if warning is None:
        assert scale.warnings == ()
    else:
        assert warning in " ".join(scale.warnings)


def test_scanners_whose_cameras_have_small_pixels_are_believed() -> None:
    assert validate_scale(0.2325, 0.2325, 20, fine_camera=True).warnings == ()
    assert "is usual for 40x" in validate_scale(0.2325, 0.2325, 20).warnings[0]
    assert "does not match an objective" in validate_scale(0.1, 0.1, 20, fine_camera=True).warnings[0]


TAGS = {
    "centimetres": ({"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}, (0.25, 0.5), "not square"),
    "inches": ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, (0.5, 0.5), ""),
    "no unit": ({"resolution": (20000, 20000), "resolutionunit": "NONE"}, None, "have no unit"),
    "a print": ({"resolution": (72, 72), "resolutionunit": "INCH"}, None, "352.8 x 352.8"),
    "a placeholder": ({"resolution": (1, 1), "resolutionunit": "NONE"}, None, "the file states no pixel size"),
}


@pytest.mark.parametrize("case", TAGS, ids=str)
def test_resolution_tags_in_any_unit(case: str, tmp_path) -> None:
    options, believed, warning = TAGS[case]
    data = np.zeros((64, 64, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", tile=(32, 32), metadata=None, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        size = slide.info.pixel_size
        assert (None if size is None else (size.y_um, size.x_um)) == (
            None if believed is None else pytest.approx(believed)
        )
        assert (warning in " ".join(slide.info.warnings)) if warning else slide.info.warnings == ()


def test_resolution_tags_of_another_type_state_no_scale(tmp_path) -> None:
    data = np.zeros((64, 64, 3), np.uint8)
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", tile=(32, 32), metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        entries = [tiff.pages[0].tags[name].offset for name in ("XResolution", "YResolution")]
    with (tmp_path / "a.tif").open("r+b") as file:
        for entry in entries:
            file.seek(entry + 2)
            file.write(struct.pack("<HIf", 11, 1, 20000.0))  # a floating-point number instead of a fraction
    assert is_slide(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.info.pixel_size is None


@pytest.mark.parametrize(("unit", "believed"), [("µm", 0.25), ("nm", None), ("mm", None), ("pixel", None)])
def test_a_unit_of_ome_that_lies_is_not_believed(unit: str, believed: float | None, tmp_path) -> None:
    message = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    message |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb", metadata=message)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        size = slide.info.pixel_size
        assert (None if size is None else size.x_um) == believed
        assert bool(slide.info.warnings) is (believed is None)
