"""Validation of scales: a table of values in files and the accepted scale."""

import struct

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.depth.tumor_maps import describe_implausible_size
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import NOT_STATED, UNIT_UM, validate_scale
from napari_melanoma.ui.widgets.status_line import remove_option_hints

CASES = {
    "nothing stated": ((None, None, None), None, "the file states no pixel size"),
    "20x": ((0.5, 0.5, 20), (0.5, 0.5), None),
    "sides that differ": ((0.5, 0.45, 20), (0.5, 0.45), "not square: 0.45 um wide and 0.5 um high"),
    "sides that hardly differ": ((0.22710, 0.22709, 40), (0.22710, 0.22709), None),
    "dots of a print": ((84.67, 84.67, None), None, "states 84.67 x 84.67 um per pixel, but slides have 0.05 to 20"),
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
    "a tenth of the usual": ((0.05, 0.05, None), (0.05, 0.05), "0.05 um per pixel, but scanners have 0.1 or more"),
    "oil immersion": ((0.08, 0.08, 100), (0.08, 0.08), None),
    "too fine for any slide": ((0.025, 0.025, None), None, "states 0.025 x 0.025 um per pixel, but slides have 0.05"),
    "zero": ((0.0, 0.0, None), None, "states 0 x 0 um"),
    "no number": ((float("nan"), 0.5, None), None, "is ignored"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_validation_of_scales(case: str) -> None:
    (y_um, x_um, magnification), believed, warning = CASES[case]
    scale = validate_scale(y_um, x_um, magnification)
    size = scale.pixel_size
    assert (None if size is None else (size.y_um, size.x_um)) == believed
    assert scale.magnification == magnification
    if warning is None:
        assert scale.warnings == ()
    else:
        assert warning in " ".join(scale.warnings)


@pytest.mark.parametrize(
    ("um", "power", "suggested"),
    [(None, 20, "0.5"), (None, 40, "0.25"), (None, 10, "1"), (254.0, 40, "0.25"), (None, None, ""), (None, 0.01, "")],
)
def test_the_usual_pixel_size_of_an_objective_is_suggested_and_not_used(
    um: float | None, power: float | None, suggested: str
) -> None:
    scale = validate_scale(um, um, power)
    assert scale.pixel_size is None
    assert len(scale.warnings) == 1 + bool(suggested)
    if suggested:
        assert f"an objective of {power}x, with which scanners usually have about {suggested} um" in scale.warnings[1]
        assert f"command line: --mpp {suggested})" in scale.warnings[1]
        assert "--mpp" not in remove_option_hints(scale.warnings[1])


def test_scanners_with_small_pixels_are_accepted() -> None:
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


def test_resolution_tags_may_be_floating_point_numbers(tmp_path) -> None:
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
        assert slide.info.pixel_size.x_um == slide.info.pixel_size.y_um == 0.5


@pytest.mark.parametrize(("unit", "believed"), [("µm", 0.25), ("nm", None), ("mm", None), ("pixel", None)])
def test_an_implausible_ome_unit_is_rejected(unit: str, believed: float | None, tmp_path) -> None:
    message = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    message |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb", metadata=message)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        size = slide.info.pixel_size
        assert (None if size is None else size.x_um) == believed
        assert bool(slide.info.warnings) is (believed is None)


OME = """<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0">{objectives}</Instrument><Image ID="Image:0">{settings}<Pixels ID="Pixels:0"
DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeZ="1" SizeC="3" SizeT="1" {pixels}>
<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>"""


def write_ome(path, pixels="", objectives="", settings="", **options):
    text = OME.format(pixels=pixels, objectives=objectives, settings=settings)
    tags = [(270, "s", 0, text.encode(), True)]
    with tifffile.TiffWriter(path, ome=False) as tiff:
        data = np.zeros((64, 64, 3), np.uint8)
        tiff.write(data, photometric="rgb", tile=(32, 32), metadata=None, software=False, extratags=tags, **options)
    return path


def size_in(value: str, unit: str) -> str:
    return " ".join(f'PhysicalSize{axis}="{value}" PhysicalSize{axis}Unit="{unit}"' for axis in "XY")


LENGTHS = {
    # value and unit in the OME metadata, all of the same length of 0.4 um
    "pm": "400000",
    "\u00c5": "4000",
    "\u212b": "4000",
    "nm": "400",
    "\u00b5m": "0,4",
    "\u03bcm": "0.4",
    "mm": "4E-4",
    "cm": "0.00004",
    "dm": "4e-06",
    "m": "4e-7",
    "in": str(0.4 / 25400),
    "thou": str(0.4 / 25.4),
    "li": str(0.4 * 12 / 25400),
}


@pytest.mark.parametrize("unit", LENGTHS)
def test_pixel_sizes_of_ome_in_any_unit(unit: str, tmp_path) -> None:
    with open_slide(write_ome(tmp_path / "a.ome.tif", size_in(LENGTHS[unit], unit))) as slide:
        assert slide.info.pixel_size.x_um == pytest.approx(0.4)
        assert slide.info.pixel_size.y_um == pytest.approx(0.4)
        assert slide.info.warnings == ()


def test_unit_names_are_those_of_ome_zarr() -> None:
    names = ("angstrom", "picometer", "nanometer", "micrometer", "millimeter", "centimeter", "decimeter", "meter")
    assert [UNIT_UM[name] for name in names] == [1e-4, 1e-6, 1e-3, 1, 1e3, 1e4, 1e5, 1e6]


UNUSABLE = {
    "an unknown unit": (size_in("0.25", "reference frame"), "0.25 x 0.25 in the unit 'reference frame'"),
    "pixels": (size_in("1", "pixel"), "in the unit 'pixel', which is not a known length"),
    "one side only": ('PhysicalSizeX="0.25"', "a pixel size of '0.25', which is no height and width"),
    "no number": (size_in("auto", "nm"), "a pixel size of 'auto' x 'auto', which is no height and width"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_stated_pixel_size_that_cannot_be_used_is_quoted(name: str, tmp_path) -> None:
    pixels, quoted = UNUSABLE[name]
    with open_slide(write_ome(tmp_path / "a.ome.tif", pixels)) as slide:
        assert slide.info.pixel_size is None
        (warning,) = slide.info.warnings
    assert quoted in warning
    assert warning != NOT_STATED


def test_resolution_tags_replace_a_pixel_size_that_ome_does_not_state(tmp_path) -> None:
    options = {"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}
    with open_slide(write_ome(tmp_path / "a.ome.tif", **options)) as slide:
        assert (slide.info.pixel_size.y_um, slide.info.pixel_size.x_um) == (0.25, 0.5)
    with open_slide(write_ome(tmp_path / "b.ome.tif")) as slide:
        assert slide.info.warnings == (NOT_STATED,)


@pytest.mark.parametrize(
    ("stated", "um", "warning"),
    [("0,4990", 0.499, ""), ("0.2530 ", 0.253, ""), ("nan", None, "a pixel size of 'nan', which is not a number")],
)
def test_pixel_sizes_of_aperio(stated: str, um: float | None, warning: str, write_svs) -> None:
    with open_slide(write_svs(mpp=stated)) as slide:
        size = slide.info.pixel_size
        assert (None if size is None else size.x_um) == um
        assert (warning in slide.info.warnings[0]) if warning else slide.info.magnification == 20


OBJECTIVES = '<Objective ID="O:0" NominalMagnification="1.25"/><Objective ID="O:1" NominalMagnification="20"/>'


@pytest.mark.parametrize(
    ("objectives", "settings", "magnification"),
    [
        (OBJECTIVES, '<ObjectiveSettings ID="O:1"/>', 20),
        (OBJECTIVES, "", None),
        (OBJECTIVES, '<ObjectiveSettings ID="O:7"/>', None),
        ('<Objective ID="O:0" NominalMagnification="20"/>', "", 20),
    ],
    ids=["the second is used", "none is stated as used", "an unknown one is used", "there is only one"],
)
def test_the_objective_of_ome_is_the_one_that_was_used(objectives, settings, magnification, tmp_path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", size_in("0.5", "\u00b5m"), objectives, settings)
    with open_slide(path) as slide:
        assert slide.info.magnification == magnification
        assert slide.info.warnings == ()


SIZES = [(0.03, 0.03), (0.0499, 0.0499), (0.0501, 0.0501), (19.9, 19.9), (20.1, 20.1), (0.25, 0.9), (0.25, 1.1)]


@pytest.mark.parametrize(("y_um", "x_um"), SIZES)
def test_the_same_scales_are_implausible_on_opening_and_in_the_analysis(y_um: float, x_um: float) -> None:
    is_refused_by_analysis = describe_implausible_size(PixelSize(y_um, x_um), (10.0, 10.0)) != ""
    assert (validate_scale(y_um, x_um).pixel_size is None) == is_refused_by_analysis
