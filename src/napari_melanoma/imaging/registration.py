"""Registration of two images of the same tissue or lesion: rotation, shift and, on request, flip and scale.

Sections are registered by ``register_images``: the overall position is found by cross-correlation at low resolution for
each rotation, and refined by the shifts of small blocks; the shifts that remain are its error. Both images contain
amounts of tissue instead of colors, so that slides with different stains can be registered. Photographs, whose
magnification may be unknown, are registered by local features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from napari_melanoma.core.errors import InputError, MelanomaError

COARSE_PX, FINE_PX = 64, 768  # longer side of the images in which rotations are tried and blocks are compared
ROTATION_STEP, FINE_STEP = 6.0, 1.5  # degrees
BLOCK_PX, SEARCH_PX = 48, 12  # side of a block, and its largest shift
MIN_BLOCKS, MIN_SHARE = 6, 0.3  # blocks that agree, of those with structure
MIN_CORRELATION, MIN_SPREAD = 0.35, 0.1  # of a block with the other image, and ratio of their standard deviations
MIN_OVERLAP, CANDIDATES = 0.3, 4  # share of the smaller image; overall positions to try with blocks
INLIER_PX = 3.0
ROUNDS, SAMPLES = 3, 200  # of refinement; pairs of points that are tried in each
FEATURES_PX, FEATURE_CONTRAST = 640, 0.001  # longer side of the images with features; skin has little contrast
MAX_FEATURES, MIN_FEATURES = 2500, 8  # most features of an image, and least number that must agree
FEATURE_RADIUS = 3.0  # standard deviations of the Gaussian at which a feature was found
MATCH_RATIO = 0.8  # of the distances to the best and the next feature (Lowe 2004)
MAX_MAGNIFICATION = 5.0
CLEAR_FLIP = 3.0  # how many times smaller the distances of landmarks are with the flip


@dataclass(frozen=True)
class Registration:
    """A transformation of positions in the moving image to positions in the fixed image, and how well it fits.

    ``matrix``: float64 (3, 3), fixed (row, column, 1) = matrix @ moving (row, column, 1), in the unit of the caller.
    ``error``: root mean square distance that remains between the landmarks, blocks or features that agree, in the same
    unit; None for two landmarks, from which it cannot be determined. ``count``: number of landmarks, blocks or features
    that agree; ``tried``: number of all. ``scale_error``: standard error of ``scale``, relative to it, if it was
    estimated from features. ``points``: positions of the features that agree in the fixed image, (point, axis=2).
    """

    matrix: NDArray[np.float64]
    method: Literal["landmarks", "images", "features"]
    error: float | None
    count: int
    tried: int
    scale_error: float = 0.0
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def rotation(self) -> float:
        """Rotation of the moving image in degrees, counterclockwise as displayed; a flip comes before it."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))

    @property
    def scale(self) -> float:
        """Magnification of the moving image."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def is_flipped(self) -> bool:
        """Whether the moving image is mirrored."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)

    def transform(self, points: ArrayLike) -> NDArray[np.float64]:
        """Transform positions (point, axis=2) of the moving image to the fixed image."""
        return _apply(self.matrix, np.asarray(points, float))


