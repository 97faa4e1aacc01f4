"""The prediction of a classifier for a lesion: its values, texts for users, and table columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import capitalize, count_digits, format_class, format_count, to_sentence
from napari_melanoma.core.headline import Headline
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint, SetRule
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.core.validity import NOTICE, Validity, ValidityInputs, read_validity

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

Method = Literal["cam", "occlusion", "grad_cam", "integrated_gradients"]
METHODS: tuple[Method, ...] = get_args(Method)  # heatmaps that are available for any network
HeatmapMethod = Literal[Method, "attention"]  # and for networks with spatial attention
NOT_FINITE = (
    "the outputs of the network are not finite numbers: its training diverged, or its numbers overflow. Use another "
    "model, or train it again with a lower learning rate."
)
EMPTY_HEATMAP = (
    "the heatmap is empty: the method found no image region that increases the probability of {target}. Try another "
    "method"
)
OTHER_CLASS = "other"  # the negative class of a column of 1 and 0
MAX_POSSIBLE = 3  # number of classes besides the positive one that are named as possible
NOUNS = {"malignant": "malignancy"}  # of positive classes that are adjectives


class ClassifyOptions(Config):
    """Options of a classification, shared by the docks, the command line and the predictions."""

    model: str = Field(
        "",
        description="name of a classifier, or the folder of its bundle; empty: the default for the type of photograph",
    )
    coverage: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="coverage of the conformal prediction set, such as 0.9; by default that of the model",
    )
    rule: SetRule | None = Field(None, description="method for the prediction set; none: that of the model")
    sets: Literal["cautious", "balanced"] = Field(
        "cautious",
        description="prediction sets; cautious: with the reserve of the model for photographs of other clinics, "
        "balanced: with the stated coverage for photographs like the calibration cases, so that fewer are inconclusive",
    )
    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="sensitivity at which the decision threshold is chosen; by default that of the model",
    )
    neighbours: int = Field(5, ge=0, le=50, description="number of similar training cases to list")
    heatmap: HeatmapMethod | None = Field(
        None,
        description="method of a heatmap of the image regions that contribute to the prediction; by default none",
    )


@dataclass(frozen=True)
class ClassifierStamp:
    """The classifier of a prediction: name, title, fingerprint of its weights, device, and training modalities.

    ``backend``: see ``models.inference``. ``settings``: see ``BundleInfo.settings_digest``; empty in earlier versions.
    """

    name: str
    title: str
    fingerprint: str
    device: str
    modalities: tuple[str, ...] = ()
    backend: str = ""
    settings: str = ""


def is_stamp_of(model: Mapping[str, Any], bundle: BundleInfo) -> bool:
    """Whether a prediction is of a model, also of its calibration; ``model``: stored ``ClassifierStamp``."""
    settings = model.get("settings") or bundle.settings_digest
    return (model.get("fingerprint"), settings) == (bundle.fingerprint, bundle.settings_digest)


@dataclass(frozen=True)
class Contribution:
    """The contribution of a column of clinical metadata.

    ``change``: probability of the positive class with the column, minus that without it.
    """

    field: str
    value: str
    change: float


@dataclass(frozen=True)
class NearestCase:
    """A similar training case: its id, its diagnosis and its distance."""

    image_id: str
    diagnosis: str
    distance: float


@dataclass(frozen=True)
class NoveltyDistance:
    """Distance of a view from the training data, and the limit above which it is out of distribution."""

    distance: float
    limit: float

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the distance exceeds the limit."""
        return self.distance > self.limit


