"""What is loaded in a thread before the first click in the Paint section."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.sections.paint.warm_up import _load
assert "skimage.color.colorconv" not in sys.modules
_load(RunContext())
from vispy.visuals.line.dash_atlas import _make_pattern
assert "skimage.color.colorconv" in sys.modules
assert _make_pattern.cache_info().currsize > 10
"""


@pytest.mark.slow
def test_colors_and_outlines_of_napari_are_loaded():
    subprocess.run([sys.executable, "-c", CODE], check=True)