def register_landmarks(moving: ArrayLike, fixed: ArrayLike, *, with_scale: bool = False) -> Registration:
    """Estimate the transformation from two or more landmarks by least squares.

    A flip is detected from three or more landmarks that are not on a line, if they fit clearly better with it.

    ``moving``, ``fixed``: positions (point, axis=2) of the same landmarks in both images, in the same unit. Raises
    InputError for too few landmarks, or if all of them are at the same position.
    """
    start, end = np.asarray(moving, float).reshape(-1, 2), np.asarray(fixed, float).reshape(-1, 2)
    if len(start) != len(end) or len(start) < 2:
        raise InputError(f"expected two or more landmarks in both images, found {len(start)} and {len(end)}.")
    if min(np.ptp(start, axis=0).max(), np.ptp(end, axis=0).max()) <= 0:
        raise InputError("expected landmarks at different positions, found all at the same one.")
    matrix = _fit(start, end, flip=False, with_scale=with_scale)
    if len(start) == 2:
        return Registration(matrix, "landmarks", None, 2, 2)
    flipped = _fit(start, end, flip=True, with_scale=with_scale)
    error, flipped_error = _rms(matrix, start, end), _rms(flipped, start, end)
    across = float(np.linalg.svd(start - start.mean(axis=0), compute_uv=False)[1]) / math.sqrt(len(start))
    if flipped_error < min(error, across) / CLEAR_FLIP:
        matrix, error = flipped, flipped_error
    return Registration(matrix, "landmarks", error, len(start), len(start))


def register_images(
    fixed: NDArray[np.floating],
    moving: NDArray[np.floating],
    fixed_um: tuple[float, float],
    moving_um: tuple[float, float],
    *,
    flips: bool = True,
    scales: Sequence[float] = (1.0,),
) -> Registration:
    """Register two images of tissue.

    ``fixed``, ``moving``: float (row, column), larger where there is more tissue and 0 on the background, without NaN.
    ``fixed_um``, ``moving_um``: size of their pixels along rows and columns, in µm or any unit that both share.
    ``flips``: try the mirrored image too. ``scales``: magnifications to try.

    Returns a registration in that unit, of positions from the outer corner of the first pixel. Raises MelanomaError if
    the images do not fit together.
    """
    sides = [max(np.multiply(image.shape, um)) for image, um in ((fixed, fixed_um), (moving, moving_um))]
    fine_um = max(sides) / FINE_PX
    fixed_fine, moving_fine = _resample(fixed, fixed_um, fine_um), _resample(moving, moving_um, fine_um)
    blocks = _Blocks(fixed_fine)
    best: _Alignment | None = None
    for start in _search(fixed_fine, moving_fine, (False, True) if flips else (False,), scales):
        fit = blocks.refine(moving_fine, start, with_scale=len(scales) > 1)
        best = fit if best is None or len(fit.residuals) > len(best.residuals) else best
        if best.is_good:
            break
    if best is None or not best.is_good:
        count = 0 if best is None else len(best.residuals)
        raise MelanomaError(
            f"the images do not fit together: {count} of {blocks.count} parts with structure were found again. "
            "Set landmarks by hand."
        )
    matrix = best.matrix.copy()
    matrix[:2, 2] = fine_um * (matrix[:2, 2] + (1.0 - matrix[:2, :2].sum(axis=1)) / 2)  # from pixel centers
    error = float(np.sqrt(np.mean(best.residuals**2))) * fine_um
    return Registration(matrix, "images", error, len(best.residuals), best.tried)


