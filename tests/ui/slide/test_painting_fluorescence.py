"""Fluorescence slides are not painted, and their stored strokes stay as they are."""

from __future__ import annotations

import pytest
from fake_slides import draw_fluorescence, draw_slide
from qtpy.QtWidgets import QLabel
from slide_fixtures import UNSEEN

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, read_stroke_file, write_strokes
from napari_melanoma.ui.sections.paint.mapping import list_paintable
from napari_melanoma.ui.sections.paint.section import FLUORESCENCE

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def test_a_fluorescence_slide_states_where_it_is_fitted_and_keeps_its_strokes(person, tmp_path):
    person.opens_slides(draw_fluorescence(tmp_path / "cells.ome.tif"))
    folder, path = person.dock.result_location.folder, person.dock.slide.info.path
    folder.mkdir(parents=True, exist_ok=True)
    channels = ChannelChoice.from_text("DAPI=1:9,FITC=2:8,FITC=2:8")
    stroke = Stroke("s", "Tumor", "brush", ((9.0, 9.0), (20.0, 20.0)), 3.0)
    write_strokes(folder / STROKES, (stroke,), {"Tumor": (1, 2, 3)}, channels=channels)
    before = (folder / STROKES).read_bytes()
    person.dock.close_slide()
    person.waits()
    person.opens_slides(path)
    person.opens_section("Paint")
    person.waits()
    assert person.finds(QLabel, "section_problem").text() == FLUORESCENCE
    assert (folder / STROKES).read_bytes() == before
    assert read_stroke_file(folder / STROKES).channels == channels

    # Its strokes do not train the classifier of a brightfield slide.
    person.opens_slides(draw_slide(tmp_path / "bright.tif"))
    person.waits()
    session = person.session
    assert len(list(session.sessions)) == 2
    assert list_paintable(session) == [session]
