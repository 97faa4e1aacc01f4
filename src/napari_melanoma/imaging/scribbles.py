"""Redraw the border of a lesion from scribbles or a click, by random walks on the image grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.color import to_lab
from napari_melanoma.imaging.masks import bounding_box, grow_box, label_components, resize_map

INSIDE, OUTSIDE = 1, 2  # values of strokes
GRID_SIDE = 128  # longest side of the grid, in cells
# Margin around mask and strokes: shares of their longer side and of the image's shorter side.
MARGIN = 0.25
MARGIN_WITHOUT_MASK = 2.0
IMAGE_MARGIN = 0.15
SEED = 100.0  # strength of the prior in cells that a stroke or the mask determines
# A stroke reaches about 1 / sqrt(strength of the prior) cells: 7 where colors agree with the mask, 50 where not.
STRONG_PRIOR = 1 / 7**2
WEAK_PRIOR = 1 / 50**2
LAB_RANGE = np.array([[0, -64, -64], [100, 64, 64]], np.float32)
LAB_BINS = np.array([25, 32, 32])
LIKELIHOOD_WEIGHT = 200.0  # CIELAB units that a change of likelihood from 0 to 1 is worth as an edge
MIN_EDGE_WEIGHT = 1e-3
# Multiples of the distance of a click from the border:
CLICK_LIMIT = 3.0  # beyond which the mask does not change
CLICK_CERTAINTY = 5.0  # at which the mask is certain
CLICK_WINDOW = 8.0  # up to which pixels are used
MIN_CLICK_DEPTH = 4.0  # pixels
CLICK_STROKE = 0.5  # radius of the click as a stroke, as a share of its distance from the border
CLICK_STROKE_PX = (1.5, 8.0)


@dataclass(frozen=True)
class _ScribbleGrid:
    """Input of the random walk on a coarse grid around lesion and strokes; arrays (row, column), ``lab`` with channel.

    ``inside``, ``outside``: strokes; ``fixed``: cells that stay on their side of the border.
    """

    lab: NDArray[np.float32]
    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    fixed: NDArray[np.bool_]


def redraw_border(
    probability: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    scribbles: NDArray[np.uint8],
    fixed: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Redraw the border of a lesion so that it follows strokes drawn inside and outside.

    Only strokes that contradict the mask change it, and only in a region connected with them: an inside stroke adds
    similar connected pixels, an outside stroke removes them. Random walks with priors (Grady 2005,
    doi:10.1109/CVPR.2005.239) on a grid of at most 128 pixels a side determine the new border. It follows color edges,
    more closely where the network was less certain. Away from the strokes, no pixel of the mask is changed.

    ``probability``: the network's output, float32 in [0, 1], (row, column). ``rgb``: photograph, uint8, (row, column,
    channel=3). ``mask``: boolean, (row, column): the border to start from. ``scribbles``: uint8, (row, column): 0 no
    stroke, ``INSIDE`` or ``OUTSIDE``. ``fixed``: boolean, (row, column): pixels that stay on their side. Returns
    boolean, same shape: true on every inside stroke, false on every outside stroke; equal to ``mask`` where there are
    no strokes.
    """
    redrawn = mask.astype(bool, copy=True)
    inside, outside = scribbles == INSIDE, scribbles == OUTSIDE
    if not ((inside & ~redrawn).any() or (outside & redrawn).any()):
        return redrawn
    box = bounding_box(redrawn | inside | outside)
    assert box is not None, "a stroke that contradicts the mask is a pixel"
    share = MARGIN if redrawn.any() else MARGIN_WITHOUT_MASK
    margin = math.ceil(max(share * max(box.height, box.width), IMAGE_MARGIN * min(mask.shape))) + 2
    box = grow_box(box, margin, (mask.shape[0], mask.shape[1]))
    part = box.slices
    unchanged = np.zeros(mask.shape, bool) if fixed is None else fixed & ~inside & ~outside
    grid = _to_grid(rgb[part], probability[part], redrawn[part], inside[part], outside[part], unchanged[part])
    lesion_probability = _walk_on_grid(grid)
    _apply(redrawn[part], lesion_probability, grid)
    redrawn[inside] = True
    redrawn[outside] = False
    return redrawn