def register_features(fixed: FeatureImage, moving: FeatureImage, *, with_scale: bool = True) -> Registration:
    """Register two photographs by local features (SIFT; Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94).

    Descriptors of features do not depend on rotation, magnification and brightness. The features that agree on one
    rotation, shift and, if ``with_scale``, magnification are found by random samples. Returns a registration in the
    units of the images, of positions from the outer corner of the first pixel. Raises MelanomaError if fewer than eight
    features agree.
    """
    from skimage.feature import match_descriptors

    (fixed_points, fixed_descriptors), (moving_points, moving_descriptors) = fixed.find(), moving.find()
    pairs = np.empty((0, 2), int)
    if min(len(fixed_points), len(moving_points)) >= MIN_FEATURES:
        pairs = match_descriptors(fixed_descriptors, moving_descriptors, max_ratio=MATCH_RATIO, cross_check=True)
    start, end = moving_points[pairs[:, 1]], fixed_points[pairs[:, 0]]
    step = fixed.step
    agree = np.zeros(len(pairs), bool)
    if len(pairs) >= MIN_FEATURES:
        # In pixels of the fixed image, the unit of INLIER_PX
        matrix = _fit_robustly(start / step, end / step, flip=False, with_scale=with_scale)
        distances = np.linalg.norm(_apply(matrix, start / step) - end / step, axis=1)
        agree = distances < INLIER_PX
    count = len(np.unique(start[agree].round(6), axis=0))
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2])))) if count else 0.0
    relative = scale * moving.step / step
    if count < MIN_FEATURES or not 1 / MAX_MAGNIFICATION < relative < MAX_MAGNIFICATION:
        raise MelanomaError(
            f"expected {MIN_FEATURES} features that both images have in common, such as pores, furrows or pigment, "
            f"found {count} of {min(len(fixed_points), len(moving_points))}."
        )
    spread = math.sqrt(float(((end[agree] - end[agree].mean(axis=0)) ** 2).sum()))
    error = float(np.sqrt(np.mean(distances[agree] ** 2))) * step
    matrix[:2, 2] *= step
    scale_error = error / math.sqrt(2) / spread if with_scale else 0.0
    return Registration(matrix, "features", error, count, len(pairs), scale_error, end[agree])


