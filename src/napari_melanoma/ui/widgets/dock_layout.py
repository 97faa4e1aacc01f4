"""The layout that all docks share, from top to bottom: subject, act, answer, sections, notices and footer.

Only the sections scroll; everything else is always in view, and has the same height in all states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QFrame, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_melanoma.core.headline import Headline
from napari_melanoma.ui.widgets.pending import commit_typed
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import (
    HEIGHT_EVENTS,
    NO_LIMIT_PX,
    TALL,
    CollapsibleSection,
    column,
    named,
    tool_button,
)

ANSWER_LINES = 4  # two of the headline at most, and the gray text
MARGIN_PX, ROWS_PX = 6, 6
CARD_PADDING_PX = 6
FACTS_SEPARATOR = " · "


@dataclass(frozen=True)
class DockParts:
    """The parts of a dock, each from top to bottom.

    ``sections``: a scroll area, or several in a stack. ``notices``: texts that come and go.
    """

    sections: QWidget
    subject: Sequence[QWidget] = ()
    act: Sequence[QWidget] = ()
    answer: Sequence[QWidget] = ()
    notices: Sequence[QWidget] = ()
    footer: Sequence[QWidget] = ()


def lay_out_dock(dock: QWidget, parts: DockParts) -> tuple[QWidget, QWidget]:
    """Arrange the parts of a dock; return what is above the sections and what is below them."""
    head = column(*parts.subject, *parts.act, *parts.answer, spacing=ROWS_PX)
    foot = column(*parts.notices, *parts.footer, spacing=ROWS_PX)
    head.layout().setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, 0)
    foot.layout().setContentsMargins(MARGIN_PX, 0, MARGIN_PX, MARGIN_PX)
    whole = QVBoxLayout(dock)
    whole.setContentsMargins(0, 0, 0, 0)
    whole.setSpacing(ROWS_PX)
    whole.addWidget(head)
    whole.addWidget(parts.sections, 1)
    whole.addWidget(foot)
    return head, foot


class NameLabel(QElidingLabel):
    """A label for a name, such as of a file: elided in the middle, with the whole name as its tooltip."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Set the name and its tooltip."""
        super().setText(text)
        self.setToolTip(text)


class FactsLine(QElidingLabel):
    """One gray line of facts on what is open, elided at its end; the tooltip has a line for each fact."""

    def __init__(self, name: str, accessible_name: str) -> None:
        super().__init__()
        named(self, name, accessible_name).setToolTip("")
        self.setProperty("quiet", True)
        self.setTextFormat(Qt.TextFormat.PlainText)

    def set_facts(self, facts: Sequence[str]) -> None:
        """Show facts; empty ones are left out."""
        known = [fact for fact in facts if fact]
        self.setText(FACTS_SEPARATOR.join(known))
        self.setToolTip("\n".join(known))


