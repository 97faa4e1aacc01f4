"""The default colors of classes differ from each other, also with a color vision deficiency."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from qtpy.QtGui import QColor
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_melanoma.data.dataset_report_page import COLORS
from napari_melanoma.ui.sections.lesions.canvas import BENIGN, MALIGNANT
from napari_melanoma.ui.sections.measure.layer import COUNT_CLASSES
from napari_melanoma.ui.sections.paint.view import TISSUE_CLASSES
from napari_melanoma.ui.session.run_status import OTHER_COLORS
from napari_melanoma.ui.widgets.class_list import REGION_CLASSES

LEAST = 10  # CIEDE2000; colors that are looked for differ at about 5
# Complete deficiencies in linear RGB: Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
}
PALETTES = {
    **{kind.title: [one.color for one in kind.defaults] for kind in (TISSUE_CLASSES, REGION_CLASSES, COUNT_CLASSES)},
    "lesions": [MALIGNANT.getRgb()[:3], BENIGN.getRgb()[:3]],
    "other classes": [QColor(color).getRgb()[:3] for color in OTHER_COLORS],
    "report": [QColor(color).getRgb()[:3] for color in COLORS],
}


def see(color, vision):
    """Return a color in CIELAB as it is seen."""
    rgb = np.array(color) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", PALETTES)
def test_colors_differ(palette, vision):
    pairs = combinations(PALETTES[palette], 2)
    close = [pair for pair in pairs if deltaE_ciede2000(see(pair[0], vision), see(pair[1], vision)) < LEAST]
    assert close == []
