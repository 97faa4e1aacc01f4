"""What a trial of thickness found: errors with intervals, coverage, T category, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.depth.candidates import DepthFeatures, DepthIntervalModel, calibrate_intervals
from napari_melanoma.depth.category import t_category
from napari_melanoma.figures.evaluation import plot_bland_altman
from napari_melanoma.metrics.agreement import bland_altman
from napari_melanoma.metrics.calibration import wilson_interval
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Row = dict[str, Any]
BORDERS_MM = (0.8, 1.0, 2.0, 4.0)
NEAR_MM = 0.1  # of a border: there the true category hangs on less than a reader can tell
COVERAGE = 0.9
TICKS_MM = (0.2, 0.5, 1.0, 2.0, 4.0, 6.0)
REACH_UM = 300  # of the histogram of errors
BLUE, GREY, ORANGE = "#3b6fa0", "#8a9097", "#d08000"


def fitted(rows: Sequence[Row], model: str) -> DepthIntervalModel:
    """Make the law of intervals from the calibration slides.

    Parameters
    ----------
    rows : sequence of dict
        Of all slides; those of the test have no say.
    model : str
        Named in the law.

    Returns
    -------
    IntervalLaw
        For the test slides.
    """
    known = [row for row in rows if row["part"] == "calibration" and row["mm"]]
    words = f"{len(known)} phantom slides, {model}"
    return calibrate_intervals([row["true_mm"] for row in known], [_features(row) for row in known], COVERAGE, words)


def with_law(rows: Sequence[Row], law: DepthIntervalModel) -> list[Row]:
    """Give each measured slide the interval of a law.

    Parameters
    ----------
    rows : sequence of dict
        Of all slides.
    law : IntervalLaw
        As ``fitted`` makes it.

    Returns
    -------
    list of dict
        In the same order.
    """
    found = []
    for row in rows:
        low, high = law.interval(_features(row)) if row["mm"] else (None, None)
        found.append({**row, "low_mm": low, "high_mm": high})
    return found


def _features(row: Row) -> DepthFeatures:
    """What a law takes of a measurement."""
    return DepthFeatures(row["mm"], row["certain_mm"], row["possible_mm"])


def report(rows: Sequence[Row], out: Path) -> str:
    """Judge the slides of looks that were never seen, and draw the figures.

    Parameters
    ----------
    rows : sequence of dict
        Of all slides.
    out : pathlib.Path
        Gets ``summary.json`` and ``figures/``.

    Returns
    -------
    str
        What was found, in lines.
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
    lines += [
        f"without an answer: {row['slide']} (true {row['true_mm']}): {row['why']}" for row in tried if not row["mm"]
    ]
    worst = sorted(known, key=lambda row: -abs(row["mm"] - row["true_mm"]))[:12]
    lines += [f"far off: {row['slide']}, true {row['true_mm']:.3f}, measured {row['mm']:.3f}" for row in worst]
    told = {name: asdict(one) if isinstance(one, Estimate) else one for name, one in summary.items()}
    write_json(out / "summary.json", told)
    return "\n".join(lines) + "\n"


def _share(right: Sequence[bool]) -> Estimate | None:
    """Share of slides with Wilson's interval; None where there is none."""
    if not right:
        return None
    low, high = wilson_interval(sum(right), len(right))
    return Estimate(float(np.mean(right)), float(low), float(high), len(right))


def _covered(known: Sequence[Row]) -> dict[str, Any]:
    """How often intervals hold the truth, by thickness too, and how wide they are."""
    with_one = [row for row in known if row["low_mm"] is not None]
    inside = [row["low_mm"] <= row["true_mm"] <= row["high_mm"] for row in with_one]
    widths = [row["high_mm"] - row["low_mm"] for row in with_one]
    parts = {"below 1 mm": (0, 1), "1 to 4 mm": (1, 4), "4 mm and more": (4, 99)}
    return {
        "coverage": _share(inside),
        "width_mm": float(np.mean(widths)) if widths else None,
        **{
            f"coverage, {name}": _share(
                [ok for ok, row in zip(inside, with_one, strict=True) if low <= row["true_mm"] < high]
            )
            for name, (low, high) in parts.items()
        },
    }


def _categories(known: Sequence[Row]) -> dict[str, Any]:
    """How often the T category is right, letter and all and without it, away from the borders."""
    clear = [row for row in known if min(abs(row["true_mm"] - border) for border in BORDERS_MM) > NEAR_MM]
    true = [t_category(row["true_mm"], row["true_ulceration"]) for row in clear]
    told = [row["t_category"] for row in clear]
    return {
        "clear_of_borders": len(clear),
        "t_category_right": _share([one == other for one, other in zip(true, told, strict=True)]),
        "t_without_letter_right": _share([one[:2] == other[:2] for one, other in zip(true, told, strict=True)]),
    }


def draw_figures(known: Sequence[Row], folder: Path) -> None:
    """Draw scatter, Bland-Altman plot and histogram of errors.

    Parameters
    ----------
    known : sequence of dict
        Slides with truth and measurement.
    folder : pathlib.Path
        Gets three PNG.
    """
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
    axis.plot([0.15, 8], [0.15, 8], color=GREY, linewidth=0.8)
    axis.plot([row["true_mm"] for row in known], [row["mm"] for row in known], "o", color="#1c1f23", markersize=3)
    axis.set(xscale="log", yscale="log", xlabel="true thickness (mm)", ylabel="measured thickness (mm)")
    for one in (axis.xaxis, axis.yaxis):
        one.set_ticks(TICKS_MM, labels=[f"{tick:g}" for tick in TICKS_MM])
        one.set_ticks([], minor=True)
    axis.set_title(f"{len(known)} slides; lines: 90 % intervals", fontsize=9, color=GREY, loc="left")


def _histogram(axis: Axes, errors_um: NDArray[np.float64]) -> None:
    """How errors are spread; what lies beyond ``REACH_UM`` is counted in the last bars."""
    bins = np.arange(-REACH_UM, REACH_UM + 1, 20).tolist()
    axis.hist(np.clip(errors_um, -REACH_UM, REACH_UM), bins=bins, color=BLUE)
    axis.set(xlabel="measured less true (micrometres)", ylabel="slides")
