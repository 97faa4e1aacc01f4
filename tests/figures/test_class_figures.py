"""A reliability diagram shows bins of few images faintly and unconnected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from napari_melanoma.figures.evaluation import MIN_BIN_IMAGES, plot_bins, plot_reliability
from napari_melanoma.metrics.calibration import Reliability, reliability_curve


def bins_of(*counts: int) -> Reliability:
    places = np.linspace(0.1, 0.9, len(counts))
    return Reliability(places, places, places - 0.1, places + 0.1, np.array(counts))


def test_points_of_few_images_are_faint_and_not_joined() -> None:
    axes = Figure().subplots()
    bins = bins_of(30, MIN_BIN_IMAGES, 2, 40, MIN_BIN_IMAGES - 1)
    plot_bins(axes, bins, "blue")
    strong, faint, line = axes.lines
    np.testing.assert_allclose(strong.get_xdata(), bins.predicted[[0, 1, 3]])
    np.testing.assert_allclose(faint.get_xdata(), bins.predicted[[2, 4]])
    assert (strong.get_alpha(), strong.get_linestyle(), faint.get_linestyle()) == (1.0, "None", "None")
    assert faint.get_alpha() < 0.5
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [False, False, True, False, True])
    assert [len(one.get_segments()) for one in axes.collections] == [3, 2]  # each has its interval
    assert axes.collections[1].get_alpha() == faint.get_alpha()


def test_a_figure_of_twenty_images_joins_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    message = random.random(20)
    truth = random.random(20) < message
    bins = reliability_curve(message, truth)
    assert bins.count.max() == 2
    plot_reliability({"": {"": (message, truth)}}, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000
