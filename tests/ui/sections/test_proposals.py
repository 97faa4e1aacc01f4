"""Masks to choose from on a photograph: what the pointer finds, and when it does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_melanoma.ui.sections.mask import proposals
from napari_melanoma.ui.sections.mask.proposals import HINT, ProposalTool
from napari_melanoma.ui.viewer.photographs import find_layer, identify_photographs

SIDE = 100
REACHES = (10, 20, 30)  # of the masks around the middle, the smallest first


def make_margins(reach: int) -> np.ndarray:
    margins = np.full((SIDE, SIDE), -1, np.float32)
    margins[50 - reach : 50 + reach, 50 - reach : 50 + reach] = 1
    return margins


HYPOTHESES: Any = SimpleNamespace(
    margins=np.stack([make_margins(reach) for reach in REACHES]),
    qualities=np.array([0.5, 0.9, 0.7], np.float32),
    by_area=[0, 1, 2],
)


class Status:
    """The last message."""

    text = ""

    def end_message(self, message):
        if message == self.text:
            self.text = ""

    def show_message(self, message: str) -> None:
        self.text = message


@pytest.fixture
def chosen() -> list[int]:
    return []


@pytest.fixture
def tool(chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> ProposalTool:
    """The tool on a photograph whose mask is the middle one of three."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((SIDE, SIDE, 3), np.uint8), name="mole", rgb=True)
    identify_photographs(viewer)
    session: Any = SimpleNamespace(
        viewer=viewer,
        image=image,
        is_open=True,
        displayed=SimpleNamespace(value=True),
        services=SimpleNamespace(status=Status()),
    )
    monkeypatch.setattr(proposals, "find_hypotheses", Mock(return_value=(HYPOTHESES, 1)))
    made = ProposalTool(session, chosen.append)
    made.session = session
    made.update()
    made.start()
    return made


def press(tool: Any, position: tuple[float, float], end: tuple[float, float] | None = None, **values: Any) -> None:
    """Press and release the mouse on the canvas, with the callbacks of the viewer."""
    event = SimpleNamespace(position=position, pos=position, type="mouse_press", button=1, modifiers=(), **values)
    viewer = tool.session.viewer
    running = [tool._on_press(viewer, event)] if tool._on_press in viewer.mouse_drag_callbacks else []
    for one in running:
        next(one, None)
    if end is not None:
        event.type, event.pos = "mouse_move", end
        for one in running:
            next(one, None)
    event.type = "mouse_release"
    for one in running:
        next(one, None)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        pytest.param((40, 50), [0], id="the smaller one"),
        pytest.param((79, 50), [2], id="the larger one"),
        pytest.param((30, 50), [], id="the current one"),
        pytest.param((50, 50), [], id="between outlines"),
        pytest.param((90, 50), [], id="too far away"),
    ],
)
def test_a_click_on_an_outline_chooses_its_mask(
    tool: ProposalTool, chosen: list[int], position: tuple[float, float], expected: list[int]
) -> None:
    press(tool, position)
    assert chosen == expected


def test_a_drag_a_brush_and_a_hidden_layer_choose_nothing(tool: Any, chosen: list[int]) -> None:
    viewer, on_outline = tool.session.viewer, (40, 50)
    press(tool, on_outline, end=(40, 70))
    brush = viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8))
    brush.mode = "paint"
    press(tool, on_outline)
    brush.mode = "pan_zoom"
    find_layer(viewer, tool.session.image, "proposals").visible = False
    press(tool, on_outline)
    assert chosen == []
    find_layer(viewer, tool.session.image, "proposals").visible = True
    before = len(viewer.mouse_drag_callbacks)
    tool.stop()
    press(tool, on_outline)
    assert (chosen, len(viewer.mouse_drag_callbacks), viewer.mouse_move_callbacks) == ([], before - 1, [])
    tool.start()
    press(tool, on_outline)
    assert chosen == [0]


def test_the_outline_under_the_pointer_is_wider_and_described(tool: Any) -> None:
    viewer, status = tool.session.viewer, tool.session.services.status
    layer = find_layer(viewer, tool.session.image, "proposals")
    assert (len(layer.data), len(set(layer.edge_width)), status.text) == (2, 1, HINT)
    (move,) = viewer.mouse_move_callbacks
    move(viewer, SimpleNamespace(position=(40, 50)))
    assert layer.edge_width[0] > layer.edge_width[1]
    assert (viewer.cursor.style, status.text) == (
        "pointing",
        "Mask 1 of 3, expected Jaccard 0.50. Click to use it.",
    )
    move(viewer, SimpleNamespace(position=(50, 50)))
    assert (len(set(layer.edge_width)), status.text) == (1, HINT)
    assert viewer.cursor.style != "pointing"


def test_keys_go_round_and_a_mask_without_proposals_has_no_outlines(
    tool: Any, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.step(1)
    tool.step(-1)
    assert chosen == [2, 0]
    monkeypatch.setattr(proposals, "find_hypotheses", Mock(return_value=None))
    tool.update()
    tool.step(1)
    assert (chosen, tool.session.services.status.text) == ([2, 0], "")
    assert not len(find_layer(tool.session.viewer, tool.session.image, "proposals").data)
