"""Which channels of a fluorescence slide are painted on: three lists, and the limits of each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QWidget
from superqt.utils import signals_blocked

from napari_melanoma.core.channel_choice import PARTS, ChannelChoice, ChannelLimits, default_names
from napari_melanoma.slides.reading.composite import is_readable
from napari_melanoma.ui.session.strokes import set_channels
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

COLORS = ("red", "green", "blue")
LIMIT_DIGITS = 4
LIST_TIP = "Channel shown as {}; the map is computed again"
LIMITS_TIP = (
    "Use the contrast limits that the section Display shows now. They are numbers, the same for all slides, and are "
    "part of the model"
)


class ChannelPicker(QWidget):
    """Three lists of the channels of a slide. ``chosen``: a complete ``ChannelChoice`` by the user."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "paint_channels", "Channels of the fluorescence slide").setToolTip("")
        self._slide: ViewerSlide | None = None
        self._choice = ChannelChoice.of_names(COLORS)  # until one is shown
        self.lists = [self._create_list(color) for color in COLORS]
        self.limits_label = named(WrappedLabel(), "paint_limits", "Limits of the channels")
        self.limits_label.setProperty("quiet", True)
        self.limits_label.setToolTip("Values of no and of full signal")
        self.limits_button = tool_button("paint_display_limits", "Limits of the display", LIMITS_TIP, "limits as shown")
        self.limits_button.clicked.connect(lambda: self._on_limits())
        labels = [QLabel(color) for color in COLORS]
        for label in labels:
            label.setMinimumWidth(max(one.sizeHint().width() for one in labels))
        rows = [row(label, one, stretch=1) for label, one in zip(labels, self.lists, strict=True)]
        fill_column(self, *rows, self.limits_label, row(self.limits_button))

    def show_choice(self, slide: ViewerSlide, choice: ChannelChoice) -> None:
        """Show the channels of a slide, and those that are chosen."""
        self._slide = slide
        names = channel_keys(slide.info.channels)
        chosen = choice.find(slide.info.channels, slide.info.path.name)
        for one, index in zip(self.lists, chosen, strict=True):
            with signals_blocked(one):
                if [one.itemText(number) for number in range(one.count())] != names:
                    one.clear()
                    one.addItems(names)
                    for number, channel in enumerate(slide.info.channels):
                        one.setItemData(number, channel, Qt.ItemDataRole.ToolTipRole)
                one.setCurrentIndex(index)
        unique = dict.fromkeys(choice.channels)
        self.limits_label.setText(", ".join(f"{one.name} {one.low:g}–{one.high:g}" for one in unique))
        self._choice = choice

    def _create_list(self, color: str) -> NoWheelComboBox:
        tip = LIST_TIP.format(color)
        combo = named(NoWheelComboBox(), f"paint_channel_{color}", f"Channel of {color}", tip)
        combo.setSizeAdjustPolicy(combo.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(8)
        combo.setMinimumHeight(combo.sizeHint().height())
        combo.currentIndexChanged.connect(lambda _: self._on_channel())
        return combo

    def _on_channel(self) -> None:
        """Choose other channels; those that were chosen before keep their limits."""
        known = {one.name: one for one in self._choice.channels}
        self._choose([known.get(name) or self._read_limits(name) for name in self._names()])

    def _on_limits(self) -> None:
        self._choose([self._read_limits(name) for name in self._names()])

    def _names(self) -> list[str]:
        return [one.currentText() for one in self.lists]

    def _read_limits(self, name: str) -> ChannelLimits:
        assert self._slide is not None
        return displayed_limits(self._slide, name)

    def _choose(self, channels: Sequence[ChannelLimits]) -> None:
        choice = ChannelChoice(channels=tuple(channels))
        if choice != self._choice:
            self.chosen.emit(choice)


def channel_keys(channels: Sequence[str]) -> list[str]:
    """Return names that identify the channels of a slide: the number of those that share a name."""
    return [name if channels.count(name) == 1 else str(number) for number, name in enumerate(channels, start=1)]


def displayed_limits(slide: ViewerSlide, name: str) -> ChannelLimits:
    """Return a channel with the contrast limits of its layer."""
    layer = slide.layers[channel_keys(slide.info.channels).index(name)]
    low, high = (float(f"{limit:.{LIMIT_DIGITS}g}") for limit in layer.contrast_limits)
    return ChannelLimits(name=name, low=low, high=max(high, low + 10.0**-LIMIT_DIGITS))


def complete_channels(session: SlideSession) -> None:
    """Choose the channels of a fluorescence slide that has no choice: those of another one, or a default."""
    info = session.slide.info
    stored = session.painted.value.channels
    if info.is_rgb or (stored is not None and stored.is_complete and is_readable(info, stored)):
        return
    others = (one.painted.value.channels for one in session.sessions if one is not session)
    choice = next((one for one in others if one is not None and is_readable(info, one)), None)
    if choice is None:
        names = default_names(channel_keys(info.channels))
        limits = [displayed_limits(session.slide, name) for name in names]
        choice = ChannelChoice(channels=(*limits, *[limits[-1]] * (PARTS - len(limits))))
    session.painted.complete(set_channels(choice))


def choose_channels(session: SlideSession, choice: ChannelChoice) -> None:
    """Use other channels on all slides displayed so far that have them, since their strokes train one classifier."""
    for one in session.sessions:
        if is_readable(one.slide.info, choice):
            one.painted.apply(set_channels(choice))


def list_alike(session: SlideSession) -> list[SlideSession]:
    """Return the sessions of slides that are read as the slide of ``session``, which comes first."""
    choice = session.painted.value.channels
    others = [one for one in session.sessions if one is not session and is_readable(one.slide.info, choice)]
    return [session, *others]
