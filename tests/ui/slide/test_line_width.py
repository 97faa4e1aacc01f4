"""Line widths on a slide are constant on the screen, without other changes of the shapes."""

from __future__ import annotations

import numpy as np
import pytest
from region_access import are_read, document, regions
from slide_fixtures import UNSEEN

from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.notes import SlideMeasurement
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.shape_layers import MAX_WIDTH_RATIO, WIDTHS

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def on_screen(person, name):
    """Return the line widths of a layer in screen pixels."""
    layer, slide = person.viewer.layers[name], person.dock.slide
    return np.array(layer.edge_width) * slide.pixel_um[0] * get_camera(person.viewer).zoom


def fits(person, role):
    """Return whether a layer has lines of about the expected width."""
    widths = on_screen(person, f"section {role}")
    return len(widths) > 0 and (abs(np.log(widths / WIDTHS[role])) <= np.log(MAX_WIDTH_RATIO) + 1e-6).all()


def test_lines_have_a_constant_width_on_the_screen(analysed):
    person, dock = analysed, analysed.dock
    # Lines of lesions and measurements.
    measures = (SlideMeasurement("line", ((10.0, 10.0), (10.0, 200.0))),)
    person.session.measures.apply(lambda _: measures)
    before = person.session.lesions.value, measures
    for zoom in (4.0, 0.8, 60.0):  # below 0.8 lines are capped at a hundredth of so small a slide
        get_camera(person.viewer).zoom = zoom
        for role in ("lesions", "measures"):
            person.until(lambda role=role: fits(person, role))
        person.waits()
        assert (person.session.lesions.value, person.session.measures.value) == before

    # What is drawn next has this width at once, without another change of the magnification.
    person.session.measures.undo()
    person.session.measures.redo()
    dock.analysis.show_frame((10, 10, 100, 100))
    for role in ("measures", "view"):
        assert fits(person, role), role
    layer = person.viewer.layers["section measures"]
    assert layer.current_edge_width == pytest.approx(layer.edge_width[0])

    # Lines of depth and regions.
    square = ((10.0, 10.0), (10.0, 110.0), (110.0, 110.0), (110.0, 10.0))
    depth = dock.sections.hosted.session.depth
    person.until(lambda: depth.is_ready and are_read(person))
    depth.set_line(((60.0, 100.0), (460.0, 100.0)))
    document(person).apply(lambda _: (Annotation((Polygon(square),), "tumour"),))
    person.waits()
    before = depth.value, regions(person)
    for zoom in (2.0, 60.0):
        get_camera(person.viewer).zoom = zoom
        for role in ("depth", "regions"):
            person.until(lambda role=role: fits(person, role))
        person.waits()
        assert (depth.value, regions(person)) == before
    # The line is drawn with its new width while it is selected, too.
    layer, drawn = person.viewer.layers["section depth"], []
    layer.selected_data = {0}
    layer.events.edge_width.connect(drawn.append)
    get_camera(person.viewer).zoom = 2.0
    person.until(lambda: fits(person, "depth"))
    layer.events.edge_width.disconnect(drawn.append)
    assert drawn
    assert not document(person).can_redo
    document(person).undo()
    assert not document(person).can_undo