class AnswerCard(QFrame):
    """The answer of a dock, pinned: a headline of at most two lines, and gray text in what is left of the lines.

    Its height is the same with every text. Of gray parts that do not fit, the number is stated, and all are in the
    tooltip. ``lines``: of both together. ``link_activated``: a link in the gray text.
    """

    link_activated = Signal(str)

    def __init__(self, name: str, accessible_name: str, lines: int = ANSWER_LINES) -> None:
        super().__init__()
        named(self, name, accessible_name).setToolTip("")
        self.setProperty("card", True)
        self._lines = lines
        self._headline = named(QLabel(), f"{name}_headline", accessible_name)
        self._headline.setTextFormat(Qt.TextFormat.PlainText)
        self._gray = named(QLabel(), f"{name}_details", f"{accessible_name}: details")
        self._gray.setProperty("quiet", True)
        self._gray.linkActivated.connect(self.link_activated)
        self._text = ""
        self._parts: Sequence[str] = ()
        self._separator = ""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*[CARD_PADDING_PX] * 4)
        layout.setSpacing(0)
        for label in (self._headline, self._gray):
            label.setWordWrap(True)
            label.setToolTip("")
            label.setIndent(0)
            label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
            layout.addWidget(label)
        layout.addStretch(1)
        self._fit()

    @property
    def headline(self) -> str:
        return self._text

    @property
    def details(self) -> str:
        """The whole gray text, also what does not fit."""
        return self._separator.join(self._parts)

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.headline, self.details) if part)

    def set_answer(
        self,
        headline: str,
        parts: Sequence[str] = (),
        *,
        separator: str = ", ",
        tip: str = "",
        is_fault: bool = False,
    ) -> None:
        """Show a headline and gray parts.

        ``tip``: a tooltip instead of the whole text. ``is_fault``: show the headline in the color of faults.
        """
        self._text = headline
        self._headline.setText(_join_units(headline))
        self._headline.setProperty("fault", is_fault)
        self._headline.style().unpolish(self._headline)
        self._headline.style().polish(self._headline)
        self._headline.setVisible(bool(headline))
        self._parts, self._separator = tuple(parts), separator
        self.setToolTip(tip or "\n".join(part for part in (headline, self.details) if part))
        self._fit()

    def show_headline(self, headline: Headline, *notes: str) -> None:
        """Show the headline of a result; ``notes``: before its parts, such as that it is outdated."""
        parts = [part for part in (*notes, *headline.parts) if part]
        tip = "\n".join(part for part in (headline.text, *parts, headline.detail) if part)
        is_fault = headline.tone == "invalid"
        self.set_answer(headline.text, parts, separator=FACTS_SEPARATOR, tip=tip, is_fault=is_fault)

    def set_hint(self, text: str) -> None:
        """Show in gray what to do next, as there is no answer yet."""
        self.set_answer("", (text,))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the gray text after a change of width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the texts after a change of font or style."""
        super().changeEvent(event)
        if event.type() in HEIGHT_EVENTS:
            self._fit()

    def _fit(self) -> None:
        width = max(1, self.width() - 2 * CARD_PADDING_PX)
        for label in (self._headline, self._gray):
            label.ensurePolished()
            label.setMinimumHeight(0)  # heightForWidth includes the limits
            label.setMaximumHeight(NO_LIMIT_PX)
        self._gray.setText("\n".join([TALL] * self._lines))
        height = self._gray.heightForWidth(width) + 2 * self._gray.frameWidth()  # two labels have two frames
        if self.minimumHeight() != height + 2 * CARD_PADDING_PX:
            self.setFixedHeight(height + 2 * CARD_PADDING_PX)
        taken = self._headline.heightForWidth(width) if self._headline.text() else 0
        for count in range(len(self._parts), -1, -1):
            left = len(self._parts) - count
            shown = [*self._parts[:count], *((f"and {left} more",) if left else ())]
            self._gray.setText(_join_units(self._separator.join(shown)))
            if self._gray.heightForWidth(width) <= height - taken or count <= 1:
                break
        for label in (self._headline, self._gray):
            label.setFixedHeight(label.heightForWidth(width) if label.text() else 0)
        self._gray.setVisible(bool(self._gray.text()))


def _join_units(text: str) -> str:
    """Keep numbers and the percent sign after them on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


class SummarySection(CollapsibleSection):
    """Rows that one gray line sums up, which a click on it shows or hides; whether they are shown is remembered."""

    def __init__(self, title: str, name: str, settings: DockSettings, rows: QWidget) -> None:
        super().__init__(title)
        named(self, name, title).setToolTip("")
        self.title_button.setProperty("quiet", True)
        self.add_widget(rows)
        if settings.is_section_open(name, False):
            self.expand()
        self.toggled.connect(lambda is_expanded: settings.set_section_open(name, is_expanded))

    def set_summary(self, facts: Sequence[str]) -> None:
        """Sum up the rows: facts such as the names of the chosen models; without any, the title."""
        text = FACTS_SEPARATOR.join(fact for fact in facts if fact) or self.title
        self.title_button.setText(text.replace("&", "&&"))
        self.title_button.setToolTip(f"Show or hide: {self.title}\n{text}")


def menu_button(
    name: str, text: str, tip: str, entries: Mapping[str, tuple[str, Callable[[], object]] | None]
) -> QToolButton:
    """Make a button that opens a menu, such as *Share*.

    ``entries``: text and function of the actions by object name; None for a line between two groups.
    """
    button = tool_button(name, text, tip, f"{text} ▾")
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
    menu = QMenu(button)
    menu.setToolTipsVisible(True)
    for action_name, entry in entries.items():
        if entry is None:
            menu.addSeparator()
            continue
        action = menu.addAction(entry[0])
        action.setObjectName(action_name)
        action.triggered.connect(commit_typed)
        action.triggered.connect(lambda _=False, run=entry[1]: run())
    button.setMenu(menu)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    return button
