"""Ticks at equal distances along a straight row, and which of them are longer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.ruler_rows import DarkRow, GrayView, Map, find_dark_rows, flatten_light

FINE_SIDE, COARSE_SIDE = 1536, 640  # longer sides in pixels of the views for ticks and for rows
STEP = 0.5  # px of the fine view between samples along a row
EXTENSION = 0.04  # of the length of a row, to each side, in which ticks are searched, too
# Distances from a row in which ticks are searched, as shares of the longer side, and the half width of the band in
# which they are averaged, as a share of the distance.
NEAREST, FARTHEST = 0.003, 0.085
BAND, THIN_BAND = 0.16, 0.001
REPEATS = 0.42  # least autocorrelation of a row that may be a scale: scales have 0.58 to 0.96, other rows mostly less
MAX_PEAKS = 140
HYPOTHESES = 6  # pairs of peaks per profile from which a row of ticks is built
REACH = 6.5  # periods to each side in which a pair of peaks is rated
MIN_PERIOD = 3.0  # samples
RATIOS = (2, 5, 10)  # of the distances of longer and shorter ticks
UNITS = {2: (5, 10), 5: (1, 5), 10: (1, 10)}  # distances of the shorter and the longer ticks in units, by ratio
RATIO_TOLERANCE = 0.025
MIN_LONG, MIN_SHORT = 4, 7  # ticks
MIN_CONFIDENCE = 0.75
MAX_BETWEEN = 0.5  # of the height of longer ticks in a profile, of that between them


@dataclass(frozen=True)
class TickPattern:
    """A row of ticks of which each fifth or tenth is longer.

    ``foot``: foot of the tick 0, and ``unit``: vector from tick to tick, both (row, column) in pixels of the
    photograph. ``first``, ``last``: numbers of the first and the last tick. ``step``: 1, or 5 if only each fifth is
    resolved. ``anchor``: number of one of the longest ticks. ``confidence``: 0 to 1.
    """

    foot: NDArray[np.float64]
    unit: NDArray[np.float64]
    first: int
    last: int
    step: int
    anchor: int
    confidence: float

    @property
    def unit_px(self) -> float:
        """Distance of two of the shortest ticks in pixels."""
        return float(np.hypot(*self.unit))

    @property
    def count(self) -> int:
        """Distance of the first and the last tick, in those of two of the shortest."""
        return self.last - self.first

    def point_at(self, number: int) -> NDArray[np.float64]:
        """Return the foot of a tick, (row, column) in pixels of the photograph."""
        return self.foot + number * self.unit


@dataclass(frozen=True)
class _Comb:
    """Peaks of a profile at equal distances.

    ``origin`` + number * ``period``: positions in samples. ``numbers``: int (n,), of the peaks that were found.
    ``missing``: positions without a peak. ``extra``: other peaks as high between them. ``spread``: root mean square
    distance of the peaks from the positions, in periods. ``profile``: the profile with the peaks.
    """

    origin: float
    period: float
    numbers: NDArray[np.int64]
    missing: int
    extra: int
    spread: float
    profile: NDArray[np.float64] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of peaks."""
        return len(self.numbers)

    @property
    def score(self) -> float:
        """Rating by which combs of one profile are compared."""
        return self.count - self.missing - 0.7 * self.extra - 10 * self.spread

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of the first and the last peak."""
        return self.origin + self.period * self.numbers[0], self.origin + self.period * self.numbers[-1]

    def heights_at(self, positions: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
        """Return the highest values of the profile within ``reach`` of positions, all in samples."""
        steps = np.arange(-math.floor(reach), math.floor(reach) + 1)
        near = np.rint(positions).astype(np.int64)[:, None] + steps
        return self.profile[np.clip(near, 0, len(self.profile) - 1)].max(axis=1)

    @property
    def is_regular(self) -> bool:
        """Whether few positions are missing, few peaks are between them, and the peaks are where they should be."""
        limit = max(0.03, 0.5 / self.period)
        return self.missing <= 0.2 * self.count and self.extra <= 0.6 * self.count and self.spread <= limit


class _NotMetricError(Exception):
    """The ticks are those of another unit than millimeters."""


def find_tick_pattern(rgb: NDArray[np.uint8]) -> TickPattern | None:
    """Return the most conspicuous ticks of a photograph, uint8 (row, column, channel=3): dark, or else light ones."""
    coarse, fine = (GrayView.from_photograph(rgb, side) for side in (COARSE_SIDE, FINE_SIDE))
    with suppress(_NotMetricError):  # its other rows are parts of the same ruler
        for light in (False, True):
            for row in find_dark_rows(coarse, light=light):
                pattern = _read_row(fine, row, light=light)
                if pattern is not None:
                    return pattern
    return None


def _read_row(view: GrayView, row: DarkRow, *, light: bool) -> TickPattern | None:
    """Read the ticks along a row; None if there are none, or none of them is longer."""
    margin = EXTENSION * row.length
    row = replace(row, start=row.point_at(-margin, 0), length=row.length + 2 * margin)
    half = round(FARTHEST * view.longer_side) + 1
    strip = view.cut_strip(row, half, STEP)
    outside = np.isnan(strip)
    if outside.mean() > 0.5:
        return None
    strip[outside] = np.nanmedian(strip)
    dark = flatten_light(-strip if light else strip)
    dark[outside] = 0
    if _repeats(_profiles(dark, view.longer_side, 1.4)) < REPEATS:
        return None
    combs = [find_comb(profile) for profile in _profiles(dark, view.longer_side, 1.18)]
    regular = [comb for comb in combs if comb is not None and comb.is_regular]
    pairs = [(long, short, _match(long, short)) for long in regular for short in regular]
    if _halves_twice(pairs):
        raise _NotMetricError
    matched = [pair for pair in pairs if pair[2] and _stands_out(*pair[:2])]
    rated = [(_rate(long, short, matched), long, short, ratio) for long, short, ratio in matched]
    sure = [pair for pair in rated if pair[0] >= MIN_CONFIDENCE]
    if not sure:
        return None
    longest = max(long.period for _, long, _, _ in sure)  # of ticks at 1, 5 and 10, those at 10
    sure = [pair for pair in sure if pair[1].period > (1 - RATIO_TOLERANCE) * longest]
    confidence, long, short, ratio = max(sure, key=itemgetter(0))
    return _to_pattern(long, short, ratio, confidence, row, view)


def _profiles(dark: Map, longer_side: int, growth: float) -> NDArray[np.float64]:
    """Return how dark it is along the row in bands at growing distances on both sides, (band, sample).

    In units of the usual variation in the band. ``growth``: ratio of the distances of neighboring bands.
    """
    from scipy.ndimage import gaussian_filter1d

    middle, profiles = len(dark) // 2, []
    sums = np.concatenate([np.zeros((1, dark.shape[1])), np.cumsum(dark, axis=0, dtype=np.float64)])
    for distance in np.geomspace(NEAREST, FARTHEST, round(math.log(FARTHEST / NEAREST, growth))) * longer_side:
        half = max(BAND * distance, THIN_BAND * longer_side, 0.5)
        first, last = max(1, round(distance - half)), round(distance + half)
        for start, end in ((middle + first, middle + last + 1), (middle - last, middle - first + 1)):
            start, end = max(start, 0), min(end, len(dark))
            if end > start:
                profiles.append((sums[end] - sums[start]) / (end - start))
    found = np.array(profiles)
    found -= gaussian_filter1d(found, 40, axis=1)
    usual = 1.48 * np.median(np.abs(found - np.median(found, axis=1, keepdims=True)), axis=1, keepdims=True)
    return found / (usual + 0.02)


def _repeats(profiles: NDArray[np.float64]) -> float:
    """Return the second highest autocorrelation of the profiles, beyond their first negative one."""
    clipped = np.clip(profiles, -4, 4)
    clipped -= clipped.mean(axis=1, keepdims=True)
    length = clipped.shape[1]
    spectrum = np.abs(np.fft.rfft(clipped, 2 * length, axis=1)) ** 2
    repeats = np.fft.irfft(spectrum, 2 * length, axis=1)[:, : length // 3]
    repeats /= (repeats[:, :1] + 1e-9) * (1 - np.arange(length // 3) / length)
    beyond = np.maximum.accumulate(repeats < 0, axis=1)
    return float(np.partition(np.where(beyond, repeats, -1).max(axis=1), -2)[-2])


def find_comb(profile: NDArray[np.float64]) -> _Comb | None:
    """Find the most regular peaks of a profile; None if it has fewer than four in a row."""
    from scipy.signal import find_peaks

    found, properties = find_peaks(profile, prominence=max(1.5, 0.3 * float(np.quantile(profile, 0.98))))
    if len(found) < MIN_LONG:
        return None
    heights = properties["prominences"]
    if len(found) > MAX_PEAKS:
        highest = np.sort(np.argsort(-heights)[:MAX_PEAKS])
        found, heights = found[highest], heights[highest]
    left, middle, right = profile[found - 1], profile[found], profile[found + 1]
    at = found + np.clip(0.5 * (left - right) / (left - 2 * middle + right - 1e-9), -0.5, 0.5)
    combs = (_grow_comb(profile, at, heights, guess) for guess in _guess_combs(at))
    return max((comb for comb in combs if comb is not None), key=lambda comb: comb.score, default=None)


def _guess_combs(at: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Yield position and distance of the pairs of peaks that fit most peaks around them."""
    pairs = [(at[:-distance], (at[distance:] - at[:-distance])) for distance in (1, 2, 3)]
    pairs.append((pairs[1][0], pairs[1][1] / 2))  # one peak between them may be missing in the profile
    start, period = (np.concatenate(part) for part in zip(*pairs, strict=True))
    start, period = start[period >= MIN_PERIOD], period[period >= MIN_PERIOD]
    number = (at[None] - start[:, None]) / period[:, None]
    near = np.abs(number) < REACH
    fits = near & (np.abs(number - np.rint(number)) < 0.12)
    score = fits.sum(axis=1) - 0.7 * (near & ~fits).sum(axis=1)
    for index in np.argsort(-score, kind="stable")[:HYPOTHESES]:
        yield float(start[index]), float(period[index])


