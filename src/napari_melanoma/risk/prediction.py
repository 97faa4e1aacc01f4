"""A risk: options, inputs, Shapley values, patches and what makes it invalid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.classification.prediction import probability_words
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction import DEPTH
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.features.encoding import number_of, understand
from napari_melanoma.data.table_schema import column_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier, Looked
    from napari_melanoma.core.prediction import FittedNumbers, FittedWords, TabularEncoding
    from napari_melanoma.models.bundle import BundleConfig

Row = Mapping[str, object]


@dataclass(frozen=True)
class Parted:
    """What each part moves a probability by, and the probability where nothing is known."""

    shares: dict[str, float]
    without: float


def parted(model: Classifier, looked: Sequence[Looked], row: Row, most: int) -> list[Parted] | None:
    """Say for each of several patches of one patient what image, depth and patient move its answer by.

    Exact Shapley values over the three parts; None where the bundle remembers no training cases.
    """
    others = _others(model, most)
    if others is None:
        return None
    found = []
    for one in looked:
        answers = {known: _answer(model, one, row, known, others) for known in coalitions(PARTS)}
        found.append(Parted(shares(answers, PARTS), answers[frozenset()]))
    return found


def log_odds(model: Classifier, looked: Sequence[Looked]) -> NDArray[np.float64]:
    """Give the network's log odds of the positive class from the image alone, before calibration.

    Returns float64 (patch,).
    """
    logits = model.decide(looked, [{}] * len(looked)).astype(np.float64)
    rest = np.delete(logits, model.judge.positive, axis=1)
    return logits[:, model.judge.positive] - np.logaddexp.reduce(rest, axis=1)


def _others(model: Classifier, most: int) -> NDArray[np.float32] | None:
    """Features of training cases, float32 (case, feature), spread evenly over those that are remembered."""
    reference = model.judge.reference
    if reference is None or not len(reference.embeddings):
        return None
    count = len(reference.embeddings)
    places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    return reference.embeddings[places].astype(np.float32)


def _answer(model: Classifier, looked: Looked, row: Row, known: Known, others: NDArray[np.float32]) -> float:
    """Probability of the positive class where only some parts are known."""
    cells = _cells(row, known)
    if {"image", "depth"} <= known:
        logits = model.decide([looked], [cells])
    else:
        logits = model.decide(_mixed(model, looked, known, others), [cells] * len(others))
    return float(model.judge.probabilities(logits)[:, model.judge.positive].mean())


def _cells(row: Row, known: Known) -> dict[str, object]:
    """The columns of a row that are known."""
    return {name: cell for name, cell in row.items() if ("depth" if name == DEPTH else "patient") in known}


def _mixed(model: Classifier, looked: Looked, known: Known, others: NDArray[np.float32]) -> list[Looked]:
    """The case's features where they are known, those of training cases where not; each a map of one place."""
    from napari_melanoma.classification.predictor import Looked as Seen

    own, mixed = looked.deepest.mean(axis=(0, 2, 3)), others.copy()
    at = getattr(model.network, "image_features", len(own))  # behind them stands what the network tells of the depth
    for part, where in (("image", np.s_[:at]), ("depth", np.s_[at:])):
        if part in known:
            mixed[:, where] = own[where]
    return [Seen(one[None, :, None, None], one) for one in mixed]


Known = frozenset[str]


def coalitions(parts: Sequence[str]) -> tuple[Known, ...]:
    """List every choice of parts, the empty one first."""
    return tuple(frozenset(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size))


def shares(answers: Mapping[Known, float], parts: Sequence[str]) -> dict[str, float]:
    """Share the difference between knowing all parts and knowing none out among the parts.

    The mean of what a part adds over all orders in which parts may become known (Shapley 1953,
    doi:10.1515/9781400881970-018).

    Part to its share; they add up to the answer with all parts less the one with none.
    """
    count, found = len(parts), dict.fromkeys(parts, 0.0)
    for part in parts:
        for known in coalitions([one for one in parts if one != part]):
            orders = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
            found[part] += orders * (answers[known | {part}] - answers[known])
    return found


def answers_of(parts: Sequence[str], answer: Callable[[Known], float]) -> dict[Known, float]:
    """Ask for the answer to every choice of parts."""
    return {known: answer(known) for known in coalitions(parts)}


