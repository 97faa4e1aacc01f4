"""The body map: a chart of the body on which a site is set by a click, the same as lists, and the lesions on it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.ui.body.canvas import BodyCanvas
from napari_melanoma.ui.body.marks import BodyMark
from napari_melanoma.ui.body.parts import Place
from napari_melanoma.ui.body.words import NOWHERE, title, words
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool

SIDE_PX = 92  # so that a narrow dock has room for the site
INVITATION = "Click where the lesion is."


class BodyMap(QWidget):
    """Shows where lesions are, and lets a person say where one is."""

    site_chosen = Signal(str, str)
    lesion_chosen = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "body_map", "Body map").setToolTip("")
        self._place: Place = NOWHERE
        self._marks: tuple[BodyMark, ...] = ()
        self.canvas = BodyCanvas(icons)
        self._said = QLabel()
        self._said.setAlignment(Qt.AlignmentFlag.AlignCenter)
        named(self._said, "body_said", "The site that is pointed at, or chosen").setToolTip("")
        self._word = named(StillCombo(), "body_site", "Body site", "The site as a word of a list")
        self._side = named(StillCombo(), "body_side", "Side", "Side of the patient's body")
        self._unknown = tool("body_unknown", "Site unknown", "Nobody knows where it is", "Unknown")
        self._apart = quiet()
        self._build()
        self.canvas.site_chosen.connect(self._on_clicked)
        self.canvas.lesion_chosen.connect(self.lesion_chosen)
        self.canvas.pointed.connect(self._on_pointed)
        self._word.activated.connect(self._on_listed)
        self._side.activated.connect(self._on_listed)
        self._unknown.clicked.connect(self._on_unknown)
        self._show()

    @property
    def place(self) -> Place:
        """Site and laterality that are shown as chosen."""
        return self._place

    def set_site(self, site: str, laterality: str = "") -> None:
        """Show a site as chosen; nothing is signalled."""
        self._place = (site, laterality)
        self._show()

    def set_lesions(self, marks: Sequence[BodyMark], current: str = "") -> None:
        """Show lesions as numbered dots."""
        self._marks = tuple(marks)
        self.canvas.set_marks(self._marks, current)
        self._tell_apart()

    def _build(self) -> None:
        bold = QFont(self.font())
        bold.setBold(True)
        for word in ("", *words()):
            self._word.addItem(title(word), word)
            if word in taxonomy("site").words:
                self._word.setItemData(self._word.count() - 1, bold, Qt.ItemDataRole.FontRole)
        for side, said in (("", "side unknown"), *((each, each) for each in taxonomy("laterality").words[:-1])):
            self._side.addItem(said, side)
        self._word.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._side.setMaximumWidth(SIDE_PX)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self._said)
        column.addWidget(self.canvas, 1)
        column.addWidget(row(self._word, self._side, self._unknown, stretch=0))
        column.addWidget(self._apart)

    def _show(self) -> None:
        """Show the place on the chart, in the lists and in words."""
        self.canvas.set_place(self._place)
        for box, value in ((self._word, self._place[0]), (self._side, self._place[1])):
            box.setCurrentIndex(max(0, box.findData("" if value == UNKNOWN else value)))
        self._on_pointed(*NOWHERE)

    def _tell_apart(self) -> None:
        """Say which lesions are not on the chart."""
        drawn = self.canvas.mark_places()
        apart = [f"{m.label} ({title(m.site, m.laterality)})" for m in self._marks if m.identity not in drawn]
        self._apart.setText(f"Not on the chart: {', '.join(apart)}" if apart else "")
        self._apart.setVisible(bool(apart))

    def _choose(self, place: Place) -> None:
        self._place = place
        self._show()
        self.site_chosen.emit(*place)

    def _on_pointed(self, site: str, laterality: str) -> None:
        chosen = title(*self._place) if self._place[0] else INVITATION
        self._said.setText(title(site, laterality) if site else chosen)

    def _on_clicked(self, site: str, laterality: str) -> None:
        self._choose((site, laterality))

    def _on_listed(self, index: int) -> None:
        word = self._word.currentData()
        self._choose((word or UNKNOWN, self._side.currentData() if word else ""))

    def _on_unknown(self, checked: bool = False) -> None:
        self._choose((UNKNOWN, ""))