@dataclass(frozen=True)
class FeatureImage:
    """An image to be registered by its local features, which are detected once.

    ``image``: float (row, column), 0 to 1. ``um``: size of its pixels along rows and columns, in any unit.
    ``excluded``: bool (row, column); features whose surroundings extend into it are not used.
    """

    image: NDArray[np.floating]
    um: tuple[float, float]
    excluded: NDArray[np.bool_] | None = None

    @property
    def step(self) -> float:
        """Size of the pixels at which features are detected, in the unit of ``um``."""
        return max(float(max(np.multiply(self.image.shape, self.um))) / FEATURES_PX, *self.um)

    def without_exclusion(self) -> FeatureImage:
        """Return the image without an excluded part; its features are not detected again."""
        whole = replace(self, excluded=None)
        vars(whole)["_detected"] = self._detected
        return whole

    def find(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return positions of features (point, axis=2) in the unit of the image, and descriptors (point, value)."""
        from scipy import ndimage

        points, descriptors, sigmas = self._detected
        if self.excluded is not None and len(points):
            excluded = _resample(self.excluded, self.um, self.step) > 0.5
            pixels = np.minimum((points / self.step).astype(int), np.array(excluded.shape) - 1)
            distances = ndimage.distance_transform_edt(~excluded)[pixels[:, 0], pixels[:, 1]]
            is_used = distances > FEATURE_RADIUS * sigmas
            points, descriptors = points[is_used], descriptors[is_used]
        if len(points) > MAX_FEATURES:
            chosen = np.random.default_rng(0).choice(len(points), MAX_FEATURES, replace=False)
            points, descriptors = points[chosen], descriptors[chosen]
        return points, descriptors

    @cached_property
    def _detected(self) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float64]]:
        """Positions, descriptors and standard deviations of the features of the whole image."""
        from skimage.feature import SIFT

        finder = SIFT(c_dog=FEATURE_CONTRAST)
        try:
            finder.detect_and_extract(_resample(self.image, self.um, self.step))
        except (RuntimeError, ValueError, IndexError):  # no feature, or an image of few pixels
            return np.empty((0, 2)), np.empty((0, 128), np.uint8), np.empty(0)
        points = (np.asarray(finder.positions, float) + 0.5) * self.step
        return points, np.asarray(finder.descriptors), np.asarray(finder.sigmas, float)


@dataclass(frozen=True)
class _Alignment:
    """A transformation, the remaining distances in pixels of the blocks that agree, and the number of blocks tried."""

    matrix: NDArray[np.float64]
    residuals: NDArray[np.float64]
    tried: int

    @property
    def is_good(self) -> bool:
        return len(self.residuals) >= max(MIN_BLOCKS, MIN_SHARE * self.tried)


class _Blocks:
    """Blocks of the fixed image with structure, which are searched for in the moving image."""

    def __init__(self, fixed: NDArray[np.float32]) -> None:
        self._fixed = fixed
        starts = [range(0, side - BLOCK_PX + 1, BLOCK_PX // 2) for side in fixed.shape]
        self._corners = [(top, left) for top in starts[0] for left in starts[1]]
        spread = np.array([fixed[top : top + BLOCK_PX, left : left + BLOCK_PX].std() for top, left in self._corners])
        has_structure = spread > 0.5 * float(fixed.std())
        self._corners = [corner for corner, keep in zip(self._corners, has_structure, strict=True) if keep]

    @property
    def count(self) -> int:
        return len(self._corners)

    def refine(self, moving: NDArray[np.float32], start: NDArray[np.float64], *, with_scale: bool) -> _Alignment:
        """Improve a transformation by the shifts of the blocks, in rounds."""
        fit = _Alignment(start, np.empty(0), 0)
        for _ in range(ROUNDS):
            fixed_points, warped_points, tried = self._find(_warp(moving, fit.matrix, self._fixed.shape))
            if len(warped_points) < MIN_BLOCKS:
                return _Alignment(fit.matrix, np.empty(0), tried)
            points = _apply(np.asarray(np.linalg.inv(fit.matrix), np.float64), warped_points)
            flip = bool(np.linalg.det(fit.matrix[:2, :2]) < 0)
            matrix = _fit_robustly(points, fixed_points, flip=flip, with_scale=with_scale)
            distances = np.linalg.norm(_apply(matrix, points) - fixed_points, axis=1)
            fit = _Alignment(matrix, distances[distances < INLIER_PX], tried)
        return fit

    def _find(self, warped: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return the centers of the blocks that were found, their centers in the warped image, and the number tried."""
        from skimage.feature import match_template

        centers, warped_centers, tried = [], [], 0
        for top, left in self._corners:
            window_top, window_left = max(0, top - SEARCH_PX), max(0, left - SEARCH_PX)
            window = warped[window_top : top + BLOCK_PX + SEARCH_PX, window_left : left + BLOCK_PX + SEARCH_PX]
            block = self._fixed[top : top + BLOCK_PX, left : left + BLOCK_PX]
            if np.isnan(window).any():  # not in the moving image
                continue
            tried += 1
            if window.std() < MIN_SPREAD * block.std():
                continue
            correlation = match_template(window, block)
            best = np.unravel_index(int(correlation.argmax()), correlation.shape)
            if correlation[best] >= MIN_CORRELATION:
                row, column = _refine_maximum(correlation, (int(best[0]), int(best[1])))
                centers.append((top + BLOCK_PX / 2, left + BLOCK_PX / 2))
                warped_centers.append((window_top + row + BLOCK_PX / 2, window_left + column + BLOCK_PX / 2))
        return np.array(centers), np.array(warped_centers), tried


def _search(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], flips: Sequence[bool], scales: Sequence[float]
) -> Iterator[NDArray[np.float64]]:
    """Yield likely transformations, the likeliest first, by correlation for each rotation, flip and scale."""
    angles = np.arange(0.0, 360.0, ROTATION_STEP)
    coarse = _Correlator(fixed, moving, COARSE_PX)
    scores = [(coarse.score(*pose)[0], pose) for pose in itertools.product(flips, scales, angles)]
    fine = _Correlator(fixed, moving, 2 * COARSE_PX)
    offsets = np.arange(-ROTATION_STEP, ROTATION_STEP + FINE_STEP, FINE_STEP)
    candidates: list[tuple[bool, float]] = []  # flip and angle
    for _, (flip, scale, angle) in sorted(scores, key=itemgetter(0), reverse=True):
        if len(candidates) == CANDIDATES:
            return
        if all(
            abs((angle - other_angle + 180) % 360 - 180) > 2 * ROTATION_STEP or flip != other_flip
            for other_flip, other_angle in candidates
        ):
            candidates.append((flip, angle))
            yield max((fine.score(flip, scale, angle + offset) for offset in offsets), key=itemgetter(0))[1]