Point = tuple[float, float]
Pool = Literal["mean", "maximum"]
UM = 1000.0  # in a millimetre
ABOVE_MM = 0.2  # of glass and keratin in view above the surface, as networks have learnt it
APART = 0.5  # of a patch's side: patches whose middles lie closer show the same


@dataclass(frozen=True)
class PatchPlace:
    """A patch: its middle as (row, column) in pixels of the finest level, its side, and what is there."""

    centre: Point
    side_mm: float
    what: str

    def box(self, um_per_px: Point) -> Box:
        """Give it in pixels of the finest level; it may reach outside of the slide.

        Returns as wide as high in mm.
        """
        height, width = (max(1, round(self.side_mm * UM / um)) for um in um_per_px)
        return Box(round(self.centre[0] - height / 2), round(self.centre[1] - width / 2), height, width)


def centre_below(surface: Point, deepest: Point, um_per_px: Point, side_mm: float) -> Point:
    """Say where the middle of a patch lies whose edge is a little above the surface, and that looks down the line.

    ``surface``, ``deepest``: ends of the line of the thickness, (row, column) in pixels of the finest level. Returns
    (row, column) in those pixels; of a line without length straight below the surface.
    """
    scale = np.asarray(um_per_px) / UM
    start, end = np.asarray(surface) * scale, np.asarray(deepest) * scale
    length = float(np.hypot(*(end - start)))
    down = (end - start) / length if length > 0 else np.array([1.0, 0.0])
    row, column = (start + down * (side_mm / 2 - ABOVE_MM)) / scale
    return float(row), float(column)


def patch_places(
    lines: Sequence[tuple[Point, Point]],
    lesions: Sequence[Point],
    um_per_px: Point,
    side_mm: float,
    most: int,
) -> tuple[PatchPlace, ...]:
    """Choose where to look: at the deepest places first, then at lesions of which none was measured.

    None that shows nearly the same as an earlier one; none at all where there is neither line nor lesion.
    """
    found = [
        PatchPlace(centre_below(*line, um_per_px, side_mm), side_mm, "deepest place" if place == 0 else "another depth")
        for place, line in enumerate(lines)
    ]
    found += [PatchPlace(centre, side_mm, "lesion") for centre in lesions]
    kept: list[PatchPlace] = []
    for one in found:
        if all(_apart_mm(one, other, um_per_px) >= APART * side_mm for other in kept):
            kept.append(one)
    return tuple(kept[:most])


def pooled(values: Sequence[float], how: Pool) -> float:
    """Turn the answers to patches into one (P3: mean, or maximum)."""
    return float(np.mean(values)) if how == "mean" else float(np.max(values))


def _apart_mm(one: PatchPlace, other: PatchPlace, um_per_px: Point) -> float:
    """How far the middles of two patches lie from each other."""
    rows, columns = (
        (mine - theirs) * um / UM for mine, theirs, um in zip(one.centre, other.centre, um_per_px, strict=True)
    )
    return float(np.hypot(rows, columns))


PARTS = ("image", "depth", "patient")  # the three branches of P3
DepthSource = Literal["reader", "automatic", "metadata", "predicted", "unknown"]
SOURCES: dict[DepthSource, str] = {
    "reader": "measured by {}",
    "automatic": "measured by the analysis of the slide",
    "metadata": "from the table of patients",
    "predicted": "told by the network from the image",
    "unknown": "not known",
}
NOTICE = "Research use only; not for diagnosis."


class RiskOptions(Config):
    """How a risk is told."""

    model: str = Field(min_length=1, description="a classifier of patches of slides, or the folder of its bundle")
    patch_mm: float = Field(3.0, gt=0, le=50, description="side of a patch, as the model has learnt them")
    patches: int = Field(3, ge=1, le=64, description="of a slide, at most: the deepest place, then others")
    pool: Pool = Field("mean", description="how the answers to patches become one")
    reader: str | None = Field(None, description="whose reading of the depth counts; none: the latest")
    slide_model: str = Field("skin-demo", min_length=1, description="by which a slide is analysed where it was not yet")
    mpp: float | None = Field(None, gt=0, description="micrometres per pixel of slides that do not say it")
    maps: bool = Field(False, description="of slides: also where the network looks (attention), and Grad-CAM")
    background: int = Field(32, ge=1, le=512, description="training cases that stand in for a part that is taken away")


