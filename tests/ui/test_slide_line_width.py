"""Outlines on a slide: as wide on the screen at every magnification, and nothing else of them changes by that."""

from __future__ import annotations

import numpy as np
import pytest
from slide_stage import FIXTURES

from napari_melanoma.io.slide_notes import Measure
from napari_melanoma.ui.slide.camera import camera
from napari_melanoma.ui.slide.line_width import SCREEN_PX, TOO_WIDE

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)


def on_screen(person, name):
    """Width of the lines of a layer in pixels of the screen."""
    layer, slide = person.viewer.layers[name], person.dock.slide
    return np.array(layer.edge_width) * slide.um[0] * camera(person.viewer).zoom


@pytest.mark.one_qt
@pytest.mark.parametrize("zoom", [0.5, 4.0, 60.0])
def test_lines_can_be_seen_and_hide_little_at_every_magnification(analysed, zoom):
    person, dock = analysed, analysed.dock
    dock.around.measuring.show_measures(())
    dock.around.measuring._go(dock.around.measuring._history.then((Measure("line", ((10.0, 10.0), (10.0, 200.0))),)))
    dock.around.measuring._draw()
    before = dock.lesions.findings, dock.around.measuring.measures
    camera(person.viewer).zoom = zoom
    for name in ("section lesions", "section measures"):
        person.until(lambda name=name: (abs(np.log(on_screen(person, name) / SCREEN_PX)) <= np.log(TOO_WIDE)).all())
    person.waits()
    assert (dock.lesions.findings, dock.around.measuring.measures) == before
