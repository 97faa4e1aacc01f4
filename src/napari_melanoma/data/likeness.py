"""Which images show the same picture: a perceptual hash finds candidates, the pattern of the skin decides.

The hash has 120 bits, the signs of the low frequencies of a 32 x 32 grey thumbnail squeezed to a square (C. Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010, here with more frequencies), so it is the
same for any size, compression and tint. Pairs are found by bands of eight bits: two hashes that differ in
fewer bits than there are bands agree in one of them, those that differ in more nearly always do. Lesions look alike:
of two images with similar hashes most are different pictures. What decides is the correlation of the thumbnails after
the lesion's large shape and the local contrast are taken out, at the best shift of a few pixels, so that the texture
must agree and not only the dark spot in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.core.runs import ALONE, Progress, RunContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_PX = 32
FREQUENCIES = 11
BANDS = 15
RADIUS = 24  # bits: the worst of 14 pairs in ISIC 2017 that a person took for the same picture has 23
LIKE = 0.77  # of those 14 the least alike has 0.80, of 367 other pairs within the radius the most alike 0.74
FAIRLY_LIKE = 0.45  # without a shift; those 14 have 0.56 and more
SHIFT_PX = 3
FLAT = 2.0  # grey levels: a thumbnail that varies less shows nothing
EVEN = 0.6  # of neighbours equal: 0.35 at most in 2,300 photographs, 0.97 in drawings of a spot on even ground
_BLUR_PX, _CONTRAST_PX = 2.0, 4.0
_TILE, _CHUNK = 256, 20_000


class Alike(NamedTuple):
    """Two images that show the same picture: their numbers, the smaller first, and how alike they are, up to 1."""

    first: int
    second: int
    likeness: float


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute perceptual hashes.

    ``thumbnails``: uint8 (image, row=32, column=32), grey. Returns uint8 (image, band=15): 120 bits each, high and low
    frequencies spread over the bands.
    """
    from scipy.fft import dctn

    rows, columns = np.indices((FREQUENCIES, FREQUENCIES))
    chosen = [place for place in np.lexsort((rows.ravel(), (rows**2 + columns**2).ravel())) if place]  # 0 is the mean
    spread = np.asarray(chosen).reshape(-1, BANDS).T.ravel()
    found = np.empty((len(thumbnails), BANDS), np.uint8)
    for start in range(0, len(thumbnails), _CHUNK):
        waves = dctn(thumbnails[start : start + _CHUNK].astype(np.float32), axes=(1, 2), norm="ortho")
        low = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(waves), -1)
        found[start : start + _CHUNK] = np.packbits(low[:, spread] > 0, axis=1)
    return found


def close_pairs(
    codes: NDArray[np.uint8], radius: int = RADIUS, *, part: NDArray[np.integer] | None = None, run: RunContext = ALONE
) -> Iterator[NDArray[np.int32]]:
    """Find pairs of hashes that differ in few bits.

    ``codes``: uint8 (image, band), as ``hashes`` gives them. ``part``: int (image,): only hashes of different parts are
    compared. Yields int32 (pair, 2): numbers of images, the smaller first; each pair once. All that differ in fewer
    bits than there are bands, and nearly all others within the radius.
    """
    words = np.zeros((len(codes), 16), np.uint8)
    words[:, : codes.shape[1]] = codes
    halves = words.view(np.uint64)
    bands = codes.shape[1]
    for band in range(bands):
        order = np.argsort(codes[:, band], kind="stable")
        ends = np.searchsorted(codes[order, band], np.arange(257))
        for start, stop in pairwise(ends):
            run.check()
            for pairs in _within(halves, order[start:stop], radius, part, run):
                known = (codes[pairs[:, 0], :band] == codes[pairs[:, 1], :band]).any(1)  # an earlier band had it
                if not known.all():
                    yield np.sort(pairs[~known], axis=1).astype(np.int32)
        run.report(Progress(band + 1, bands, "Comparing the pictures"))


def same_pictures(
    thumbnails: NDArray[np.uint8], part: NDArray[np.integer] | None = None, run: RunContext = ALONE
) -> Iterator[Alike]:
    """Find images that show the same picture.

    ``thumbnails``: uint8 (image, row=32, column=32), grey; those without anything to see are left out. ``part``: int
    (image,): only images of different parts are compared. In no order, each pair once.
    """
    if len(thumbnails) < 2:
        return
    seen = np.flatnonzero(textured(thumbnails))
    patterns = _patterns(thumbnails[seen])
    for pairs in close_pairs(hashes(thumbnails[seen]), part=None if part is None else part[seen], run=run):
        for start in range(0, len(pairs), _CHUNK):
            run.check()
            first, second = pairs[start : start + _CHUNK].T
            for place, value in _alike(patterns, first, second):
                yield Alike(int(seen[first[place]]), int(seen[second[place]]), value)


