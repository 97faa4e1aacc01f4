"""Name, warnings and metadata of a slide in the Slide dock."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import ScaleChange, SlideNotes
from napari_melanoma.slides.reading.slide import NOT_STATED, LevelInfo, SlideInfo, validate_scale
from napari_melanoma.ui.slide.context import FLUORESCENCE_NOTICE, NO_SCALE, describe_slide, list_slide_warnings
from napari_melanoma.ui.slide.slide_picker import SlideMetadataLabel
from napari_melanoma.ui.viewer.slide_layers import slide_display_name

CUT_OFF, PRINT = "the file is truncated: 3 tiles", "the file says 84.67 x 84.67 um per pixel: as of a print"
UM = {"file": PixelSize(0.5, 0.5, "file"), "given": PixelSize(0.5, 0.5, "given")}


SET = ScaleChange(UM["file"], UM["given"], "A. Meyer", "2026-01-01T10:00:00+00:00")


def known(path="slides/a.svs", name="a", doubts=(), **more):
    """Return metadata of a truncated slide."""
    levels = (LevelInfo(100, 80, 1.0),)
    return SlideInfo(Path(path), name, "TIFF", levels, warnings=(CUT_OFF, *doubts), scale_warnings=doubts, **more)


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (known(doubts=(NOT_STATED,)), [CUT_OFF, NO_SCALE]),
        (known(doubts=(PRINT,)), [CUT_OFF, NO_SCALE, PRINT]),
        (known(doubts=(PRINT,), pixel_size=UM["file"]), [CUT_OFF, PRINT]),
        (known(doubts=(PRINT,), pixel_size=UM["given"]), [CUT_OFF]),
        (known(kind="fluorescence", pixel_size=UM["file"]), [CUT_OFF, FLUORESCENCE_NOTICE]),
    ],
    ids=["no scale", "a scale that is not believed", "a doubtful scale", "a scale by the user", "fluorescence"],
)
def test_user_scale_removes_only_scale_warnings(info, text):
    assert list_slide_warnings(info) == text


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        (SlideNotes(pixel_size=UM["given"]), "0.5 µm/px (set on this computer)"),
        (SlideNotes(pixel_size=UM["given"], scale_changes=(SET,)), "0.5 µm/px (set by A. Meyer)"),
        (SlideNotes(pixel_size=PixelSize(1, 1), scale_changes=(SET,)), "1 µm/px (set on this computer)"),
        (SlideNotes(pixel_size=PixelSize(1, 1, "ruler")), "1 µm/px (from a ruler, set on this computer)"),
    ],
    ids=["another program", "a reader", "another program after a reader", "a ruler"],
)
def test_a_scale_is_attributed_to_the_recorded_reader_only(notes, text):
    info = known(pixel_size=notes.pixel_size)
    assert describe_slide(info, scale_reader=notes.scale_reader).split("  ·  ")[0] == text


@pytest.mark.parametrize("um", [28.97, 16.78])
def test_scale_warning_has_no_command_line_hints(um):
    scale = validate_scale(um, um)
    text = " ".join(list_slide_warnings(known(doubts=scale.warnings, pixel_size=scale.pixel_size)))
    assert f"{um} " in text
    assert "Models expect 0.25 to 4 um per pixel" in text
    assert "set the correct one under Scale in the Slide dock" in text
    assert "--" not in text


@pytest.mark.parametrize(
    ("path", "name", "text"),
    [
        ("slides/CMU-1.svs", "CMU-1", "CMU-1.svs"),
        ("slides/core.ome.tif", "core", "core.ome.tif"),
        ("slides/CMU-1_dicom/1.2.826.0.1.dcm", "CMU-1_dicom", "CMU-1_dicom"),
    ],
)
def test_slide_with_numbered_files_is_named_by_its_folder(path, name, text):
    assert slide_display_name(known(path, name)) == text


def test_level_sizes_are_listed_once(qtbot):
    facts = SlideMetadataLabel()
    qtbot.addWidget(facts)
    facts.show_info(known(properties={"openslide.level[0].height": "100", "hamamatsu.Product": "C9600"}))
    assert "C9600" in facts.text()
    assert "height" not in facts.text()
