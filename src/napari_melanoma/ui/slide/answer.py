"""The answer of the Slide dock: what the map says of the reader's class, or what to do next."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject

from napari_melanoma.core.formatting import shorten_name
from napari_melanoma.ui.session.run_status import NO_SLIDE, RUNNING
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import READING, show_text

if TYPE_CHECKING:
    from napari_melanoma.core.headline import Headline
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.hosted_sections import HostedSections

REPORT_CHANGED = "Report changed after signature"
REFINED = "The map is refined while the analysis runs."


class AnswerController(QObject):
    """Show the answer for the displayed slide, and why it cannot be analyzed."""

    def __init__(self, controls: SlideControls, hosted: HostedSections) -> None:
        super().__init__(controls)
        self._controls, self._session = controls, hosted.session
        self._blocker = ""
        self._connections = Connections(controls)
        hosted.session_changed.connect(self._on_session)
        controls.visibility_changed.connect(self.update)
        controls.answer.link_activated.connect(lambda _: controls.picker.show_selected())

    def show_blocker(self, blocker: str) -> None:
        """State why the slide cannot be analyzed; empty if it can. A run has its own place."""
        self._blocker = "" if blocker in (RUNNING, NO_SLIDE) else blocker
        self.update()

    def _on_session(self, session: SlideSession | None) -> None:
        """Follow the results of another slide."""
        self._connections.end()
        self._session = session
        for value in () if session is None else (session.results, session.lesions, session.findings):
            self._connections.connect(value.changed, self.update)
        self.update()

    def update(self, _: object = None) -> None:
        controls, session, notice = self._controls, self._session, ""
        if controls.is_slide_hidden and controls.picker.slide is not None:
            name = html.escape(shorten_name(slide_display_name(controls.picker.slide.info)))
            show = controls.icons.link("show", "Show the slide")
            controls.answer.set_hint(f"'{name}' is hidden, and so are its results. {show}.")
        elif session is None:
            controls.answer.set_hint(READING)
        else:
            answer = resolve_answer(session, self._blocker)
            notice = self._blocker if answer.text else ""  # results keep their parts
            controls.answer.show_headline(answer, REPORT_CHANGED if session.synoptic.has_changed_values else "")
        show_text(controls.blocker_label, notice)


def resolve_answer(session: SlideSession, blocker: str) -> Headline:
    """Return the answer for the results that are shown; without any, ``blocker``: why the slide cannot be analyzed."""
    from napari_melanoma.slides.slide_answer import describe_slide_answer

    results, state = session.results.value, session.lesions.value
    heat, lesions = results.heatmap, None if state is None else state.lesions
    target = "" if state is None else state.source.target
    highest = None
    if heat is not None and heat.is_probability and heat.target == target:
        highest = float(np.fmax.reduce(heat.values, axis=None, initial=np.nan))  # NaN without tissue: not stated
    shown_anyway = results.shows_invalid
    found = describe_slide_answer(results.content, target, lesions, highest, is_shown_anyway=shown_anyway)
    hint = blocker or (REFINED if results.is_running else "")
    return replace(found, parts=(hint,)) if hint and not found.text else found
