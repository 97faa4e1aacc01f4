"""What a network goes by: its most telling features, each with the places of the slide that excite it most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.ui.look import named, row, tool
from napari_melanoma.ui.slide.strip import TileStrip
from napari_melanoma.ui.slide.watch import SuspiciousTile
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.layers import OpenSlide

AT_FIRST = 5  # features; the others when somebody asks
FIND = "Find the features that tell most, and the places of this slide that excite each of them most"
NOWHERE = ". Nothing excites it here."
NOTHING = "The model remembers too few training cases to say which features tell most."


class FeatureStrip(TileStrip):
    """Pictures of one feature."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        named(self, f"risk_feature_{number}", f"Places that excite feature {number}").setToolTip("")

    def _add_button(self) -> None:
        super()._add_button()
        self.buttons[-1].setObjectName(f"risk_feature_{self._number}_tile_{len(self.buttons)}")


class RiskGallery(QWidget):
    """A row of small pictures for each feature; made when there is one to show."""

    wanted = Signal()
    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "risk_gallery", "What the network goes by").setToolTip("")
        self.asking = tool("risk_find", "What the network goes by", FIND, "What it goes by")
        self.all = tool("risk_all", "Show all features", "Show all features", "all", checkable=True)
        self.words = named(Words(), "risk_gallery_words", "About these features")
        self.words.setProperty("quiet", True)
        self.words.setToolTip("")
        self._rows: list[tuple[Words, FeatureStrip]] = []
        self._slide: OpenSlide | None = None
        self._content: Mapping[str, Any] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._column.addWidget(row(self.asking, self.all))
        self._column.addWidget(self.words)
        self.asking.clicked.connect(self.wanted)
        self.all.toggled.connect(self._show)
        self.show_gallery(None, {})

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return any(strip.busy for _, strip in self._rows)

    def show_able(self, why_not: str) -> None:
        """Show whether it can be asked for."""
        self.asking.setEnabled(not why_not and not self._content)
        self.asking.setToolTip(why_not or FIND)

    def show_gallery(self, slide: OpenSlide | None, content: Mapping[str, Any]) -> None:
        """Show what was found."""
        self._slide, self._content = slide, content
        self._show()

    def _show(self, _: bool = False) -> None:
        features = list(self._content.get("features") or ())
        shown = features if self.all.isChecked() else features[:AT_FIRST]
        while len(self._rows) < len(shown):
            self._add_row()
        for place, (label, strip) in enumerate(self._rows):
            there = place < len(shown)
            label.setVisible(there)
            strip.setVisible(there)
            if there:
                places: list[Any] = shown[place].get("places") or []
                label.setText(f"{shown[place].get('title', '')}{'' if places else NOWHERE}")
                strip.show_tiles(self._slide, tuple([_tile(one, places[0]["value"]) for one in places]))
        said = str(self._content.get("note", "")) if features else NOTHING
        self.words.setText(said if self._content else "")
        self.words.setVisible(bool(self._content))
        self.asking.setVisible(not self._content)
        self.all.setText(f"all {len(features)}")
        self.all.setVisible(len(features) > AT_FIRST)

    def _add_row(self) -> None:
        number = len(self._rows) + 1
        label = named(Words(), f"risk_feature_{number}_words", f"Feature {number}")
        label.setToolTip("")
        strip = FeatureStrip(number)
        strip.chosen.connect(self.chosen)
        self._rows.append((label, strip))
        for widget in (label, strip):
            self._column.addWidget(widget)


def _tile(place: Mapping[str, Any], most: float) -> SuspiciousTile:
    """A place as the strip takes it; its number is the share of the strongest."""
    top, left, height, width = (float(side) for side in place["box"])
    return SuspiciousTile(float(place["value"]) / float(most), top + height / 2, left + width / 2, height, width)
