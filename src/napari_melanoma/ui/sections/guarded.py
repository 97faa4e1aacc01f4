"""Sections of plug-ins: an error of their code is shown in their frame, and does not affect other sections."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.plugins import describe_plugin_error, expect
from napari_melanoma.ui.sections import SectionBase
from napari_melanoma.ui.session.document import DocumentKind
from napari_melanoma.ui.widgets.style import problem_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_melanoma.core.plugins import Plugin

log = logging.getLogger(__name__)


class GuardedSection(SectionBase[object]):
    """Calls the section of a plug-in; ``create``: its class.

    After an error, it is not available until the next image is displayed.
    """

    def __init__(self, plugin: Plugin, create: Callable[[], SectionBase[Any]]) -> None:
        self.plugin = plugin
        self._section: SectionBase[Any] = SectionBase()  # if it cannot be created
        self._problem = ""
        with self._guarded():
            created = create()
            self.documents = tuple(expect(kind, DocumentKind, "documents") for kind in created.documents)
            self.awaited = tuple(expect(kind, DocumentKind, "awaited") for kind in created.awaited)
            self.tools = tuple(expect(tool, str, "tools") for tool in created.tools)
            self.keeps_widget = bool(created.keeps_widget)
            self._section = created
        self._lasting_problem = self._problem

    def show(self, session: object) -> None:
        self._problem = self._lasting_problem
        with self._guarded():
            self._section.show(session)

    def open(self, session: object) -> QWidget:
        with self._guarded():
            if not self._problem:
                return expect(self._section.open(session), QWidget, "returned by open")
        return problem_label(self._problem)

    def has_content(self, session: object) -> bool:
        with self._guarded():
            return bool(self._section.has_content(session))
        return False

    def toggle_tool(self, name: str) -> None:
        """Start or stop a tool; raises ``PluginError``, since the widgets are already displayed."""
        try:
            self._section.toggle_tool(name)
        except Exception as error:
            raise self.plugin.make_error(describe_plugin_error(error)) from error

    def close(self) -> None:
        with self._guarded():
            self._section.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the code of a plug-in raises
            problem = str(self.plugin.make_error(describe_plugin_error(error)))
            self._problem = self._problem or problem
            log.warning("%s", problem, exc_info=True)