@dataclass(frozen=True)
class ClassPrediction:
    """The prediction of a classifier for one lesion.

    ``probabilities``: calibrated, in the order of ``classes``. ``interval``: of the positive class; None if the bundle
    has no reference cases. ``possible``: the conformal prediction set at ``coverage``; all classes without reference
    cases. ``novelty``: distance from the training data, if known. ``contributions``: of the columns that have a value.
    ``from_image``: probability of the positive class without clinical metadata. ``missing``: columns that the model
    uses but that have no value. ``unused``: columns that have a value but that the model does not use. ``age_group``:
    performance at the operating point in the patient's age group, if known. ``validity``: whether the model is valid
    for this photograph.
    """

    classes: tuple[str, ...]
    positive: str
    probabilities: tuple[float, ...]
    interval: tuple[float, float] | None
    possible: tuple[str, ...]
    coverage: float
    operating_point: OperatingPoint | None
    novelty: NoveltyDistance | None
    contributions: tuple[Contribution, ...]
    from_image: float
    neighbours: tuple[NearestCase, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    warnings: tuple[str, ...]
    model: ClassifierStamp
    options: ClassifyOptions
    provenance: dict[str, object] = field(default_factory=dict)
    age_group: AgeGroup | None = None
    validity: Validity = field(default_factory=Validity)

    def __post_init__(self) -> None:
        object.__setattr__(self, "validity", self.validity.with_reasons(_prediction_validity(self)))

    @property
    def probability(self) -> float:
        return self.probabilities[self.classes.index(self.positive)]

    @property
    def predicted(self) -> str:
        """The most probable class, which a heatmap explains unless another one is selected."""
        probabilities = dict(zip(self.classes, self.probabilities, strict=True))
        return max(self.classes, key=lambda name: (probabilities[name], name == self.positive))

    @property
    def used_columns(self) -> frozenset[str]:
        """Columns of patient data that change the prediction, with a value or without."""
        of_age_group = () if self.age_group is None else ("age",)
        return frozenset((*(one.field for one in self.contributions), *self.missing, *of_age_group))

    @property
    def calibrated(self) -> bool:
        """Whether interval and prediction set are based on reference cases."""
        return self.interval is not None

    @property
    def is_inconclusive(self) -> bool:
        """Whether the prediction set has not exactly one class."""
        return len(self.possible) != 1

    @property
    def is_above_threshold(self) -> bool | None:
        """Whether the probability is at or above the decision threshold; None without an operating point."""
        return None if self.operating_point is None else self.probability >= self.operating_point.threshold

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the view is out of distribution."""
        return self.novelty is not None and self.novelty.is_out_of_distribution

    @property
    def headline(self) -> Headline:
        """The side of the decision threshold with the probability, then what cannot be ruled out; or "Not valid".

        Such as "Above the melanoma threshold (sensitivity 90 %): melanoma 0.31, 0.20 to 0.44".
        """
        if (invalid := self.validity.invalid_headline) is not None:
            return invalid
        interval = "" if self.interval is None else f", {_format_range(self.interval)}"
        text = f"{self._side}: {format_class(self.positive)} {self.probability:.{self.digits}f}{interval}"
        return Headline(
            capitalize(self.validity.headline(text)),
            tuple(self._list_parts()),
            "alert" if self.is_above_threshold else "neutral",
            self._detail,
        )

    @property
    def _side(self) -> str:
        """The side of the decision threshold, which is named by the sensitivity that it was chosen for."""
        noun, point = NOUNS.get(self.positive, self.positive), self.operating_point
        if point is None:
            return f"no {noun} threshold in this model"
        side = "above" if self.is_above_threshold else "below"
        shown = "" if point.target_shown else ", not confirmed"
        return f"{side} the {noun} threshold (sensitivity {100 * point.target_sensitivity:.3g} %{shown})"

    def _list_parts(self) -> Iterator[str]:
        """Yield what cannot be ruled out and, unless the probability is above the threshold, what is missed there.

        The part that warns comes first: that the positive class is possible, or else how often it is missed.
        """
        probabilities = dict(zip(self.classes, self.probabilities, strict=True))
        possible = close_upwards(probabilities, self.possible) or self.classes  # empty sets of earlier versions
        missed, listed = self._describe_missed(possible), self._describe_possible(probabilities, possible)
        parts = (missed, listed) if self.positive not in possible else (listed, missed)
        yield from filter(None, parts)

    def _describe_possible(self, probabilities: Mapping[str, float], possible: Sequence[str]) -> str:
        """List the possible classes, the most probable first; the positive one before them, or in the headline alone.

        ``probabilities``: by class.
        """
        others = sorted((name for name in self.classes if name != self.positive), key=lambda name: -probabilities[name])
        texts = {name: f"{format_class(name)} {probabilities[name]:.2f}" for name in others}
        if others == [OTHER_CLASS]:
            texts = {OTHER_CLASS: "other diagnoses"}
        found = [texts[name] for name in others if name in possible]
        names = [format_class(self.positive)] if self.positive in possible and not self.is_above_threshold else []
        names += found[:MAX_POSSIBLE]
        names += [format_count(len(found) - MAX_POSSIBLE, "other class")] if len(found) > MAX_POSSIBLE else []
        if others == [OTHER_CLASS] and self.positive not in possible and not self.is_above_threshold:
            return ""  # that another diagnosis is possible would reassure
        if names:
            return f"Cannot be ruled out: {', '.join(names)}"
        following = f"; next: {texts[others[0]]}" if len(others) > 1 else ""
        return f"Only {self.positive} is likely enough ({100 * self.coverage:.3g} % coverage){following}"

    def _describe_missed(self, possible: Sequence[str]) -> str:
        """Describe how many cases of the positive class are below the threshold, or have so low a probability."""
        point, group = self.operating_point, self.age_group
        if point is None:
            return "" if self.positive in possible else format_rarity(self.positive, self.coverage)
        if self.is_above_threshold:
            return ""
        low, high = (point if group is None else group).sensitivity_interval
        age = "" if group is None else " of this age"
        if not high - low < 1:  # also without an interval
            return f"It is unknown how many {self.positive} cases{age} are below the threshold"
        least, most = 100 - round(100 * high), max(1, 100 - round(100 * low))
        share = f"{most}" if least == most else f"{least} to {most}"
        return f"{share} of 100 {self.positive} cases{age} are below the threshold"

    @property
    def _detail(self) -> str:
        interval = "" if self.interval is None else f"95 % interval of the probability: {_format_range(self.interval)}"
        coverage = f"the prediction set has {100 * self.coverage:.3g} % coverage"
        return " ".join(to_sentence(text) for text in (interval, self.threshold_text, coverage) if text)

    @property
    def probability_text(self) -> str:
        """Probability of the positive class with its interval, such as "melanoma 0.31 (95 % interval 0.20–0.44)"."""
        return f"{self.positive} {format_probability(self.probability, self.interval, self.digits)}"

    @property
    def digits(self) -> int:
        """Number of digits that distinguishes the probability from the decision threshold."""
        return 2 if self.operating_point is None else count_digits(self.probability, self.operating_point.threshold)

    @property
    def threshold_text(self) -> str:
        """The decision threshold and its performance as text.

        Empty if the prediction is not valid or has no operating point.
        """
        point = self.operating_point
        if point is None or not self.validity.valid:
            return ""
        return (
            f"decision threshold {point.threshold:.{self.digits}f} for {self.positive}: sensitivity "
            f"{_format_share(point.sensitivity, point.sensitivity_interval)}, specificity "
            f"{_format_share(point.specificity, point.specificity_interval)} on the calibration "
            f"cases{self._age_group_text()}"
        )

    @property
    def _side_text(self) -> str:
        """The side of the decision threshold, with its performance; empty where ``threshold_text`` is."""
        relation = "at or above" if self.is_above_threshold else "below"
        return f"{relation} the {self.threshold_text}" if self.threshold_text else ""

    def _age_group_text(self) -> str:
        """Return the performance in the patient's age group as text; empty if unknown."""
        group = self.age_group
        if group is None:
            return ""
        ages = f"{group.at_least:g} or older" if group.below is None else f"{group.at_least:g} to under {group.below:g}"
        return (
            f"; in patients aged {ages} (cross-validation on {group.positives} {self.positive} and "
            f"{group.images - group.positives} other images): sensitivity "
            f"{_format_share(group.sensitivity, group.sensitivity_interval)}, specificity "
            f"{_format_share(group.specificity, group.specificity_interval)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as plain values.

        They include the texts ``verdict`` (the headline), ``number`` (probability) and ``side`` (of the decision
        threshold), and ``inconclusive`` and ``out_of_distribution``, for other programs that read the file.
        """
        configs = ("operating_point", "age_group", "options", "validity")
        values = {name: value for name, value in vars(self).items() if name not in configs}
        point = self.operating_point
        return {
            "verdict": self.headline.statement,
            "validity": self.validity.to_json(),
            "number": self.probability_text,
            "side": self._side_text,
            "inconclusive": self.is_inconclusive,
            "out_of_distribution": self.is_out_of_distribution,
            **{name: _to_plain(value) for name, value in values.items()},
            "operating_point": point and point.model_dump(mode="json"),
            "age_group": self.age_group and self.age_group.model_dump(mode="json"),
            "options": self.options.model_dump(mode="json"),
            "notice": NOTICE,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Create a prediction from the values of ``to_json``."""
        values = rename_keys("prediction", values)
        fields = {name: values[name] for name in cls.__dataclass_fields__}
        group = fields["age_group"]
        point, interval, novelty = fields["operating_point"], fields["interval"], fields["novelty"]
        stamp = fields["model"]
        fields |= {
            "interval": interval and tuple(interval),
            "operating_point": point and OperatingPoint.parse(point, "the operating point"),
            "age_group": group and AgeGroup.parse(group, "the age group"),
            "novelty": novelty and NoveltyDistance(**novelty),
            "contributions": tuple(Contribution(**item) for item in fields["contributions"]),
            "neighbours": tuple(NearestCase(**item) for item in fields["neighbours"]),
            "model": ClassifierStamp(**{**stamp, "modalities": tuple(stamp["modalities"])}),
            "options": ClassifyOptions.parse(fields["options"], "the options of a prediction"),
        }
        tuples = ("classes", "probabilities", "possible", "missing", "unused", "warnings")
        fields["validity"] = read_validity(fields)
        return cls(**(fields | {name: tuple(fields[name]) for name in tuples}))


def _prediction_validity(prediction: ClassPrediction) -> Validity:
    """Return reasons against the validity that follow from the prediction itself, even if it was stored without."""
    novelty = prediction.novelty
    return ValidityInputs(
        prediction.model.name,
        demonstration="demonstration" in prediction.model.title.lower(),
        distance=None if novelty is None else novelty.distance,
        limit=None if novelty is None else novelty.limit,
        calibrated=prediction.calibrated,
    ).check()


def close_upwards(probabilities: Mapping[str, float], possible: Sequence[str]) -> tuple[str, ...]:
    """Add the classes that are more probable than a class of a prediction set."""
    lowest = min((probabilities[name] for name in possible), default=1.0)
    return tuple(name for name, value in probabilities.items() if name in possible or value > lowest)


def format_rarity(name: str, coverage: float) -> str:
    """Format how often a prediction set excludes a class although it is the true one."""
    return f"at most {100 * (1 - coverage):.3g} of 100 {name} cases have such a low probability"


def format_probability(probability: float, interval: tuple[float, float] | None, digits: int = 2) -> str:
    interval_text = "" if interval is None else f" (95 % interval {interval[0]:.2f}–{interval[1]:.2f})"
    return f"{probability:.{digits}f}{interval_text}"


def _format_range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _format_share(value: float, interval: tuple[float, float]) -> str:
    """Format a share in percent with its interval."""
    return f"{100 * value:.0f} % ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - any field value
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def probability_columns(classes: Iterable[str]) -> dict[str, str]:
    """Return the table column of each class's probability, such as ``probability_seborrheic_keratosis``.

    The names contain only word characters, so that any program can read them, and differ between classes.
    """
    columns: dict[str, str] = {}
    for name in classes:
        word = re.sub(r"\W+", "_", name).strip("_") or "class"
        column, number = f"probability_{word}", 2
        while column in columns.values():
            column, number = f"probability_{word}_{number}", number + 1
        columns[name] = column
    return columns


def bound_columns(positive: str, classes: Iterable[str]) -> tuple[str, str]:
    """Return the columns of the lower and upper end of the positive class's interval."""
    column = probability_columns(classes).get(positive, "probability")
    return f"{column}_low", f"{column}_high"


def used_column(field: str) -> str:
    """Return the column for a clinical value that a prediction used, such as ``used_age``.

    It differs from the columns of measurements and of the user's table.
    """
    return f"used_{field}"
