"""The texts of the docks are readable in both themes."""

from __future__ import annotations

import pytest
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel
from stage import Stage

from napari_melanoma.ui.widgets.style import quiet_label

READABLE = 4.5  # contrast of small letters, WCAG 2.1, success criterion 1.4.3


def luminance(color: QColor) -> float:
    """Relative luminance of a color, as WCAG 2.1 defines it."""
    shares = (color.redF(), color.greenF(), color.blueF())
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.both_qts
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_error_and_secondary_texts_are_readable(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    fault = QLabel("a mask is missing")
    fault.setProperty("fault", True)
    for label in (fault, quiet_label("no run yet")):
        stage.show(label)
        label.ensurePolished()
        text_luminance = luminance(label.palette().color(label.foregroundRole()))
        ground = luminance(QColor(stage.icons.palette.background))
        assert (max(text_luminance, ground) + 0.05) / (min(text_luminance, ground) + 0.05) >= READABLE, label.text()
    stage.close()
