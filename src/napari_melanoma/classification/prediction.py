"""The prediction of a classifier: values, words and table columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import Field

from napari_melanoma.classification.explanation import Method
from napari_melanoma.core.config import Config
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint, SetRule
from napari_melanoma.core.validity import Validity, ValidityInputs

NOTICE = "Research use only; not for diagnosis."


class ClassifyOptions(Config):
    """How a lesion is classified; the docks, the command line and every answer carry the same."""

    model: str = Field("", description="name of a classifier, or the folder of a bundle; none: the usual one")
    coverage: float | None = Field(
        None, gt=0, lt=1, description="how often the set of classes shall hold the true one; none: the model's own"
    )
    rule: SetRule | None = Field(None, description="by which the set of classes is made; none: the model's own")
    sensitivity: float | None = Field(
        None, gt=0, lt=1, description="at which the operating point is chosen; none: the model's own"
    )
    neighbours: int = Field(5, ge=0, le=50, description="how many training cases that are alike are named")
    heatmap: Method | None = Field(None, description="what shows where the answer comes from; none: nothing")


@dataclass(frozen=True)
class ClassifierStamp:
    """Which classifier answered: name, title, fingerprint of its weights, where it ran, what it was trained on."""

    name: str
    title: str
    fingerprint: str
    device: str
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contribution:
    """What a column of the form adds: the positive class's probability with it, less that without it."""

    field: str
    value: str
    change: float


@dataclass(frozen=True)
class NearestCase:
    """A training case that looks alike: its id, what it was, and how far away it is."""

    image_id: str
    diagnosis: str
    distance: float


@dataclass(frozen=True)
class NoveltyDistance:
    """How far a view is from what the model was trained on, and from which distance on it is unlike that."""

    distance: float
    limit: float

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the model was trained on nothing of that kind."""
        return self.distance > self.limit


@dataclass(frozen=True)
class ClassPrediction:
    """What a classifier says of one lesion.

    ``probabilities`` are calibrated, in the order of ``classes``. ``interval`` is that of the positive class,
    None where the bundle has no reference cases. ``possible`` is the conformal set: the classes that cannot be
    ruled out at ``coverage``; all of them where there are no reference cases. ``contributions`` are of the columns that
    the form fills in; ``from_image`` is the positive class's probability with an empty form. ``missing`` are columns
    that the model would use and the form leaves open; ``unused`` are filled in and not used by it. ``age_group`` is
    how often the model was right at the operating point about people of the patient's age, where that is known.
    ``validity`` says whether the model may be applied to this photograph at all.
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
        """Of the positive class."""
        return self.probabilities[self.classes.index(self.positive)]

    @property
    def calibrated(self) -> bool:
        """Whether there were reference cases by which the interval and the set could be made."""
        return self.interval is not None

    @property
    def is_inconclusive(self) -> bool:
        """Whether more than one class is possible."""
        return len(self.possible) != 1

    @property
    def is_above_threshold(self) -> bool | None:
        """Whether the probability is at or above the operating point; None where there is none."""
        return None if self.operating_point is None else self.probability >= self.operating_point.cut

    @property
    def is_out_of_distribution(self) -> bool:
        """Whether the view is unlike all that the model was trained on."""
        return self.likeness is not None and self.likeness.is_out_of_distribution

    @property
    def verdict(self) -> str:
        """The headline, such as "Inconclusive: melanoma 0.31 (95 % interval 0.20–0.44)"; or why it is not valid."""
        return self.validity.headline(f"{self._conclusion()}: {self.probability_text}")

    @property
    def probability_text(self) -> str:
        """Probability of the positive class with its interval, such as "melanoma 0.31 (95 % interval 0.20–0.44)"."""
        return f"{self.positive} {format_probability(self.probability, self.interval)}"

    @property
    def threshold_text(self) -> str:
        """On which side of the operating point a valid prediction lies, in a sentence; empty where there is none."""
        point = self.operating_point
        if point is None or not self.validity.valid:
            return ""
        where = "at or above" if self.is_above_threshold else "below"
        return (
            f"{where} the cut {point.cut:.2f}, which finds {_format_share(point.sensitivity, point.sensitivity_interval)} of "
            f"{self.positive} and leaves {_format_share(point.specificity, point.specificity_interval)} of the others alone, "
            f"of the cases that it was chosen by{self._age_group_text()}"
        )

    def _age_group_text(self) -> str:
        """How often that is right about people of the patient's age; empty where it is not known."""
        group = self.age_group
        if group is None:
            return ""
        ages = f"from {group.at_least:g} on" if group.below is None else f"{group.at_least:g} to under {group.below:g}"
        return (
            f"; of people aged {ages}, measured by cross-validation on {group.positives} {self.positive} and "
            f"{group.images - group.positives} others, it finds "
            f"{_format_share(group.sensitivity, group.sensitivity_interval)} and leaves "
            f"{_format_share(group.specificity, group.specificity_interval)} alone"
        )

    def _conclusion(self) -> str:
        """What the prediction set leaves."""
        if not self.is_inconclusive:
            return f"{self.possible[0]} at {100 * self.coverage:g} % coverage"
        some = 1 < len(self.possible) < len(self.classes)
        return f"Inconclusive ({' or '.join(self.possible)})" if some else "Inconclusive"

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values.

        Every field, and ``verdict``, ``number``, ``side``, ``cannot_tell`` and ``unlike`` for those who only read.
        """
        told: dict[str, Any] = {
            "verdict": self.verdict,
            "validity": self.validity.to_json(),
            "number": self.probability_text,
        }
        told |= {
            "side": self.threshold_text,
            "cannot_tell": self.is_inconclusive,
            "unlike": self.is_out_of_distribution,
        }
        configs = ("operating_point", "age_group", "options", "validity")
        values = {name: value for name, value in vars(self).items() if name not in configs}
        point = self.operating_point
        return {
            **told,
            **{name: _to_plain(value) for name, value in values.items()},
            "operating_point": point and point.model_dump(mode="json"),
            "age_group": self.age_group and self.age_group.model_dump(mode="json"),
            "options": self.options.model_dump(mode="json"),
            "notice": NOTICE,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make it of what ``to_json`` gave."""
        later = ("age_group", "validity")  # not there in what was stored before 2026-11-21 and 2026-11-22
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
            "options": ClassifyOptions.parse(known["options"], "the options of an answer"),
        }
        tuples = ("classes", "probabilities", "possible", "missing", "unused", "warnings")
        known["validity"] = Validity.from_json(known.get("validity")) or Validity()
        return cls(**(known | {name: tuple(known[name]) for name in tuples}))