def _grow_comb(
    profile: NDArray[np.float64], at: NDArray[np.float64], heights: NDArray[np.float64], guess: tuple[float, float]
) -> _Comb | None:
    """Follow the peaks from a pair of them in both directions until two positions have no peak."""
    start, period = guess
    members = {0: int(np.argmin(np.abs(at - start)))}
    for sign in (-1, 1):
        number, position, current, missed = 0, start, period, 0
        while missed < 2 and at[0] - current <= position + sign * current <= at[-1] + current:
            number, position = number + sign, position + sign * current
            nearest = int(np.argmin(np.abs(at - position)))
            if abs(at[nearest] - position) >= max(0.07 * current, 1.2):
                missed += 1
                continue
            members[number], position, missed = nearest, float(at[nearest]), 0
            if abs(number) >= 3:
                current = abs(position - start) / abs(number)
    if len(members) < MIN_LONG:
        return None
    numbers = np.array(sorted(members))
    chosen = np.array([members[number] for number in numbers])
    slope, origin = np.polyfit(numbers, at[chosen], 1)
    spread = float(np.sqrt(np.mean((at[chosen] - origin - slope * numbers) ** 2)) / slope)
    between = (at > at[chosen[0]] - slope / 2) & (at < at[chosen[-1]] + slope / 2)
    as_high = heights > 0.5 * np.median(heights[chosen])
    extra = max(0, int(np.count_nonzero(between & as_high)) - len(chosen))
    missing = int(numbers[-1] - numbers[0]) + 1 - len(numbers)
    return _Comb(float(origin), float(slope), numbers, missing, extra, spread, profile)


