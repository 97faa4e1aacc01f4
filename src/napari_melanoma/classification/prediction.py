"""The prediction of a classifier: values, texts and table columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint, SetRule
from napari_melanoma.core.validity import NOTICE, Validity, ValidityInputs

Method = Literal["grad_cam", "cam", "occlusion", "integrated_gradients"]
METHODS: tuple[Method, ...] = get_args(Method)  # heatmaps that are available for any network
NOT_FINITE = (
    "the outputs of the network are not finite numbers: its training diverged, or its numbers overflow. Use another "
    "model, or train it again with a lower learning rate."
)
OTHER_CLASS = "other"  # the negative class of a column of 1 and 0
MAX_POSSIBLE = 3  # classes that a headline names as possible
OLD_COLUMN = "probability_{}"  # until 2026-11-21 with the class name unchanged, including spaces


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
    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="sensitivity at which the decision threshold is chosen; by default that of the model",
    )
    neighbours: int = Field(5, ge=0, le=50, description="number of similar training cases to list")
    heatmap: Literal[Method, "attention"] | None = Field(
        None,
        description="method of a heatmap of the image regions that contribute to the prediction; by default none",
    )


@dataclass(frozen=True)
class ClassifierStamp:
    """The classifier of a prediction: name, title, fingerprint of its weights, device, and training modalities."""

    name: str
    title: str
    fingerprint: str
    device: str
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contribution:
    """The contribution of a column: the positive class's probability with it, minus that without it."""

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

    ``probabilities`` are calibrated, in the order of ``classes``. ``interval`` is that of the positive class, None if
    the bundle has no reference cases. ``possible`` is the conformal prediction set at ``coverage``; all classes without
    reference cases. ``contributions`` are those of the known columns; ``from_image`` is the positive class's
    probability without clinical metadata. ``missing`` are columns that the model would use but are unknown;
    ``unused`` are known but not used by the model. ``age_group`` is the performance at the operating point in the
    patient's age group, if known.
    ``validity`` states whether the model is valid for this photograph.
    """

    classes: tuple[str, ...]
    positive: str
    probabilities: tuple[float, ...]
    interval: tuple[float, float] | None
    possible: tuple[str, ...]
    coverage: float
    operating_point: OperatingPoint | None
    likeness: NoveltyDistance | None
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
        """Probability of the positive class."""
        return self.probabilities[self.classes.index(self.positive)]

    @property
    def calibrated(self) -> bool:
        """Whether interval and prediction set are based on reference cases."""
        return self.interval is not None

    @property
    def is_inconclusive(self) -> bool:
        """Whether more than one class is possible."""
        return len(self.possible) != 1

    @property
    def is_above_threshold(self) -> bool | None:
        """Whether the probability is at or above the decision threshold; None without an operating point."""
        return None if self.operating_point is None else self.probability >= self.operating_point.cut

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the view is out of distribution."""
        return self.likeness is not None and self.likeness.is_out_of_distribution

    @property
    def verdict(self) -> str:
        """The headline, such as "Inconclusive: melanoma 0.31 (95 % interval 0.20–0.44)", or why it is not valid."""
        probabilities = dict(zip(self.classes, self.probabilities, strict=True))
        text = describe_prediction_set(
            self.probability_text, probabilities, self.possible, self.positive, self.coverage
        )
        return self.validity.headline(text)

    @property
    def probability_text(self) -> str:
        """Probability of the positive class with its interval, such as "melanoma 0.31 (95 % interval 0.20–0.44)"."""
        return f"{self.positive} {format_probability(self.probability, self.interval)}"

    @property
    def threshold_text(self) -> str:
        """Comparison of a valid prediction with the decision threshold, in a sentence; empty if there is none."""
        point = self.operating_point
        if point is None or not self.validity.valid:
            return ""
        where = "at or above" if self.is_above_threshold else "below"
        return (
            f"{where} the decision threshold ({point.cut:.2f}) for {self.positive}: sensitivity "
            f"{_format_share(point.sensitivity, point.sensitivity_interval)}, specificity "
            f"{_format_share(point.specificity, point.specificity_interval)} on the calibration "
            f"cases{self._age_group_text()}"
        )

    def _age_group_text(self) -> str:
        """Performance in the patient's age group; empty if unknown."""
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

        For other readers, it also contains ``verdict``, ``number``, ``side``, ``inconclusive`` and
        ``out_of_distribution``.
        """
        configs = ("operating_point", "age_group", "options", "validity")
        values = {name: value for name, value in vars(self).items() if name not in configs}
        point = self.operating_point
        return {
            "verdict": self.verdict,
            "validity": self.validity.to_json(),
            "number": self.probability_text,
            "side": self.threshold_text,
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
        later = ("age_group", "validity")  # missing in predictions stored before 2026-11-21 and 2026-11-22
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values or name not in later}
        group = known.get("age_group")
        point, interval, likeness = known["operating_point"], known["interval"], known["likeness"]
        stamp = known["model"]
        known |= {
            "interval": interval and tuple(interval),
            "operating_point": point and OperatingPoint.parse(point, "the operating point"),
            "age_group": group and AgeGroup.parse(group, "the age group"),
            "likeness": likeness and NoveltyDistance(**likeness),
            "contributions": tuple(Contribution(**one) for one in known["contributions"]),
            "neighbours": tuple(NearestCase(**one) for one in known["neighbours"]),
            "model": ClassifierStamp(**{**stamp, "modalities": tuple(stamp["modalities"])}),
            "options": ClassifyOptions.parse(known["options"], "the options of a prediction"),
        }
        tuples = ("classes", "probabilities", "possible", "missing", "unused", "warnings")
        known["validity"] = Validity.from_json(known.get("validity")) or Validity()
        return cls(**(known | {name: tuple(known[name]) for name in tuples}))


def _prediction_validity(prediction: ClassPrediction) -> Validity:
    """Reasons against the validity that follow from the prediction itself, also if stored without validity."""
    likeness = prediction.likeness
    return ValidityInputs(
        prediction.model.name,
        demonstration="demonstration" in prediction.model.title.lower(),
        distance=None if likeness is None else likeness.distance,
        limit=None if likeness is None else likeness.limit,
        calibrated=prediction.calibrated,
    ).check()


def describe_prediction_set(
    probability_text: str, probabilities: Mapping[str, float], possible: Sequence[str], positive: str, coverage: float
) -> str:
    """Describe a probability and its prediction set in one line, which contains the positive class in any case.

    With several possible classes, these are named, the most probable first. With one, the line begins with it; a
    probability is called rare only if it is that of the most probable class, and the set leaves it out: few known cases
    of the class have such a low one. Of a class and ``other``, only the first is named, and the line states that
    the set leaves it or all other cases out.
    """
    order = sorted(probabilities, key=lambda one: (-probabilities[one], one != positive))
    texts = {one: f"{one} {probabilities[one]:.2f}" for one in order} | {positive: probability_text}
    is_yes_or_no = set(probabilities) == {positive, OTHER_CLASS}
    if len(possible) != 1:
        named = [] if is_yes_or_no else [one for one in order if one in possible]
        return f"Inconclusive: {_join_possible(named or [positive], texts, positive)}"
    (name,), rarity = possible, format_rarity(coverage)
    if is_yes_or_no:
        text = _describe_yes_or_no(name, order[0], probability_text, positive, rarity)
    elif name == order[0]:
        others = order[1:2] if len(order) > 2 else []
        text = _join_classes(name, dict.fromkeys([*others, positive]), texts)
    else:
        text = _describe_contradiction(name, order[0], texts, positive, rarity)
    return f"{text[:1].upper()}{text[1:]}"


def _join_possible(named: Sequence[str], texts: Mapping[str, str], positive: str) -> str:
    """Join possible classes, the most probable first; the positive class is named in any case."""
    shown = list(named[:MAX_POSSIBLE])
    if positive in named and positive not in shown:
        shown[-1] = positive
    parts = [texts[one] for one in shown]
    if len(named) > len(shown):
        parts.append(format_count(len(named) - len(shown), "other class"))
    text = " or ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
    return text if positive in shown else f"{text}; {texts[positive]}"


def _join_classes(name: str, others: Iterable[str], texts: Mapping[str, str]) -> str:
    """Join the only possible class with others that are named for comparison."""
    compared = " and ".join(texts[one] for one in others if one != name)
    return f"{texts[name]}; {compared}" if compared else texts[name]


def _describe_yes_or_no(name: str, leading: str, probability_text: str, positive: str, rarity: str) -> str:
    """Describe the probability of a class against all others, if only ``name`` is possible."""
    if name == leading == positive:
        return probability_text
    if name == positive:
        return f"{probability_text}; other cases rarely have such a high probability ({rarity})"
    return f"{probability_text}; {_describe_rarity(positive, rarity)}"


def _describe_contradiction(name: str, leading: str, texts: Mapping[str, str], positive: str, rarity: str) -> str:
    """Describe a set that leaves out the most probable class, the positive one first."""
    if leading == positive:
        return f"{texts[positive]}; {_describe_rarity(positive, rarity)}; possible: {texts[name]}"
    start = _join_classes(name, [] if name == positive else [positive], texts)
    return f"{start}; {texts[leading]} is more probable, but {_describe_rarity(leading, rarity)}"


def _describe_rarity(name: str, rarity: str) -> str:
    """State that few known cases of a class have so low a probability of it."""
    return f"{name} cases rarely have such a low probability ({rarity})"


def format_rarity(coverage: float) -> str:
    """Format how often a prediction set leaves out the true class, such as "at most 10 %"."""
    return f"at most {100 * (1 - coverage):.3g} %"


def format_probability(probability: float, interval: tuple[float, float] | None) -> str:
    between = "" if interval is None else f" (95 % interval {interval[0]:.2f}–{interval[1]:.2f})"
    return f"{probability:.2f}{between}"


def _format_share(value: float, interval: tuple[float, float]) -> str:
    """A share in percent with its interval."""
    return f"{100 * value:.0f} % ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - any field value
    """Convert a field to plain values."""
    if isinstance(value, tuple | list):
        return [_to_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def probability_columns(classes: Iterable[str]) -> dict[str, str]:
    """Return the column of each class's probability, readable for any program.

    Such as ``probability_seborrheic_keratosis``. Two classes never share a column.
    """
    found: dict[str, str] = {}
    for name in classes:
        safe = re.sub(r"\W+", "_", name).strip("_") or "class"
        column, number = f"probability_{safe}", 2
        while column in found.values():
            column, number = f"probability_{safe}_{number}", number + 1
        found[name] = column
    return found


def bound_columns(positive: str, classes: Iterable[str]) -> tuple[str, str]:
    """Return the columns of the interval of the positive class's probability."""
    column = probability_columns(classes).get(positive, "probability")
    return f"{column}_low", f"{column}_high"


def used_column(field: str) -> str:
    """Return the column for a clinical value that a prediction used.

    Such as ``used_age``, different from the columns of measurements and of the user.
    """
    return f"used_{field}"


def renamed_columns(classes: Iterable[str], positive: str) -> dict[str, str]:
    """Return the renamed columns of older files: old name to new name."""
    classes = tuple(classes)
    pairs = {OLD_COLUMN.format(name): column for name, column in probability_columns(classes).items()}
    ends = zip(("low", "high"), bound_columns(positive, classes), strict=True)
    pairs |= {f"{OLD_COLUMN.format(positive)}_{end}": column for end, column in ends}
    return {old: column for old, column in pairs.items() if old != column}


def read_probabilities(row: Mapping[str, str], classes: Iterable[str]) -> list[float]:
    """Read the probability of each class, in order, also from rows of older versions."""
    columns = probability_columns(classes)
    return [float(row[column if column in row else OLD_COLUMN.format(name)]) for name, column in columns.items()]
