"""Figures of an evaluation: how the Dice index is distributed, and the images that went worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (255, 255, 0), (255, 0, 0), (0, 160, 0)


@dataclass(frozen=True)
class Compared:
    """One image of an evaluation beside its masks: uint8 (row, column, channel) and two bool (row, column)."""

    name: str
    dice: float
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    reference: NDArray[np.bool_]


def comparison_image(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a mask against its reference as P4 does.

    Parameters
    ----------
    mask, reference : numpy.ndarray
        bool (row, column).

    Returns
    -------
    numpy.ndarray
        uint8 (row, column, channel): found rightly yellow, found wrongly red, missed green, the rest black.
    """
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask & reference] = TRUE_POSITIVE
    picture[mask & ~reference] = FALSE_POSITIVE
    picture[~mask & reference] = FALSE_NEGATIVE
    return picture


def draw_distribution(dice: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw how the Dice index is distributed in each part of the data.

    Parameters
    ----------
    dice : mapping
        Name of the part to the Dice indices of its images.
    path : pathlib.Path
        The PNG to write.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 1.1 * len(dice)), layout="constrained")
    axes = figure.subplots(len(dice), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, values) in zip(axes, dice.items(), strict=True):
        axis.hist(values, bins=np.linspace(0, 1, 41), color="#3b6fa0")
        axis.axvline(float(np.mean(values)), color="#d08000", label=f"mean {np.mean(values):.3f}")
        axis.set_title(f"{name} (n = {len(values)})", loc="left", fontsize=10)
        axis.legend(loc="upper left", fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("Dice index of an image")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def draw_worst(compared: Sequence[Compared], path: Path) -> None:
    """Draw the images that went worst, each beside its comparison with the reference.

    Parameters
    ----------
    compared : sequence of Compared
        In the order in which they are shown.
    path : pathlib.Path
        The PNG to write.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from matplotlib.figure import Figure

    rows = max(1, -(-len(compared) // 2))
    figure = Figure(figsize=(9, 0.6 + 1.9 * rows), layout="constrained")
    figure.suptitle("Lowest Dice: yellow found, red too much, green missed", fontsize=10)
    axes = figure.subplots(rows, 4, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for index, item in enumerate(compared):
        photograph, comparison = axes[2 * index], axes[2 * index + 1]
        photograph.imshow(item.rgb)
        photograph.set_title(f"{item.name}  DI {item.dice:.2f}", fontsize=7, loc="left")
        comparison.imshow(comparison_image(item.mask, item.reference))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