class _Correlator:
    """Correlate two images at low resolution over all shifts, for each shift within the area that both cover."""

    def __init__(self, fixed: NDArray[np.float32], moving: NDArray[np.float32], side_px: int) -> None:
        self._step = max(*fixed.shape, *moving.shape) / side_px
        self._fixed, self._moving = (_resample(image, (1.0, 1.0), self._step) for image in (fixed, moving))
        self._side = math.ceil(math.hypot(*self._moving.shape) * 1.5)
        self._shape = tuple(fft.next_fast_len(self._side + extent, real=True) for extent in self._fixed.shape)
        self._parts = self._transform(self._fixed)

    def score(self, flip: bool, scale: float, angle: float) -> tuple[float, NDArray[np.float64]]:
        """Return the highest correlation over all shifts, and the transformation of the original images."""
        turn = _rotation(angle, flip) * scale
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[:2, 2] = (self._side - 1) / 2 - turn @ ((np.array(self._moving.shape) - 1) / 2)
        turned = _warp(self._moving, matrix, (self._side, self._side))
        ones, values, squares = self._parts
        other_ones, other_values, other_squares = (np.conj(part) for part in self._transform(turned))
        count = np.maximum(self._inverse(ones * other_ones), 1.0)
        first, second = self._inverse(values * other_ones), self._inverse(ones * other_values)
        spread = (self._inverse(squares * other_ones) - first**2 / count).clip(0)
        spread *= (self._inverse(ones * other_squares) - second**2 / count).clip(0)
        correlation = (self._inverse(values * other_values) - first * second / count) / np.sqrt(spread + 1e-6)
        overlap = count / min(self._fixed.size, float(np.isfinite(turned).sum()))
        correlation = np.where(overlap >= MIN_OVERLAP, correlation * np.sqrt(overlap.clip(0, 1)), -1.0)
        best = np.unravel_index(int(correlation.argmax()), correlation.shape)
        # Shifts beyond the fixed image are negative: the Fourier transform is periodic.
        axes = zip(best, self._shape, self._fixed.shape, strict=True)
        matrix[:2, 2] += [shift - period if shift >= side else shift for shift, period, side in axes]
        matrix[:2, 2] = matrix[:2, 2] * self._step + (self._step - 1) / 2 * (1.0 - turn.sum(axis=1))
        return float(correlation[best]), matrix

    def _transform(self, image: NDArray[np.float32]) -> list[NDArray[np.complexfloating]]:
        """Return the Fourier transforms of the area of the image, of its values, and of their squares."""
        is_inside = np.isfinite(image)
        values = np.where(is_inside, image, 0.0).astype(np.float64)
        return [fft.rfft2(part, self._shape) for part in (is_inside.astype(np.float64), values, values**2)]

    def _inverse(self, product: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        return fft.irfft2(product, self._shape)


def _rotation(angle: float, flip: bool) -> NDArray[np.float64]:
    """Return the matrix that mirrors columns, if ``flip``, and then rotates by degrees, counterclockwise as displayed.

    It is applied to (row, column).
    """
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    return rotation @ np.diag([1.0, -1.0]) if flip else rotation


def _warp(image: NDArray[np.float32], matrix: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float32]:
    """Warp an image by a matrix from its positions to those of the result; NaN outside."""
    from scipy import ndimage

    inverse = np.linalg.inv(matrix)
    return ndimage.affine_transform(
        image, inverse[:2, :2], inverse[:2, 2], tuple(shape), order=1, mode="constant", cval=np.nan
    )


def _resample(image: NDArray[np.floating | np.bool_], um: tuple[float, float], target_um: float) -> NDArray[np.float32]:
    """Resample an image to square pixels of another size, without aliasing; its outer corner does not move."""
    from scipy import ndimage

    factors = np.array([target_um / size for size in um])
    shape = [max(1, math.ceil(side / factor)) for side, factor in zip(image.shape, factors, strict=True)]
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), np.maximum(0.0, (factors - 1) / 2), mode="nearest")
    return ndimage.affine_transform(smooth, factors, (factors - 1) / 2, tuple(shape), order=1, mode="nearest")


