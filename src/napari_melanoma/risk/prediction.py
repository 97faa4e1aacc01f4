"""A risk: options, inputs, Shapley values, patches and what makes it invalid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_melanoma.classification.prediction import format_probability
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.features.encoding import read_number, read_table_values
from napari_melanoma.data.table_schema import find_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier, EncoderOutput
    from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding
    from napari_melanoma.models.bundle import BundleConfig

TableRow = Mapping[str, object]


@dataclass(frozen=True)
class ShapleyShares:
    """What each part moves a probability by, and the probability where nothing is known."""

    shares: dict[str, float]
    baseline: float


def explain_by_part(
    model: Classifier, features: Sequence[EncoderOutput], row: TableRow, max_background: int
) -> list[ShapleyShares] | None:
    """Say for each of several patches of one patient what image, depth and patient move its answer by.

    Exact Shapley values over the three parts; None where the bundle remembers no training cases.
    """
    others = _background_features(model, max_background)
    if others is None:
        return None
    found = []
    for one in features:
        answers = {known: _predict_known_parts(model, one, row, known, others) for known in coalitions(PARTS)}
        found.append(ShapleyShares(shapley_shares(answers, PARTS), answers[frozenset()]))
    return found


def image_log_odds(model: Classifier, features: Sequence[EncoderOutput]) -> NDArray[np.float64]:
    """Return the network's log odds of the positive class from the image alone, before calibration.

    Returns float64 (patch,).
    """
    logits = model.run_head(features, [{}] * len(features)).astype(np.float64)
    rest = np.delete(logits, model.calibration.positive, axis=1)
    return logits[:, model.calibration.positive] - np.logaddexp.reduce(rest, axis=1)


def _background_features(model: Classifier, most: int) -> NDArray[np.float32] | None:
    """Features of training cases, float32 (case, feature), spread evenly over those that are remembered."""
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings):
        return None
    count = len(reference.embeddings)
    places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    return reference.embeddings[places].astype(np.float32)


def _predict_known_parts(
    model: Classifier, looked: EncoderOutput, row: TableRow, known: KnownParts, others: NDArray[np.float32]
) -> float:
    """Probability of the positive class where only some parts are known."""
    cells = _known_columns(row, known)
    if {"image", "depth"} <= known:
        logits = model.run_head([looked], [cells])
    else:
        logits = model.run_head(_mix_features(model, looked, known, others), [cells] * len(others))
    return float(model.calibration.probabilities(logits)[:, model.calibration.positive].mean())


def _known_columns(row: TableRow, known: KnownParts) -> dict[str, object]:
    """The columns of a row that are known."""
    return {name: cell for name, cell in row.items() if ("depth" if name == DEPTH_COLUMN else "patient") in known}


def _mix_features(
    model: Classifier, looked: EncoderOutput, known: KnownParts, others: NDArray[np.float32]
) -> list[EncoderOutput]:
    """The case's features where they are known, those of training cases where not; each a map of one place."""
    from napari_melanoma.classification.predictor import EncoderOutput as Seen

    own, mixed = looked.deepest.mean(axis=(0, 2, 3)), others.copy()
    at = getattr(model.network, "image_features", len(own))  # behind them stands what the network tells of the depth
    for part, where in (("image", np.s_[:at]), ("depth", np.s_[at:])):
        if part in known:
            mixed[:, where] = own[where]
    return [Seen(one[None, :, None, None], one) for one in mixed]


KnownParts = frozenset[str]


def coalitions(parts: Sequence[str]) -> tuple[KnownParts, ...]:
    """List every choice of parts, the empty one first."""
    return tuple(frozenset(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size))


def shapley_shares(predictions: Mapping[KnownParts, float], parts: Sequence[str]) -> dict[str, float]:
    """Share the difference between knowing all parts and knowing none out among the parts.

    The mean of what a part adds over all orders in which parts may become known (Shapley 1953,
    doi:10.1515/9781400881970-018).

    Part to its share; they add up to the answer with all parts less the one with none.
    """
    count, found = len(parts), dict.fromkeys(parts, 0.0)
    for part in parts:
        for known in coalitions([one for one in parts if one != part]):
            orders = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
            found[part] += orders * (predictions[known | {part}] - predictions[known])
    return found


def predict_coalitions(parts: Sequence[str], predict: Callable[[KnownParts], float]) -> dict[KnownParts, float]:
    """Ask for the answer to every choice of parts."""
    return {known: predict(known) for known in coalitions(parts)}


Point = tuple[float, float]
PoolingMethod = Literal["mean", "maximum"]
UM = 1000.0  # in a millimeter
MARGIN_ABOVE_MM = 0.2  # of glass and keratin in view above the surface, as networks have learnt it
MIN_CENTER_DISTANCE = 0.5  # of a patch's side: patches whose middles lie closer show the same


