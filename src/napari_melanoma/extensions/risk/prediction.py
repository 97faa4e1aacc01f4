"""Risk prediction: options, the prediction itself, and missing or implausible inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from napari_melanoma.classification.prediction import (
    METHODS,
    OTHER_CLASS,
    HeatmapMethod,
    close_upwards,
    format_probability,
    format_rarity,
)
from napari_melanoma.core.config import Config, omit_unset
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import capitalize
from napari_melanoma.core.geometry import UM_PER_MM
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, FittedNumbers, FittedWords, TabularEncoding
from napari_melanoma.core.validity import NOTICE, Validity
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.data.tabular_encoding import read_number, read_table_values
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.slides.depth_readings import KnownDepth

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier

PoolingMethod = Literal["mean", "maximum"]


class RiskOptions(Config):
    """Options of a risk prediction."""

    model: str = Field(min_length=1, description="a classifier of slide patches, or the folder of its bundle")
    patch_mm: float = Field(3.0, gt=0, le=50, description="side of a patch in mm, as in training")
    patches: int = Field(
        3,
        ge=1,
        le=64,
        description="maximum number of patches per slide: at the position of greatest depth, then others",
    )
    cover: Literal["selected", "tissue"] = Field(
        "selected",
        description="patches of a slide: selected by depth and lesions, or side by side over all of its tissue",
    )
    pool: PoolingMethod = Field("mean", description="pooling of patch predictions")
    reader: str | None = Field(None, description="reader whose depth is used; by default that of the latest reading")
    slide_model: str = Field(
        "", description="model that detects the tumor of slides without analysis; by default such slides fail"
    )
    mpp: float | None = Field(
        None, gt=0, description="micrometers per pixel of slides that state none or a wrong value"
    )
    mpp_y: float | None = Field(
        None, gt=0, description="height of a pixel in micrometers, if it is not square; by default mpp, its width"
    )
    heatmap: tuple[HeatmapMethod, ...] = Field(
        (), description=f"method of a heatmap of the patches: attention, {', '.join(METHODS)}; by default none"
    )
    background: int = Field(32, ge=1, le=512, description="training cases that replace a part in Shapley values")

    @model_validator(mode="after")
    def _check_height(self) -> Self:
        if self.mpp_y is not None and self.mpp is None:
            raise ValueError("mpp_y is the height of pixels whose width is mpp: set mpp, too")
        return self

    _omit_unset = omit_unset("mpp_y")


@dataclass(frozen=True)
class PatchPrediction:
    """The prediction for a patch.

    ``what``: description of the patch. ``box``: top, left, height and width in pixels of the finest level; None for a
    single image. ``depth_mm``: depth predicted from the patch; None if the network predicts none.
    ``out_of_distribution``: whether the patch is.
    """

    what: str
    box: tuple[int, int, int, int] | None
    probability: float
    depth_mm: float | None = None
    out_of_distribution: bool = False


@dataclass(frozen=True)
class ComparatorPrediction:
    """Prediction of a comparator: its probability, or None and the reason (``why``)."""

    title: str
    probability: float | None
    why: str = ""


@dataclass(frozen=True)
class RiskPrediction:
    """The predicted risk for one melanoma.

    ``positive``: the class whose probability is predicted. ``interval``: None if the bundle has no reference cases.
    ``possible``: classes of the conformal prediction set. ``shares``: contributions of the parts to the probability,
    which add up to the difference between ``without`` (the probability without any input) and ``probability``; None if
    the bundle stores no training cases or was trained without missing values. ``comparators``: predictions of the
    comparators. ``known``: values of the columns that model and comparators use. ``missing``: model inputs without a
    value. ``validity``: whether the model may be applied to this melanoma.
    """

    positive: str
    probability: float
    interval: tuple[float, float] | None
    possible: tuple[str, ...]
    coverage: float
    depth: KnownDepth
    patches: tuple[PatchPrediction, ...]
    shares: dict[str, float] | None
    without: float | None
    comparators: dict[str, ComparatorPrediction]
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
        probabilities = {OTHER_CLASS: 1 - self.probability, self.positive: self.probability}
        stated = {name if name == self.positive else OTHER_CLASS for name in self.possible}
        match close_upwards(probabilities, tuple(stated)):
            case (name,) if name == self.positive:
                text = capitalize(self.risk_text)
            case (_,):
                text = f"{capitalize(self.risk_text)}; {format_rarity(self.positive, self.coverage)}"
            case _:
                text = f"Inconclusive: {self.risk_text}"
        return self.validity.headline(text)

    @property
    def risk_text(self) -> str:
        """Probability with its interval, such as ``risk of metastasis 0.61 (95 % interval 0.42–0.90)``."""
        return f"risk of {self.positive} {format_probability(self.probability, self.interval)}"

    @property
    def contributions_text(self) -> str:
        """Contribution of each part as text; empty if unknown."""
        if self.shares is None or self.without is None:
            return ""
        parts = ", ".join(f"{name} {round(share, 2) + 0.0:+.2f}" for name, share in self.shares.items())
        return f"{parts}; {self.without:.2f} without any input"

    @property
    def comparisons_text(self) -> str:
        """Predictions of the comparators as text."""
        texts = [
            f"{comparator.title} {comparator.probability:.2f}"
            for comparator in self.comparators.values()
            if comparator.probability is not None
        ]
        return ", ".join(texts)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain values, with texts for users."""
        texts: dict[str, Any] = {
            "verdict": self.headline,
            "validity": self.validity.to_json(),
            "number": self.risk_text,
        }
        texts |= {"because": self.contributions_text, "depth_text": self.depth.description}
        nested = ("options", "depth", "patches", "comparators", "validity")
        plain = {name: value for name, value in vars(self).items() if name not in nested}
        return {
            **texts,
            **plain,
            "depth": asdict(self.depth),
            "patches": [asdict(patch) for patch in self.patches],
            "comparators": {name: asdict(comparator) for name, comparator in self.comparators.items()},
            "options": self.options.model_dump(mode="json"),
            "notice": NOTICE,
        }


