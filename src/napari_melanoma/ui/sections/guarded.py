"""Sections of plug-ins: an error of their code is shown in their frame, and does not affect other sections."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_melanoma.core.plugins import describe_plugin_error
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.widgets.style import problem_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qtpy.QtWidgets import QWidget

    from napari_melanoma.core.plugins import Plugin
    from napari_melanoma.ui.session.slide import SlideSession

log = logging.getLogger(__name__)


class GuardedSection(Section):
    """Calls the section of a plug-in; ``create``: its class."""

    def __init__(self, plugin: Plugin, create: Callable[[], Section]) -> None:
        self.plugin = plugin
        self._section = Section()  # if it cannot be created
        self._problem = ""
        with self._guarded():
            self._section = create()
            self.documents, self.tools = tuple(self._section.documents), tuple(self._section.tools)

    def show(self, session: SlideSession) -> None:
        with self._guarded():
            self._section.show(session)

    def open(self, session: SlideSession) -> QWidget:
        with self._guarded():
            if not self._problem:
                return self._section.open(session)
        return problem_label(self._problem)

    def toggle_tool(self, name: str) -> None:
        with self._guarded():
            self._section.toggle_tool(name)

    def close(self) -> None:
        with self._guarded():
            self._section.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the code of a plug-in raises
            self._problem = str(self.plugin.make_error(describe_plugin_error(error)))
            log.warning("%s", self._problem, exc_info=True)