@dataclass(frozen=True)
class PatchPosition:
    """A patch: its middle as (row, column) in pixels of the finest level, its side, and what is there."""

    center: Point
    side_mm: float
    description: str

    def box(self, um_per_px: Point) -> Box:
        """Return it in pixels of the finest level; it may reach outside of the slide.

        Returns as wide as high in mm.
        """
        height, width = (max(1, round(self.side_mm * UM / um)) for um in um_per_px)
        return Box(round(self.center[0] - height / 2), round(self.center[1] - width / 2), height, width)


def patch_center(surface: Point, deepest: Point, um_per_px: Point, side_mm: float) -> Point:
    """Return where the middle of a patch lies whose edge is a little above the surface, and that looks down the line.

    ``surface``, ``deepest``: ends of the line of the thickness, (row, column) in pixels of the finest level. Returns
    (row, column) in those pixels; of a line without length straight below the surface.
    """
    scale = np.asarray(um_per_px) / UM
    start, end = np.asarray(surface) * scale, np.asarray(deepest) * scale
    length = float(np.hypot(*(end - start)))
    down = (end - start) / length if length > 0 else np.array([1.0, 0.0])
    row, column = (start + down * (side_mm / 2 - MARGIN_ABOVE_MM)) / scale
    return float(row), float(column)


def choose_patch_positions(
    lines: Sequence[tuple[Point, Point]],
    lesions: Sequence[Point],
    um_per_px: Point,
    side_mm: float,
    max_patches: int,
) -> tuple[PatchPosition, ...]:
    """Choose where to look: at the deepest places first, then at lesions of which none was measured.

    None that shows nearly the same as an earlier one; none at all where there is neither line nor lesion.
    """
    found = [
        PatchPosition(
            patch_center(*line, um_per_px, side_mm), side_mm, "deepest place" if place == 0 else "another depth"
        )
        for place, line in enumerate(lines)
    ]
    found += [PatchPosition(centre, side_mm, "lesion") for centre in lesions]
    kept: list[PatchPosition] = []
    for one in found:
        if all(_distance_mm(one, other, um_per_px) >= MIN_CENTER_DISTANCE * side_mm for other in kept):
            kept.append(one)
    return tuple(kept[:max_patches])


def pool_predictions(values: Sequence[float], how: PoolingMethod) -> float:
    """Turn the answers to patches into one (P3: mean, or maximum)."""
    return float(np.mean(values)) if how == "mean" else float(np.max(values))


def _distance_mm(one: PatchPosition, other: PatchPosition, um_per_px: Point) -> float:
    """How far the middles of two patches lie from each other."""
    rows, columns = (
        (mine - theirs) * um / UM for mine, theirs, um in zip(one.center, other.center, um_per_px, strict=True)
    )
    return float(np.hypot(rows, columns))