def textured(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which thumbnails show something besides even areas: two drawings of a spot say nothing about each other.

    ``thumbnails``: uint8 (image, row=32, column=32), grey. Returns bool (image,).
    """
    varied = thumbnails.reshape(len(thumbnails), -1).std(1) >= FLAT
    along = (thumbnails[:, :, 1:] == thumbnails[:, :, :-1]).mean((1, 2))
    down = (thumbnails[:, 1:] == thumbnails[:, :-1]).mean((1, 2))
    return varied & ((along + down) / 2 <= EVEN)


def _within(
    halves: NDArray[np.uint64],
    members: NDArray[np.integer],
    radius: int,
    part: NDArray[np.integer] | None,
    run: RunContext,
) -> Iterator[NDArray[np.integer]]:
    """Compare all members of a bucket, tile by tile; the second half of the bits only where the first is close."""
    for rows, columns in _tiles(members, part):
        run.check()
        near = _bits(halves[rows, None, 0] ^ halves[None, columns, 0]) <= radius
        places = np.flatnonzero(np.triu(near, 1) if rows is columns else near)
        if len(places):
            one, two = rows[places // len(columns)], columns[places % len(columns)]
            differ = halves[one] ^ halves[two]
            close = _bits(differ[:, 0]) + _bits(differ[:, 1]) <= radius
            if close.any():
                yield np.stack((one[close], two[close]), axis=1)


def _tiles(
    members: NDArray[np.integer], part: NDArray[np.integer] | None
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
    """Rows and columns of what is to be compared: each pair once, the same array twice on the diagonal."""

    def cut(some: NDArray[np.integer]) -> list[NDArray[np.integer]]:
        return [some[start : start + _TILE] for start in range(0, len(some), _TILE)]

    if part is None:
        yield from combinations_with_replacement(cut(members), 2)
        return
    ordered = members[np.argsort(part[members], kind="stable")]
    ends = np.flatnonzero(np.diff(part[ordered])) + 1
    for start, end in pairwise((0, *ends)):
        yield from product(cut(ordered[start:end]), cut(ordered[end:]))


def _bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Count the bits that are set; numpy has a function for it from version 2 on."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    parts = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return _counts()[parts].sum(-1, dtype=np.uint8)


@cache
def _counts() -> NDArray[np.uint8]:
    """How many bits each number of 16 bits has."""
    return np.asarray([value.bit_count() for value in range(1 << 16)], np.uint8)


def _patterns(thumbnails: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Fine structure of thumbnails with equal local contrast, the border faded out, each of length 1."""
    from scipy.ndimage import gaussian_filter

    fade = np.sqrt(np.hanning(SIDE_PX + 2)[1:-1])
    found = np.empty(thumbnails.shape, np.float16)
    for start in range(0, len(thumbnails), _CHUNK):
        grey = thumbnails[start : start + _CHUNK].astype(np.float32)
        fine = grey - gaussian_filter(grey, (0, _BLUR_PX, _BLUR_PX))
        fine /= np.sqrt(gaussian_filter(fine**2, (0, _CONTRAST_PX, _CONTRAST_PX)) + 1)
        fine *= np.outer(fade, fade)
        fine /= np.linalg.norm(fine, axis=(1, 2), keepdims=True) + 1e-6
        found[start : start + _CHUNK] = fine
    return found


def _alike(
    patterns: NDArray[np.float16], first: NDArray[np.integer], second: NDArray[np.integer]
) -> Iterator[tuple[int, float]]:
    """Correlate pairs of patterns; gives places and likeness of those that show the same."""
    from scipy.fft import irfft2, rfft2

    one, other = patterns[first].astype(np.float32), patterns[second].astype(np.float32)
    hopeful = np.flatnonzero(np.einsum("ijk,ijk->i", one, other) >= FAIRLY_LIKE)
    if not len(hopeful):
        return
    correlation = irfft2(rfft2(one[hopeful]) * np.conj(rfft2(other[hopeful])))
    near = np.r_[-SHIFT_PX : SHIFT_PX + 1]
    best = correlation[:, near[:, None], near].max(axis=(1, 2))
    for place in np.flatnonzero(best >= LIKE):
        yield int(hopeful[place]), float(min(1.0, best[place]))