RARELY_MISSING_SHARE = 0.05  # if fewer training cases lack a value, the model does not support missing ones
FAR_DEVIATIONS = 5.0  # standard deviations of the training cases beyond which a value is an outlier


class MissingValuesError(InputError):
    """Values are missing that were hardly ever missing in the training.

    ``depth``, ``comparisons``: what is available without them. ``validity``: of these.
    """

    def __init__(
        self, message: str, depth: KnownDepth, validity: Validity, comparisons: dict[str, ComparatorPrediction]
    ) -> None:
        super().__init__(message)
        self.depth, self.validity, self.comparisons = depth, validity, comparisons


def pool_predictions(values: Sequence[float], method: PoolingMethod) -> float:
    return float(np.mean(values)) if method == "mean" else float(np.max(values))


def missing_columns(row: Mapping[str, object], encoding: TabularEncoding) -> tuple[str, ...]:
    """Name the model inputs that are missing in a row, in the order of the model."""
    present = read_table_values([row], encoding).known[0]
    return tuple(name for name, is_known in zip(encoding.fields, present, strict=True) if not is_known)


def required_columns(config: BundleConfig) -> dict[str, float]:
    """Return the columns that a model requires, because they were hardly ever missing in its training.

    Maps each column to the share of training cases without a value. Empty if values were hidden during the training
    (``drop_form`` or ``drop_field``), or if the recipe is unknown.
    """
    recipe = config.provenance.get("recipe")
    options = recipe.get("classification") if isinstance(recipe, dict) else None
    encoding = config.tabular
    if not isinstance(options, dict) or encoding is None or options.get("drop_form", 1) or options.get("drop_field", 1):
        return {}
    columns: tuple[FittedNumbers | FittedWords, ...] = (*encoding.numbers, *encoding.words)
    missing_shares = {column.name: 1 - column.known / encoding.rows if encoding.rows else 0.0 for column in columns}
    return {name: share for name, share in missing_shares.items() if share < RARELY_MISSING_SHARE}


def describe_missing_values(
    name: str, gaps: Mapping[str, float], row: Mapping[str, object], comparisons: Mapping[str, ComparatorPrediction]
) -> str:
    """Explain why there is no prediction: missing values, their share in the training, comparators, and what to do.

    ``name``: of the model. ``gaps``: the missing columns with the share of training cases without a value.
    """
    largest_share = max(gaps.values())
    in_training = (
        "no case lacked one" if not largest_share else f"at most {100 * largest_share:.1f} % of the cases lacked one"
    )
    available = [
        f"{comparator.title} {comparator.probability:.2f}"
        for comparator in comparisons.values()
        if comparator.probability is not None
    ]
    alternatives = f" Available without them: {', '.join(available)}." if available else ""
    cells = {column: str(row.get(column) or "").strip() for column in gaps}
    named = ", ".join(f"{column} ('{cell}' is not recognized)" if cell else column for column, cell in cells.items())
    return (
        f"no prediction: {named} {'is' if len(gaps) == 1 else 'are'} missing, and '{name}' was not trained on missing "
        f"values (in its training {in_training}, drop_form = 0); its prediction would be arbitrary.{alternatives} Fill "
        "them in, or use a model trained with drop_form above 0, as in the recipe risk-small."
    )


def check_plausible_depth(metadata: Mapping[str, str]) -> None:
    """Refuse an implausible thickness, which would dominate the prediction."""
    column, cell = find_column(DEPTH_COLUMN), (metadata.get(DEPTH_COLUMN) or "").strip()
    assert column is not None
    assert column.low is not None
    assert column.high is not None
    mm = read_number(cell)
    if not cell or column.low <= mm <= column.high:
        return
    hint = f" {cell} µm would be {mm / UM_PER_MM:g} mm: write that, or '{cell} um'." if mm > column.high else ""
    raise InputError(
        f"{DEPTH_COLUMN} is '{cell}', expected a thickness of {column.low:g} to {column.high:g} mm.{hint} "
        "Correct it, or leave it empty."
    )


def describe_outliers(row: Mapping[str, object], encoding: TabularEncoding) -> list[str]:
    """Describe values that lie far outside the training cases."""
    notes = (_describe_outlier(read_number(row.get(column.name), column.name), column) for column in encoding.numbers)
    return [note for note in notes if note]


def out_of_distribution_patches(model: Classifier, distances: Sequence[float | None]) -> list[bool]:
    """Return which patches are out of distribution; none if the bundle stores no training cases.

    ``distances``: out-of-distribution distance of each patch, or None.
    """
    limit = model.calibration.config.novelty_threshold
    return [distance is not None and limit is not None and distance > limit for distance in distances]


def _describe_outlier(value: float, column: FittedNumbers) -> str:
    """Describe a value far outside the training cases; empty for other values."""
    if not column.std or not abs(value - column.mean) > FAR_DEVIATIONS * column.std:
        return ""
    return (
        f"{column.name} {value:g}: far outside the training cases (mean {column.mean:.3g}, standard "
        f"deviation {column.std:.2g})"
    )