PARTS = ("image", "depth", "patient")  # the three branches of P3
DepthSource = Literal["reader", "automatic", "metadata", "predicted", "unknown"]
DEPTH_SOURCES: dict[DepthSource, str] = {
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
    pool: PoolingMethod = Field("mean", description="how the answers to patches become one")
    reader: str | None = Field(None, description="whose reading of the depth counts; none: the latest")
    slide_model: str = Field("skin-demo", min_length=1, description="by which a slide is analyzed where it was not yet")
    mpp: float | None = Field(None, gt=0, description="micrometers per pixel of slides that do not say it")
    maps: bool = Field(False, description="of slides: also where the network looks (attention), and Grad-CAM")
    background: int = Field(32, ge=1, le=512, description="training cases that stand in for a part that is taken away")


@dataclass(frozen=True)
class RiskDepth:
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
    def description(self) -> str:
        """Such as ``depth 1.80 mm, measured by A``; without the number where it is not valid."""
        where = DEPTH_SOURCES[self.source].format(self.reader or "a reader who gave no name")
        if self.not_valid:
            return f"{self.not_valid} (depth {where})"
        if self.mm is None:
            return f"depth {where}"
        between = "" if self.interval_mm is None else f" ({self.interval_mm[0]:.2f} to {self.interval_mm[1]:.2f})"
        return f"depth {'at least ' if self.at_least else ''}{self.mm:.2f} mm{between}, {where}"


@dataclass(frozen=True)
class PatchPrediction:
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
class ComparatorPrediction:
    """What another method says: its probability, None where it cannot answer, and then why."""

    title: str
    probability: float | None
    why: str = ""


@dataclass(frozen=True)
class RiskPrediction:
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
    depth: RiskDepth
    patches: tuple[PatchPrediction, ...]
    shares: dict[str, float] | None
    without: float | None
    beside: dict[str, ComparatorPrediction]
    known: dict[str, str]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    model: dict[str, str]
    options: RiskOptions
    provenance: dict[str, object] = field(default_factory=dict)
    validity: Validity = field(default_factory=Validity)

    @property
    def headline(self) -> str:
        """The headline, ``Inconclusive: risk of metastasis 0.61 (95 % interval 0.42–0.90)``; or why it is not valid."""
        return self.validity.headline(f"{self._conclusion()}: {self.risk_text}")

    @property
    def risk_text(self) -> str:
        """Probability with its interval, such as ``risk of metastasis 0.61 (95 % interval 0.42–0.90)``."""
        return f"risk of {self.positive} {format_probability(self.probability, self.interval)}"

    def _conclusion(self) -> str:
        """What the prediction set leaves."""
        if len(self.possible) != 1:
            return "Inconclusive"
        answer = self.positive if self.possible[0] == self.positive else f"no {self.positive}"
        return f"{answer[:1].upper()}{answer[1:]} at {100 * self.coverage:g} % coverage"

    @property
    def contributions_text(self) -> str:
        """What each part moves it by, in words; empty where that is not known."""
        if self.shares is None or self.without is None:
            return ""
        parts = ", ".join(f"{name} {round(share, 2) + 0.0:+.2f}" for name, share in self.shares.items())
        return f"{parts}; {self.without:.2f} where nothing is known"

    @property
    def comparisons_text(self) -> str:
        """What the other methods say, in words."""
        known = [f"{one.title} {one.probability:.2f}" for one in self.beside.values() if one.probability is not None]
        return ", ".join(known)

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values.

        Every field, and the sentences for those who only read.
        """
        words: dict[str, Any] = {
            "verdict": self.headline,
            "validity": self.validity.to_json(),
            "number": self.risk_text,
        }
        words |= {"because": self.contributions_text, "depth_in_words": self.depth.description}
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


RARELY_MISSING_SHARE = (
    0.05  # share of training cases without a value up to which a network does not know what that means
)
FAR_DEVIATIONS = 5.0  # standard deviations of the training cases: beyond them a network guesses


class MissingValuesError(InputError):
    """A network was to answer with cells empty that it has never seen empty; what can be said without it is there."""

    def __init__(self, message: str, depth: RiskDepth, comparisons: dict[str, ComparatorPrediction]) -> None:
        super().__init__(message)
        self.depth, self.comparisons = depth, comparisons


def missing_columns(row: Mapping[str, object], encoding: TabularEncoding) -> tuple[str, ...]:
    """Name the columns that a network asks for and a row does not know.

    In its order.
    """
    there = read_table_values([row], encoding).known[0]
    return tuple(name for name, is_known in zip(encoding.fields, there, strict=True) if not is_known)


def never_missing_columns(config: BundleConfig) -> dict[str, float]:
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
    return {name: share for name, share in empty.items() if share < RARELY_MISSING_SHARE}


def describe_missing_values(
    name: str, gaps: Mapping[str, float], row: Mapping[str, object], comparisons: Mapping[str, ComparatorPrediction]
) -> str:
    """Return why a network gives no answer.

    Which cells, what they were in the training, what can be said without them, and what to do.
    """
    seen = max(gaps.values())
    learnt = "no case lacked one" if not seen else f"at most {100 * seen:.1f} % of the cases lacked one"
    told = [f"{one.title} {one.probability:.2f}" for one in comparisons.values() if one.probability is not None]
    there = f" What can be said without: {', '.join(told)}." if told else ""
    cells = {one: str(row.get(one) or "").strip() for one in gaps}
    named = ", ".join(f"{one} ('{cell}' is not understood)" if cell else one for one, cell in cells.items())
    return (
        f"no answer, as {named} {'is' if len(gaps) == 1 else 'are'} empty: '{name}' has not learnt what an "
        f"empty cell means (in its training {learnt}, drop_form = 0), and what it says then is chance.{there} Fill "
        "them in, or take a model that has learnt with drop_form above 0, as the recipe risk-small does."
    )


def check_plausible_depth(metadata: Mapping[str, str]) -> None:
    """Refuse a thickness that cannot be: it decides too much to be passed over."""
    column, cell = find_column(DEPTH_COLUMN), (metadata.get(DEPTH_COLUMN) or "").strip()
    assert column is not None
    assert column.low is not None
    assert column.high is not None
    mm = read_number(cell)
    if not cell or column.low <= mm <= column.high:
        return
    hint = f" {cell} µm would be {mm / UM:g} mm: write that, or '{cell} um'." if mm > column.high else ""
    raise InputError(
        f"{DEPTH_COLUMN} is '{cell}', expected a thickness of {column.low:g} to {column.high:g} mm.{hint} Correct it, or "
        "leave it empty."
    )


def describe_outliers(row: Mapping[str, object], encoding: TabularEncoding) -> list[str]:
    """Return which numbers lie far from all that a network has learnt from."""
    return [said for one in encoding.numbers if (said := _describe_outlier(read_number(row.get(one.name)), one))]


def out_of_distribution_patches(model: Classifier, far: Sequence[float | None]) -> list[bool]:
    """Return which patches look like nothing that a network has learnt from.

    None of them where the bundle remembers no training cases.
    """
    limit = model.calibration.config.unlike
    return [distance is not None and limit is not None and distance > limit for distance in far]


def _describe_outlier(value: float, column: FittedNumbers) -> str:
    """What is to be said of a number that no training case was near."""
    if not column.std or not abs(value - column.mean) > FAR_DEVIATIONS * column.std:
        return ""
    return (
        f"{column.name} {value:g}: far from all that the model has learnt from (mean {column.mean:.3g}, standard "
        f"deviation {column.std:.2g})"
    )