def redraw_at_click(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], pixel: tuple[int, int], *, include: bool
) -> NDArray[np.bool_]:
    """Redraw a border so that one pixel is inside or outside, without a network's probability.

    A click is assumed to be in the middle of an error, so that its distance from the border is the size of the error.
    The mask replaces the probability; it is uncertain at the click, and its certainty increases with the distance from
    the click, in units of that size. Nothing changes beyond three times the size, and the grid is finer for smaller
    errors.

    ``rgb``: uint8, (row, column, channel=3). ``mask``: boolean, (row, column). ``pixel``: (row, column). Returns
    boolean, same shape; equal to ``mask`` if the pixel is already on the right side.
    """
    from scipy import ndimage

    redrawn = mask.astype(bool, copy=True)
    if redrawn[pixel] == include:
        return redrawn
    depth = float(ndimage.distance_transform_edt(np.pad(redrawn != include, 1))[pixel[0] + 1, pixel[1] + 1])
    depth = max(depth, MIN_CLICK_DEPTH)
    around = grow_box(Box(*pixel, 1, 1), math.ceil(CLICK_WINDOW * depth), (mask.shape[0], mask.shape[1]))
    part = redrawn[around.slices]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    distance = np.hypot(rows + around.top - pixel[0], columns + around.left - pixel[1])
    certainty = np.minimum(distance / (CLICK_CERTAINTY * depth), 1)
    probability = (0.5 + np.where(part, 0.5, -0.5) * certainty).astype(np.float32)
    stroke = (distance <= np.clip(CLICK_STROKE * depth, *CLICK_STROKE_PX)) & (part != include)
    scribbles = (stroke * (INSIDE if include else OUTSIDE)).astype(np.uint8)
    fixed = distance > CLICK_LIMIT * depth
    redrawn[around.slices] = redraw_border(probability, rgb[around.slices], part, scribbles, fixed)
    return redrawn


def _walk_on_grid(grid: _ScribbleGrid) -> NDArray[np.float32]:
    """Return the probability of lesion in each cell of the grid, given the strokes."""
    likelihood = _color_likelihood(grid)
    features = np.concatenate([grid.lab, LIKELIHOOD_WEIGHT * likelihood[..., None]], axis=-1)
    agreement = np.where(grid.mask, likelihood, 1 - likelihood)
    certainty = np.abs(2 * grid.probability - 1)
    strength = WEAK_PRIOR + (STRONG_PRIOR - WEAK_PRIOR) * agreement**2 * np.maximum(certainty, 0.1)
    prior = grid.mask.astype(np.float32)
    strength[grid.fixed] = SEED
    for seeds, value in ((grid.inside, 1.0), (grid.outside, 0.0)):
        prior[seeds] = value
        strength[seeds] = SEED
    return random_walk(*edge_weights(features), prior, strength.astype(np.float32))


def _color_likelihood(grid: _ScribbleGrid) -> NDArray[np.float32]:
    """Return the likelihood that a color belongs to the lesion rather than to the skin, in [0, 1]; 0.5 if unknown.

    The colors of each side are taken half from its strokes, half from its part of the mask. In the second round, cells
    that the first assigned to the other side count less, such as the part of a lesion that the network missed.
    """
    bins = _color_bins(grid.lab)
    likelihood = np.full(grid.mask.shape, 0.5, np.float32)
    for _ in range(2):
        lesion = _color_density(bins, grid.mask & ~grid.outside, likelihood, grid.inside)
        skin = _color_density(bins, ~grid.mask & ~grid.inside, 1 - likelihood, grid.outside)
        likelihood = ((lesion + 1e-7) / (lesion + skin + 2e-7)).astype(np.float32)
    return likelihood


