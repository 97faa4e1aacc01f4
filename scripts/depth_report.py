"""Results of a thickness trial: errors with intervals, coverage, T category, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.depth.breslow_candidates import DepthFeatures, DepthIntervalModel, calibrate_intervals
from napari_melanoma.depth.t_category import t_category
from napari_melanoma.figures.evaluation import plot_bland_altman
from napari_melanoma.metrics.agreement import bland_altman
from napari_melanoma.metrics.calibration import wilson_interval
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Row = dict[str, Any]
BORDERS_MM = (0.8, 1.0, 2.0, 4.0)
NEAR_MM = 0.1  # distance from a limit at which the true category depends on less than readers can resolve
COVERAGE = 0.9
TICKS_MM = (0.2, 0.5, 1.0, 2.0, 4.0, 6.0)
REACH_UM = 300  # range of the histogram of errors
BLUE, GRAY, ORANGE = "#3b6fa0", "#8a9097", "#d08000"


def fitted(rows: Sequence[Row], model: str) -> DepthIntervalModel:
    """Fit the interval model to the calibration slides.

    ``rows``: all slides; those of the test set are not used.
    """
    known = [row for row in rows if row["part"] == "calibration" and row["mm"]]
    words = f"{len(known)} phantom slides, {model}"
    return calibrate_intervals([row["true_mm"] for row in known], [_features(row) for row in known], COVERAGE, words)


def with_law(rows: Sequence[Row], law: DepthIntervalModel) -> list[Row]:
    """Add the interval of a model to each measured slide."""
    found = []
    for row in rows:
        low, high = law.interval(_features(row)) if row["mm"] else (None, None)
        found.append({**row, "low_mm": low, "high_mm": high})
    return found


def _features(row: Row) -> DepthFeatures:
    """Input of the interval model for a measurement."""
    return DepthFeatures(row["mm"], row["certain_mm"], row["possible_mm"])


def report(rows: Sequence[Row], out: Path) -> str:
    """Evaluate the slides of unseen looks, and draw the figures.

    ``out`` receives ``summary.json`` and ``figures/``.
    """
    tried = [row for row in rows if row["part"] == "test"]
    known = [row for row in tried if row["mm"]]
    true, found = (np.array([row[name] for row in known], float) for name in ("true_mm", "mm"))
    summary = {
        "slides": len(tried),
        "measured": len(known),
        "mean_absolute_error_mm": bootstrap_mean(np.abs(found - true)),
        "median_absolute_error_mm": float(np.median(np.abs(found - true))),
        "bias_mm": bootstrap_mean(found - true),
        "pearson_r": float(np.corrcoef(true, found)[0, 1]),
        **_covered(known),
        **_categories(known),
        "ulceration_right": _share([row["ulcerated"] == row["true_ulceration"] for row in known]),
    }
    (out / "figures").mkdir(exist_ok=True)
    draw_figures(known, out / "figures")
    lines = [f"{name}: {value}" for name, value in summary.items()]
    lines += [f"not measured: {row['slide']} (true {row['true_mm']}): {row['why']}" for row in tried if not row["mm"]]
    worst = sorted(known, key=lambda row: -abs(row["mm"] - row["true_mm"]))[:12]
    lines += [f"large error: {row['slide']}, true {row['true_mm']:.3f}, measured {row['mm']:.3f}" for row in worst]
    plain = {name: asdict(one) if isinstance(one, Estimate) else one for name, one in summary.items()}
    write_json(out / "summary.json", plain)
    return "\n".join(lines) + "\n"


def _share(right: Sequence[bool]) -> Estimate | None:
    """Share of slides with Wilson's interval; None without slides."""
    if not right:
        return None
    low, high = wilson_interval(sum(right), len(right))
    return Estimate(float(np.mean(right)), float(low), float(high), len(right))


def _covered(known: Sequence[Row]) -> dict[str, Any]:
    """Coverage of the intervals, also by thickness, and their width."""
    with_interval = [row for row in known if row["low_mm"] is not None]
    inside = [row["low_mm"] <= row["true_mm"] <= row["high_mm"] for row in with_interval]
    widths = [row["high_mm"] - row["low_mm"] for row in with_interval]
    parts = {"below 1 mm": (0, 1), "1 to 4 mm": (1, 4), "4 mm and more": (4, 99)}
    return {
        "coverage": _share(inside),
        "width_mm": float(np.mean(widths)) if widths else None,
        **{
            f"coverage, {name}": _share(
                [ok for ok, row in zip(inside, with_interval, strict=True) if low <= row["true_mm"] < high]
            )
            for name, (low, high) in parts.items()
        },
    }


def _categories(known: Sequence[Row]) -> dict[str, Any]:
    """Accuracy of the T category with and without the letter, away from the limits."""
    clear = [row for row in known if min(abs(row["true_mm"] - border) for border in BORDERS_MM) > NEAR_MM]
    true = [t_category(row["true_mm"], row["true_ulceration"]) for row in clear]
    measured = [row["t_category"] for row in clear]
    return {
        "clear_of_borders": len(clear),
        "t_category_right": _share([one == other for one, other in zip(true, measured, strict=True)]),
        "t_without_letter_right": _share([one[:2] == other[:2] for one, other in zip(true, measured, strict=True)]),
    }


def draw_figures(known: Sequence[Row], folder: Path) -> None:
    """Draw scatter, Bland-Altman plot and histogram of errors."""
    true, found = (np.array([row[name] for row in known], float) for name in ("true_mm", "mm"))
    plot_bland_altman(bland_altman(true, found), ("truth", "measurement"), folder / "bland_altman.png")
    _drawn(lambda axis: _scatter(axis, known), folder / "scatter.png")
    _drawn(lambda axis: _histogram(axis, 1000 * (found - true)), folder / "errors.png")


def _drawn(draw: Any, path: Path) -> None:  # noqa: ANN401 - takes the axes of matplotlib
    """Save a figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    draw(figure.subplots())
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _scatter(axis: Axes, known: Sequence[Row]) -> None:
    """Measurement over truth with intervals, on logarithmic scales."""
    for row in known:
        if row["low_mm"] is not None:
            inside = row["low_mm"] <= row["true_mm"] <= row["high_mm"]
            color = BLUE if inside else ORANGE
            axis.plot([row["true_mm"]] * 2, [max(row["low_mm"], 0.05), row["high_mm"]], color=color, alpha=0.35)
    axis.plot([0.15, 8], [0.15, 8], color=GRAY, linewidth=0.8)
    axis.plot([row["true_mm"] for row in known], [row["mm"] for row in known], "o", color="#1c1f23", markersize=3)
    axis.set(xscale="log", yscale="log", xlabel="true thickness (mm)", ylabel="measured thickness (mm)")
    for one in (axis.xaxis, axis.yaxis):
        one.set_ticks(TICKS_MM, labels=[f"{tick:g}" for tick in TICKS_MM])
        one.set_ticks([], minor=True)
    axis.set_title(f"{len(known)} slides; lines: 90 % intervals", fontsize=9, color=GRAY, loc="left")


def _histogram(axis: Axes, errors_um: NDArray[np.float64]) -> None:
    """Histogram of the errors; values beyond ``REACH_UM`` are counted in the last bars."""
    bins = np.arange(-REACH_UM, REACH_UM + 1, 20).tolist()
    axis.hist(np.clip(errors_um, -REACH_UM, REACH_UM), bins=bins, color=BLUE)
    axis.set(xlabel="measured minus true (µm)", ylabel="slides")