def _match(long: _Comb, short: _Comb) -> int:
    """Return how many of the shorter ticks there are for each longer one: 2, 5 or 10; 0 if they do not match."""
    ratio = min(RATIOS, key=lambda one: abs(long.period / short.period / one - 1))
    if abs(long.period / short.period / ratio - 1) > RATIO_TOLERANCE:
        return 0
    if short.count < max(MIN_SHORT, 1.4 * long.count if ratio == 2 else 2.5 * long.count):
        return 0
    number = (long.origin + long.period * long.numbers - short.origin) / short.period
    aligned = np.abs(number - np.rint(number)).mean() < 0.2
    covered = (number > short.numbers[0] - 1) & (number < short.numbers[-1] + 1)
    return ratio if aligned and covered.mean() > 0.6 else 0


def _stands_out(long: _Comb, short: _Comb) -> bool:
    """Whether, where the longer ticks are seen, there is little at the shorter ones between them."""
    ratio = round(long.period / short.period)
    numbers = np.arange(long.numbers[0] * ratio, long.numbers[-1] * ratio + 1)
    heights = long.heights_at(long.origin + long.period * numbers / ratio, 0.15 * short.period)
    is_long = numbers % ratio == 0
    return float(np.median(heights[~is_long])) < MAX_BETWEEN * float(np.median(heights[is_long]))


def _halves_twice(pairs: Sequence[tuple[_Comb, _Comb, int]]) -> bool:
    """Whether shorter ticks halve the distance of longer ones that halve another distance, as inches are divided."""
    halves = [(long.period, short.period) for long, short, ratio in pairs if ratio == 2]
    return any(abs(short / long - 1) < RATIO_TOLERANCE for _, short in halves for long, _ in halves)


def _rate(long: _Comb, short: _Comb, matched: Sequence[tuple[_Comb, _Comb, int]]) -> float:
    """Return how sure it is that two combs are the longer and the shorter ticks of a scale, 0 to 1.

    ``matched``: all pairs along the row; ticks of a third length count as two more of the longer ticks.
    """
    count = long.count + short.count
    faults = sum(comb.missing + 0.5 * comb.extra + 5 * comb.spread for comb in (long, short))
    third = any(
        shortest.period < 0.6 * short.period and abs(other.period / long.period - 1) < RATIO_TOLERANCE
        for other, shortest, _ in matched
    )
    ticks = long.count + (2 if third else 0)
    return (1 - math.exp(-(ticks - 1) / 2.5)) * max(0.0, 1 - faults / count)


def _to_pattern(long: _Comb, short: _Comb, ratio: int, confidence: float, row: DarkRow, view: GrayView) -> TickPattern:
    """Describe two combs in the units of the shortest ticks, which only longer ones of a ratio of 2 do not show."""
    step, length = UNITS[ratio]
    unit = long.period / length  # samples
    ends = [(end - long.origin) / unit for comb in (long, short) for end in comb.ends]
    px = STEP / view.scale
    return TickPattern(
        foot=row.point_at(long.origin * px, 0),
        unit=unit * px * row.along,
        first=round(min(ends) / step) * step,
        last=round(max(ends) / step) * step,
        step=step,
        anchor=0,
        confidence=confidence,
    )