def _color_density(
    bins: NDArray[np.intp], region: NDArray[np.bool_], weight: NDArray[np.float32], strokes: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the smoothed share of the color of each cell among the colors of a weighted region and of strokes."""
    from scipy import ndimage

    size = int(LAB_BINS.prod())
    total = np.zeros(size)
    for cells, weights in ((region, weight), (strokes, np.ones_like(weight))):
        counts = np.bincount(bins[cells], weights[cells], minlength=size)
        total += counts / max(counts.sum(), 1e-9)
    total /= max(total.sum(), 1e-9)
    return ndimage.gaussian_filter(total.reshape(LAB_BINS), 1.5).ravel()[bins]


def _color_bins(lab: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the index of each color in a coarse grid over CIELAB, with bins of 4 units a side."""
    low, high = LAB_RANGE
    index = np.clip((lab - low) / (high - low) * LAB_BINS, 0, LAB_BINS - 1).astype(np.intp)
    return (index[..., 0] * LAB_BINS[1] + index[..., 1]) * LAB_BINS[2] + index[..., 2]


def _to_grid(
    rgb: NDArray[np.uint8],
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    fixed: NDArray[np.bool_],
) -> _ScribbleGrid:
    """Average all arrays down to the grid; a cell that a stroke touches belongs to the stroke."""
    from scipy import ndimage

    step = max(1.0, max(mask.shape) / GRID_SIDE)
    shape = (max(1, round(mask.shape[0] / step)), max(1, round(mask.shape[1] / step)))
    inside_share, outside_share = (
        resize_map(inside.astype(np.float32), shape),
        resize_map(outside.astype(np.float32), shape),
    )
    return _ScribbleGrid(
        lab=ndimage.gaussian_filter(to_lab(resize_map(rgb, shape)), (0.7, 0.7, 0)),
        probability=resize_map(probability, shape),
        mask=resize_map(mask.astype(np.float32), shape) >= 0.5,
        inside=(inside_share > 0) & (inside_share >= outside_share),
        outside=(outside_share > 0) & (outside_share > inside_share),
        fixed=resize_map(fixed.astype(np.float32), shape) >= 1,
    )


def _apply(mask: NDArray[np.bool_], lesion_probability: NDArray[np.float32], grid: _ScribbleGrid) -> None:
    """Apply to the full mask, in place, the changes on the grid that are connected with a stroke."""
    added = _select_parts((lesion_probability > 0.5) & ~grid.mask, grid.inside)
    removed = _select_parts((lesion_probability < 0.5) & grid.mask, grid.outside)
    fine = resize_map(lesion_probability, mask.shape)
    mask |= (resize_map(added.astype(np.float32), mask.shape) > 0) & (fine > 0.5)
    mask &= (resize_map(removed.astype(np.float32), mask.shape) == 0) | (fine >= 0.5)


def _select_parts(region: NDArray[np.bool_], strokes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = label_components(region)
    return np.isin(labels, np.unique(labels[strokes & region])) & region


def edge_weights(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the edge weights between neighbors: exp(-d^2 / 2 mean(d^2)) for the distance d between their features.

    ``features``: float32, (row, column, feature). Returns float32, (row - 1, column) and (row, column - 1): the step to
    the next row and to the next column.
    """
    squared = [(np.diff(features, axis=axis) ** 2).sum(axis=-1) for axis in (0, 1)]
    scale = 2 * sum(part.sum() for part in squared) / max(1, sum(part.size for part in squared)) + 1e-6
    down, right = (np.maximum(np.exp(-part / scale), MIN_EDGE_WEIGHT) for part in squared)
    return down, right


def random_walk(
    down: NDArray[np.float32], right: NDArray[np.float32], prior: NDArray[np.float32], strength: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the probability that a random walk with priors from each pixel ends inside (Grady 2005).

    It minimizes the sum over neighbors of w (x_i - x_j)^2 plus the sum over pixels of s (x_i - p_i)^2
    (doi:10.1109/CVPR.2005.239), and is solved exactly. A seed is a pixel whose strength s is far above 1.

    ``down``, ``right``: float32, the weights w from ``edge_weights``. ``prior``: float32 in [0, 1], (row, column), the
    prior probability p. ``strength``: float32, positive, (row, column), the weight s of the prior. Returns float32 in
    [0, 1], (row, column).
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    index = np.arange(prior.size).reshape(prior.shape)
    pixels = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    neighbors = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    weights = np.concatenate([down.ravel(), right.ravel()]).astype(np.float64)
    ends = np.concatenate([pixels, neighbors])
    diagonal = strength.ravel() + np.bincount(ends, np.tile(weights, 2), minlength=prior.size)
    matrix = sparse.csc_array(
        (
            np.concatenate([diagonal, -weights, -weights]),
            (np.concatenate([index.ravel(), ends]), np.concatenate([index.ravel(), neighbors, pixels])),
        ),
        shape=(prior.size, prior.size),
    )
    # A direct solver takes 35 ms for 128 x 128 cells. Conjugate gradients take 2.3 s on a busy machine, where BLAS
    # threads wait for each other.
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    solution = factors.solve((strength * prior).ravel().astype(np.float64))
    return np.clip(solution, 0, 1).astype(np.float32).reshape(prior.shape)
