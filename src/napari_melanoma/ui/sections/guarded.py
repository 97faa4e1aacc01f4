"""Sections of plug-ins: an error of their code is shown in their frame, and does not affect other sections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.plugins import Plugin, describe_plugin_error, expect
from napari_melanoma.ui.sections.base import ImageSection
from napari_melanoma.ui.session.document import DocumentKind
from napari_melanoma.ui.widgets.style import problem_label

log = logging.getLogger(__name__)


class GuardedSection:
    """Makes the widgets of a section of a plug-in; after an error, a widget that states it."""

    def __init__(self, plugin: Plugin, create: type[ImageSection[Any]]) -> None:
        self.plugin, self._create, self._problem = plugin, create, ""
        self.documents: tuple[DocumentKind[Any], ...] = ()
        self.awaited: tuple[DocumentKind[Any], ...] = ()
        self.tools: tuple[str, ...] = ()
        self.parts = (self._show_parts,)
        try:
            self.documents = tuple(expect(kind, DocumentKind, "documents") for kind in create.documents)
            self.awaited = tuple(expect(kind, DocumentKind, "awaited") for kind in create.awaited)
            self.tools = tuple(expect(tool, str, "tools") for tool in create.tools)
        except Exception as error:  # noqa: BLE001 - whatever the code of a plug-in raises
            self._problem = self._describe(error)

    def __call__(self, session: Any) -> QWidget:  # noqa: ANN401 - of any image
        """Return the widget for an image."""
        if self._problem:
            return problem_label(self._problem)
        try:
            for part in self._create.parts:
                session.part(part)
            made = self._create(session)
            toggle = made.toggle_tool
            made.toggle_tool = partial(self._toggle_tool, toggle)  # type: ignore[method-assign]
        except Exception as error:  # noqa: BLE001 - whatever the code of a plug-in raises
            return problem_label(self._describe(error))
        return made

    def has_content(self, session: Any) -> bool:  # noqa: ANN401 - of any image
        """Whether the section shows stored values of an image; False if that fails."""
        try:
            return bool(self._create.has_content(session))
        except Exception as error:  # noqa: BLE001 - whatever the code of a plug-in raises
            self._describe(error)
            return False

    def _show_parts(self, session: Any) -> None:  # noqa: ANN401 - of any image
        try:
            for part in self._create.parts:
                session.part(part)
        except Exception as error:  # noqa: BLE001 - shown when the section is expanded, which fails in the same way
            self._describe(error)

    def _toggle_tool(self, toggle: Callable[[str], None], name: str) -> None:
        """Start or stop a tool; raises ``PluginError``, since the widgets are already displayed."""
        try:
            toggle(name)
        except Exception as error:
            raise self.plugin.make_error(describe_plugin_error(error)) from error

    def _describe(self, error: Exception) -> str:
        problem = str(self.plugin.make_error(describe_plugin_error(error)))
        log.warning("%s", problem, exc_info=error)
        return problem