def _refine_maximum(values: NDArray[np.floating], best: tuple[int, int]) -> tuple[float, float]:
    """Return the position of a maximum with a precision below one pixel, by a parabola along each axis."""
    refined = []
    for axis in (0, 1):
        line = np.take(values, best[1 - axis], axis=1 - axis)
        position = best[axis]
        if 0 < position < len(line) - 1:
            before, peak, after = (float(line[position + step]) for step in (-1, 0, 1))
            curvature = before - 2 * peak + after
            refined.append(position + (0.0 if curvature >= 0 else (before - after) / (2 * curvature)))
        else:
            refined.append(float(position))
    return refined[0], refined[1]


def _fit(
    moving: NDArray[np.float64], fixed: NDArray[np.float64], *, flip: bool, with_scale: bool
) -> NDArray[np.float64]:
    """Fit a rotation, a shift and, on request, a scale by least squares (Umeyama 1991)."""
    from skimage.transform import EuclideanTransform, SimilarityTransform

    mirror = np.diag([1.0, -1.0 if flip else 1.0])
    kind = SimilarityTransform if with_scale else EuclideanTransform
    if hasattr(kind, "from_estimate"):  # since scikit-image 0.26, where the other way is deprecated
        transform = kind.from_estimate(moving @ mirror, fixed)
    else:
        transform = kind()
        transform.estimate(moving @ mirror, fixed)
    matrix = np.array(transform.params, float)
    matrix[:2, :2] = matrix[:2, :2] @ mirror
    return matrix


def _fit_robustly(
    moving: NDArray[np.float64], fixed: NDArray[np.float64], *, flip: bool, with_scale: bool
) -> NDArray[np.float64]:
    """Fit to the largest set of points that agree with each other, found by random samples of two points."""
    rng = np.random.default_rng(0)
    pairs = np.array([rng.choice(len(moving), 2, replace=False) for _ in range(SAMPLES)])
    spread, fixed_spread = (np.ptp(points[pairs], axis=1).max(axis=1) for points in (moving, fixed))
    pairs = pairs[(spread >= BLOCK_PX) & (fixed_spread >= BLOCK_PX / 8)]
    best = np.zeros(len(moving), bool)
    for agree in _iterate_agreement(moving, fixed, pairs, flip=flip, with_scale=with_scale):
        best = agree if agree.sum() > best.sum() else best
    if best.sum() < 2:
        best[:] = True
    return _fit(moving[best], fixed[best], flip=flip, with_scale=with_scale)


def _iterate_agreement(
    moving: NDArray[np.float64], fixed: NDArray[np.float64], pairs: NDArray[np.int64], *, flip: bool, with_scale: bool
) -> Iterator[NDArray[np.bool_]]:
    """Yield, for each pair of points, which points agree with the transformation that the pair determines.

    Positions are represented by complex numbers, for which a similarity is a multiplication and an addition.
    """
    start = moving[:, 0] + 1j * moving[:, 1] * (-1 if flip else 1)
    end = fixed[:, 0] + 1j * fixed[:, 1]
    for pair in pairs:
        turn = np.diff(end[pair])[0] / np.diff(start[pair])[0]
        turn = turn if with_scale else turn / abs(turn)
        yield np.abs(turn * (start - start[pair].mean()) + end[pair].mean() - end) < INLIER_PX


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _rms(matrix: NDArray[np.float64], moving: NDArray[np.float64], fixed: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.sum((_apply(matrix, moving) - fixed) ** 2, axis=1))))