@dataclass(frozen=True)
class DepthUsed:
    """The thickness that an answer rests on: mm, None where it is not known, and where it comes from.

    ``not_valid`` is the headline where it is a prediction that is not valid; empty where it may be stated.
    """

    mm: float | None
    source: DepthSource
    interval_mm: tuple[float, float] | None = None
    at_least: bool = False
    reader: str = ""
    not_valid: str = ""

    @property
    def words(self) -> str:
        """Such as ``depth 1.80 mm, measured by A``; without the number where it is not valid."""
        where = SOURCES[self.source].format(self.reader or "a reader who gave no name")
        if self.not_valid:
            return f"{self.not_valid} (depth {where})"
        if self.mm is None:
            return f"depth {where}"
        between = "" if self.interval_mm is None else f" ({self.interval_mm[0]:.2f} to {self.interval_mm[1]:.2f})"
        return f"depth {'at least ' if self.at_least else ''}{self.mm:.2f} mm{between}, {where}"


@dataclass(frozen=True)
class PatchAnswer:
    """A patch: what is there, its box (top, left, height, width) in pixels of the finest level, and its answer.

    ``depth_mm`` is what the network tells from the patch; None where it tells none. ``unlike`` says that it looks like
    nothing that the network has learnt from.
    """

    what: str
    box: tuple[int, int, int, int] | None
    probability: float
    depth_mm: float | None = None
    unlike: bool = False


@dataclass(frozen=True)
class Beside:
    """What another method says: its probability, None where it cannot answer, and then why."""

    title: str
    probability: float | None
    why: str = ""