def _prediction_validity(answer: ClassPrediction) -> Validity:
    """What an answer says against itself, also one that was stored without its validity."""
    likeness = answer.likeness
    return ValidityInputs(
        answer.model.name,
        demonstration="demonstration" in answer.model.title.lower(),
        distance=None if likeness is None else likeness.distance,
        limit=None if likeness is None else likeness.limit,
        calibrated=answer.calibrated,
    ).check()


def format_probability(probability: float, interval: tuple[float, float] | None) -> str:
    """Write a probability with its interval."""
    between = "" if interval is None else f" (95 % interval {interval[0]:.2f}–{interval[1]:.2f})"
    return f"{probability:.2f}{between}"


def _format_share(value: float, interval: tuple[float, float]) -> str:
    """A share in per cent with its interval."""
    return f"{100 * value:.0f} % ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    """A field in plain values."""
    if isinstance(value, tuple | list):
        return [_to_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


OLD_COLUMN = "probability_{}"  # until 2026-11-21 the class stood there as it is, with spaces


def probability_columns(classes: Iterable[str]) -> dict[str, str]:
    """Name the column of each class's probability, so that every program can read it.

    Class to column, such as ``probability_seborrheic_keratosis``. Two classes never share a column.
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
    """Name the columns of the interval around the positive class's probability."""
    column = probability_columns(classes).get(positive, "probability")
    return f"{column}_low", f"{column}_high"


def used_column(field: str) -> str:
    """Name the column that says what of the patient an answer went by.

    Such as ``used_age``; apart from the columns of measurements and of the user's own.
    """
    return f"used_{field}"


def renamed_columns(classes: Iterable[str], positive: str) -> dict[str, str]:
    """Say what columns of older files are called now.

    Old name to new name, of those that changed.
    """
    classes = tuple(classes)
    pairs = {OLD_COLUMN.format(name): column for name, column in probability_columns(classes).items()}
    ends = zip(("low", "high"), bound_columns(positive, classes), strict=True)
    pairs |= {f"{OLD_COLUMN.format(positive)}_{end}": column for end, column in ends}
    return {old: column for old, column in pairs.items() if old != column}


def read_probabilities(row: Mapping[str, str], classes: Iterable[str]) -> list[float]:
    """Read the probability of each class, also from a row that an older version wrote.

    In their order.
    """
    columns = probability_columns(classes)
    return [float(row[column if column in row else OLD_COLUMN.format(name)]) for name, column in columns.items()]
