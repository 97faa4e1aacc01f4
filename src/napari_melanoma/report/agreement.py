"""The figure of two readers: how far they are apart, over what they measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from napari_melanoma.analysis.agreement import BlandAltman

BLUE, GREY = "#3b6fa0", "#8a9097"
SHADE = 0.15


def draw_bland_altman(found: BlandAltman, readers: tuple[str, str], path: Path, unit: str = "mm") -> None:
    """Draw differences over means, with bias and limits of agreement and the intervals of all three."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="#e4e4e0", linewidth=0.8)
    for name, one, style in (
        ("upper limit", found.high, "--"),
        ("bias", found.bias, "-"),
        ("lower limit", found.low, "--"),
    ):
        axis.axhspan(one.low, one.high, color=BLUE, alpha=SHADE, linewidth=0)
        axis.axhline(one.mean, color=BLUE, linestyle=style, linewidth=1.2)
        words = f"{name} {one.mean:+.2f}"
        axis.annotate(words, (1, one.mean), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8)
    axis.plot(found.means, found.differences, "o", color="#1c1f23", markersize=4, alpha=0.75)
    axis.set(
        xlabel=f"mean of {readers[0]} and {readers[1]} ({unit})", ylabel=f"{readers[1]} less {readers[0]} ({unit})"
    )
    axis.set_title(f"{len(found.means)} slides; shaded: 95 % intervals", fontsize=9, color=GREY, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