@dataclass(frozen=True)
class RiskAnswer:
    """The risk of one melanoma.

    ``interval`` is None where the bundle has no reference cases. ``shares`` are what each part moves the probability
    by, from ``without`` (nothing known of this case) to ``probability``; None where the bundle remembers no training
    cases. ``missing`` are columns that the model asks for and nobody filled in. ``validity`` says whether the model may
    be applied to this melanoma at all.
    """

    positive: str
    probability: float
    interval: tuple[float, float] | None
    possible: tuple[str, ...]
    coverage: float
    depth: DepthUsed
    patches: tuple[PatchAnswer, ...]
    shares: dict[str, float] | None
    without: float | None
    beside: dict[str, Beside]
    known: dict[str, str]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    model: dict[str, str]
    options: RiskOptions
    provenance: dict[str, object] = field(default_factory=dict)
    validity: Validity = field(default_factory=Validity)

    @property
    def verdict(self) -> str:
        """The headline, ``Inconclusive: risk of metastasis 0.61 (95 % interval 0.42–0.90)``; or why it is not valid."""
        return self.validity.headline(f"{self._conclusion()}: {self.number}")

    @property
    def number(self) -> str:
        """Probability with its interval, such as ``risk of metastasis 0.61 (95 % interval 0.42–0.90)``."""
        return f"risk of {self.positive} {probability_words(self.probability, self.interval)}"

    def _conclusion(self) -> str:
        """What the prediction set leaves."""
        if len(self.possible) != 1:
            return "Inconclusive"
        answer = self.positive if self.possible[0] == self.positive else f"no {self.positive}"
        return f"{answer[:1].upper()}{answer[1:]} at {100 * self.coverage:g} % coverage"

    @property
    def because(self) -> str:
        """What each part moves it by, in words; empty where that is not known."""
        if self.shares is None or self.without is None:
            return ""
        parts = ", ".join(f"{name} {round(share, 2) + 0.0:+.2f}" for name, share in self.shares.items())
        return f"{parts}; {self.without:.2f} where nothing is known"

    @property
    def compared(self) -> str:
        """What the other methods say, in words."""
        known = [f"{one.title} {one.probability:.2f}" for one in self.beside.values() if one.probability is not None]
        return ", ".join(known)

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values.

        Every field, and the sentences for those who only read.
        """
        words: dict[str, Any] = {"verdict": self.verdict, "validity": self.validity.to_json(), "number": self.number}
        words |= {"because": self.because, "depth_in_words": self.depth.words}
        apart = ("options", "depth", "patches", "beside", "validity")
        plain = {name: value for name, value in vars(self).items() if name not in apart}
        return {
            **words,
            **plain,
            "depth": asdict(self.depth),
            "patches": [asdict(one) for one in self.patches],
            "beside": {name: asdict(one) for name, one in self.beside.items()},
            "options": self.options.model_dump(mode="json"),
            "notice": NOTICE,
        }


SELDOM = 0.05  # share of training cases without a value up to which a network does not know what that means
FAR = 5.0  # standard deviations of the training cases: beyond them a network guesses


class GapsUnknown(InputError):  # noqa: N818 - a state, as its siblings
    """A network was to answer with cells empty that it has never seen empty; what can be said without it is there."""

    def __init__(self, said: str, depth: DepthUsed, beside: dict[str, Beside]) -> None:
        super().__init__(said)
        self.depth, self.beside = depth, beside


def lacking(row: Mapping[str, object], encoding: TabularEncoding) -> tuple[str, ...]:
    """Name the columns that a network asks for and a row does not know.

    In its order.
    """
    there = understand([row], encoding).known[0]
    return tuple(name for name, is_known in zip(encoding.fields, there, strict=True) if not is_known)


def never_empty(config: BundleConfig) -> dict[str, float]:
    """Find the columns whose empty cell means nothing to a network.

    Column to the share of the training cases in which it was empty; none where cells were emptied while learning
    (``drop_form`` or ``drop_field``), or where nothing says how it was learnt.
    """
    recipe = config.provenance.get("recipe")
    asked = recipe.get("classification") if isinstance(recipe, dict) else None
    encoding = config.tabular
    if not isinstance(asked, dict) or encoding is None or asked.get("drop_form", 1) or asked.get("drop_field", 1):
        return {}
    columns: tuple[FittedNumbers | FittedWords, ...] = (*encoding.numbers, *encoding.words)
    empty = {one.name: 1 - one.known / encoding.rows if encoding.rows else 0.0 for one in columns}
    return {name: share for name, share in empty.items() if share < SELDOM}


def refusal(name: str, gaps: Mapping[str, float], row: Mapping[str, object], beside: Mapping[str, Beside]) -> str:
    """Say why a network gives no answer.

    Which cells, what they were in the training, what can be said without them, and what to do.
    """
    seen = max(gaps.values())
    learnt = "no case lacked one" if not seen else f"at most {100 * seen:.1f} % of the cases lacked one"
    told = [f"{one.title} {one.probability:.2f}" for one in beside.values() if one.probability is not None]
    there = f" What can be said without: {', '.join(told)}." if told else ""
    cells = {one: str(row.get(one) or "").strip() for one in gaps}
    named = ", ".join(f"{one} ('{cell}' is not understood)" if cell else one for one, cell in cells.items())
    return (
        f"no answer, as {named} {'is' if len(gaps) == 1 else 'are'} empty: '{name}' has not learnt what an "
        f"empty cell means (in its training {learnt}, drop_form = 0), and what it says then is chance.{there} Fill "
        "them in, or take a model that has learnt with drop_form above 0, as the recipe risk-small does."
    )


def check_possible(form: Mapping[str, str]) -> None:
    """Refuse a thickness that cannot be: it decides too much to be passed over."""
    column, cell = column_named(DEPTH), (form.get(DEPTH) or "").strip()
    assert column is not None
    assert column.low is not None
    assert column.high is not None
    mm = number_of(cell)
    if not cell or column.low <= mm <= column.high:
        return
    hint = f" {cell} µm would be {mm / UM:g} mm: write that, or '{cell} um'." if mm > column.high else ""
    raise InputError(
        f"{DEPTH} is '{cell}', expected a thickness of {column.low:g} to {column.high:g} mm.{hint} Correct it, or "
        "leave it empty."
    )


def far_off(row: Mapping[str, object], encoding: TabularEncoding) -> list[str]:
    """Say which numbers lie far from all that a network has learnt from."""
    return [said for one in encoding.numbers if (said := _far(number_of(row.get(one.name)), one))]


def strangers(model: Classifier, far: Sequence[float | None]) -> list[bool]:
    """Say which patches look like nothing that a network has learnt from.

    None of them where the bundle remembers no training cases.
    """
    limit = model.judge.config.unlike
    return [distance is not None and limit is not None and distance > limit for distance in far]


def _far(value: float, column: FittedNumbers) -> str:
    """What is to be said of a number that no training case was near."""
    if not column.std or not abs(value - column.mean) > FAR * column.std:
        return ""
    return (
        f"{column.name} {value:g}: far from all that the model has learnt from (mean {column.mean:.3g}, standard "
        f"deviation {column.std:.2g})"
    )
