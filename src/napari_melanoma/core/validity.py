"""Validity of a prediction for its input: one policy for photographs, slides, depth and risk.

A prediction that is not valid never has a reassuring headline, whatever its value: the headline gives the reason, and
the value is shown on request only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.formatting import format_share, to_sentence
from napari_melanoma.core.headline import Headline

Severity = Literal["invalid", "caution"]
Code = Literal[
    "demonstration",
    "damaged",
    "unreadable",
    "modality",
    "no_photograph",
    "shape",
    "modality_uncertain",
    "scale_unknown",
    "scale",
    "field_of_view",
    "resolution",
    "out_of_distribution",
    "uncalibrated",
    "synthetic_training",
    "painted",
    "coverage",
]
CODES: tuple[Code, ...] = get_args(Code)  # in order of importance: the headline gives the first that applies
NOT_VALID = "Not valid"
NOTICE = "Research use only; not for diagnosis."  # on every report, result and model card
TRAINED_ON_IT = "The model was trained on this photograph: the {} is not independent"
NO_PHOTOGRAPH = "neither"  # class of ``imaging.modality`` for images that do not show skin
SCALE_CAUTION, SCALE_INVALID, SCALE_REFUSED = 1.15, 1.5, 4.0  # factors; models are trained with a variation of 10 %
FIELD_CAUTION, FIELD_INVALID = 0.9, 0.5  # shares of the width of tissue that the model expects in an image
ASPECT_INVALID = 5.0  # of the longer to the shorter side of a photograph, from which lesions are often missed
DETAIL_INVALID = 0.25  # pixels of the image for each pixel of the network's input
FAILED_INVALID = 0.05  # share of unreadable tiles: findings may be missed
SYNTHETIC_INVALID = 0.5  # share of synthetic images in the training
COVERAGE_CAUTION = 0.8  # with less coverage, prediction sets exclude the true class too often


@dataclass(frozen=True)
class ScaleMatch:
    """Micrometers per pixel of the network's input (``found_um``; None if unknown) and of the training images.

    ``accepted``: the user requested a prediction although the scale is far off.
    """

    found_um: float | None
    expected_um: float
    accepted: bool = False

    @property
    def factor(self) -> float:
        """Factor by which the image is too coarse or too fine; 1 if correct or unknown."""
        if self.found_um is None:
            return 1.0
        return max(self.found_um / self.expected_um, self.expected_um / self.found_um)


def is_scale_refused(scale: ScaleMatch) -> bool:
    """Whether the scale of tiles is so far off that a model must not be applied; False if the user accepted that."""
    return scale.factor > SCALE_REFUSED and not scale.accepted


class ValidityReason(Config):
    """One reason against a prediction: a code, a text for users that starts with the consequence, and its details."""

    code: str = Field(min_length=1)
    severity: Severity = "invalid"
    text: str = Field(min_length=1, description="continues 'Not valid: ' and ends without a full stop")
    detail: str = Field("", description="sentence after the text, without a full stop, such as what was expected")

    @property
    def statement(self) -> str:
        """Text and detail, without the last full stop."""
        return ". ".join(filter(None, (self.text, self.detail)))


class Validity(Config):
    """Whether a prediction is valid, and the reasons against it, the most important one first.

    ``demonstration``: a demonstration model was applied to a synthetic input, for which it was made.
    """

    reasons: tuple[ValidityReason, ...] = ()
    demonstration: bool = False

    @property
    def valid(self) -> bool:
        """Whether the prediction may be shown with its own headline."""
        return not self._reasons_of("invalid")

    @property
    def cautions(self) -> tuple[str, ...]:
        """Cautions for a valid prediction, a sentence each."""
        return tuple(to_sentence(reason.statement) for reason in self._reasons_of("caution"))

    @property
    def other_reasons(self) -> tuple[str, ...]:
        """Reasons against an invalid prediction besides the one in its headline, a sentence each."""
        reasons = (*self._reasons_of("invalid")[1:], *self._reasons_of("caution"))
        return tuple(to_sentence(reason.statement) for reason in reasons)

    def find_reason(self, code: Code) -> ValidityReason | None:
        """Return the reason with a code that makes the prediction invalid, or None."""
        return next((reason for reason in self._reasons_of("invalid") if reason.code == code), None)

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(reason.code for reason in self.reasons)

    def headline(self, statement: str) -> str:
        """Return the first line of a prediction: ``statement`` if the prediction is valid, otherwise why it is not."""
        invalid = self._reasons_of("invalid")
        if invalid:
            return f"{NOT_VALID}: {invalid[0].statement}"
        return f"Demonstration model: {statement}" if self.demonstration and statement else statement

    @property
    def invalid_headline(self) -> Headline | None:
        """Why the prediction is not valid, with the details as gray text; None if it is valid."""
        reason = next(iter(self._reasons_of("invalid")), None)
        if reason is None:
            return None
        return Headline(f"{NOT_VALID}: {reason.text}", tuple(filter(None, (reason.detail,))), tone="invalid")

    def with_reasons(self, *others: Validity) -> Validity:
        """Join the reasons of several inputs or steps of one prediction, each reason once."""
        validities = (self, *others)
        return Validity(
            reasons=_sort_reasons(reason for validity in validities for reason in validity.reasons),
            demonstration=any(validity.demonstration for validity in validities),
        )

    def to_json(self) -> dict[str, Any]:
        """Return ``valid``, ``headline`` (empty if the prediction is valid), ``demonstration`` and ``reasons``."""
        return {"valid": self.valid, "headline": self.headline(""), **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, values: object) -> Validity | None:
        """Read the values of ``to_json``; None if there are none.

        Not valid if a reason cannot be read, if ``valid`` is false without a reason, or if neither of them is stored.
        """
        if values is None:
            return None
        found = None
        if isinstance(values, Mapping):
            with suppress(ConfigError):
                found = cls.parse({key: values[key] for key in cls.model_fields if key in values}, "validity")
            is_stated = values.get("valid", "reasons" in values) is True
            if found is not None and (is_stated or not found.valid):
                return found
        unreadable = _reason(
            "unreadable", "whether the result is valid is not stated or cannot be read", "Analyze again"
        )
        return (found or cls()).with_reasons(cls(reasons=(unreadable,)))

    def to_columns(self) -> dict[str, object]:
        """Return the columns ``valid`` and ``validity`` (the reasons, separated by semicolons) of a table."""
        return {"valid": str(self.valid).lower(), "validity": "; ".join(reason.statement for reason in self.reasons)}

    def _reasons_of(self, severity: Severity) -> tuple[ValidityReason, ...]:
        return tuple(reason for reason in self.reasons if reason.severity == severity)


@dataclass(frozen=True)
class ValidityInputs:
    """Properties of a model and an input from which the validity follows; None if not applicable or unknown.

    ``synthetic_share``: share of synthetic images in the training data. ``synthetic_input``: whether the input is
    marked as a phantom of this program. ``modality_certain``: whether the modality was stated, or recognized with
    certainty. ``no_photograph``: whether the image certainly shows no skin, whatever is stated. ``aspect``: longer side
    of a photograph, relative to the shorter one. ``field_mm``, ``model_field_mm``: width of the tissue in view, and the
    width that the model expects.
    ``detail``: pixels of the input for each pixel of the network's input. ``distance``, ``limit``: distance of the
    input from the training data, and the limit above which it is out of distribution. ``painted``: the model was fitted
    on strokes, and ``distance`` is the share of the slide that differs from them. ``damage``: what is missing of a
    damaged file that was accepted. ``failed_share``: share of the tiles that could not be read. ``calibrated``: whether
    the error of the prediction was measured; None for outputs that have no calibration. ``coverage``: of the prediction
    set.
    """

    model: str
    demonstration: bool = False
    synthetic_share: float = 0.0
    synthetic_input: bool = False
    modality: str | None = None
    modalities: tuple[str, ...] = ()
    modality_certain: bool = True
    no_photograph: bool = False
    aspect: float | None = None
    scale: ScaleMatch | None = None
    field_mm: float | None = None
    model_field_mm: float | None = None
    detail: float | None = None
    distance: float | None = None
    limit: float | None = None
    painted: bool = False
    damage: str | None = None
    failed_share: float = 0.0
    calibrated: bool | None = None
    coverage: float | None = None

    def check(self) -> Validity:
        """Return the reasons in the order of ``CODES``, those that make the prediction invalid first."""
        reasons = (
            *self._check_training(),
            *self._check_file(),
            *self._check_modality(),
            *self._check_scale(),
            *self._check_field(),
            *self._check_distribution(),
            *self._check_calibration(),
        )
        is_demonstration = self.demonstration or self.synthetic_share >= 1
        return Validity(reasons=_sort_reasons(reasons), demonstration=is_demonstration and self.synthetic_input)

    def _check_training(self) -> Iterable[ValidityReason]:
        share = self.synthetic_share
        if self.synthetic_input:
            return
        if self.demonstration or share >= 1:
            yield _reason(
                "demonstration",
                "not applicable to real patients",
                f"'{self.model}' is a demonstration, trained on synthetic data only",
            )
        elif share > 0:
            text = f"{format_share(share)} of the data that '{self.model}' was trained on are synthetic"
            yield _reason("synthetic_training", text, is_invalid=share >= SYNTHETIC_INVALID)

    def _check_file(self) -> Iterable[ValidityReason]:
        if self.damage:
            yield _reason("damaged", "a part of the image is missing", to_sentence(self.damage).rstrip("."))
        if self.failed_share > 0:
            text = f"{format_share(self.failed_share)} of the tiles could not be read, and findings in them are missed"
            yield _reason("damaged", text, is_invalid=self.failed_share > FAILED_INVALID)

    def _check_modality(self) -> Iterable[ValidityReason]:
        has_type = self.modality != NO_PHOTOGRAPH
        if self.no_photograph or not has_type:
            yield _reason("no_photograph", "the image does not look like a photograph of a skin lesion")
        if self.modality and has_type and self.modalities and self.modality not in self.modalities:
            trained = " and ".join(map(format_modality, self.modalities))
            yield _reason(
                "modality",
                f"'{self.model}' cannot assess {_input_name(self.modality)}",
                f"It was trained on {trained} images only",
            )
        elif has_type and not self.modality_certain:
            assumed = format_modality(self.modality or "unknown")
            detail = "The type of the photograph is neither stated nor certain"
            yield _reason("modality_uncertain", f"type assumed: {assumed}", detail, is_invalid=False)
        if self.aspect is not None and self.aspect >= ASPECT_INVALID:
            text = "no lesion can be found reliably in a picture of this shape"
            yield _reason("shape", text, f"It is {self.aspect:.3g} times as long as wide")

    def _check_scale(self) -> Iterable[ValidityReason]:
        scale = self.scale
        if scale is None:
            return
        if scale.found_um is None:
            yield _reason(
                "scale_unknown",
                f"the scale of the image is unknown, and '{self.model}' works at {scale.expected_um:g} µm per pixel",
            )
        elif scale.factor > SCALE_CAUTION:
            detail = (
                f"It is shown at {scale.found_um:.3g} µm per pixel, and '{self.model}' works at "
                f"{scale.expected_um:g} µm per pixel"
            )
            is_invalid = scale.factor > SCALE_INVALID
            yield _reason("scale", "the image has the wrong scale", detail, is_invalid=is_invalid)

    def _check_field(self) -> Iterable[ValidityReason]:
        width, expected = self.field_mm, self.model_field_mm
        if width is not None and expected and width < FIELD_CAUTION * expected:
            detail = f"It shows {width:.2g} mm, and '{self.model}' needs {expected:.2g} mm"
            is_invalid = width < FIELD_INVALID * expected
            yield _reason("field_of_view", "the image is too small", detail, is_invalid=is_invalid)
        if self.detail is not None and self.detail < DETAIL_INVALID:
            yield _reason(
                "resolution",
                "the lesion has too few pixels",
                "Take the photograph from closer, or at a higher resolution",
            )

    def _check_distribution(self) -> Iterable[ValidityReason]:
        # A distance of NaN is out of distribution, too
        if self.distance is not None and self.limit is not None and not self.distance <= self.limit:
            difference = f"It differs from the data that '{self.model}' was trained on"
            if self.painted:
                difference = (
                    f"{format_share(self.distance)} of it differ from all strokes of '{self.model}': paint there"
                )
            yield _reason("out_of_distribution", "the image is out of distribution", difference)

    def _check_calibration(self) -> Iterable[ValidityReason]:
        if self.calibrated is False:
            yield _reason(
                "uncalibrated", "the error is unknown", f"The predictions of '{self.model}' were never calibrated"
            )
        if self.coverage is not None and self.coverage < COVERAGE_CAUTION:
            text = f"the prediction set misses the true class in {100 * (1 - self.coverage):.3g} % of cases"
            yield _reason("coverage", text, is_invalid=False)


def _reason(code: Code, text: str, detail: str = "", *, is_invalid: bool = True) -> ValidityReason:
    return ValidityReason(code=code, severity="invalid" if is_invalid else "caution", text=text, detail=detail)


def _sort_reasons(reasons: Iterable[ValidityReason]) -> tuple[ValidityReason, ...]:
    """Sort reasons: each once, those that make a prediction invalid first, then in the order of ``CODES``."""
    ranks: dict[str, int] = {code: rank for rank, code in enumerate(CODES)}

    def sort_key(reason: ValidityReason) -> tuple[bool, int]:
        return reason.severity == "caution", ranks.get(reason.code, len(ranks))

    return tuple(sorted(dict.fromkeys(reasons), key=sort_key))


def _input_name(modality: str) -> str:
    kind = format_modality(modality)
    return f"a {kind}" if modality in ("slide", "tbp_tile") else f"a {kind} photograph"


def format_modality(modality: str) -> str:
    return {"tbp_tile": "total-body photography tile"}.get(modality, modality.replace("_", " "))


def read_validity(content: Mapping[str, Any]) -> Validity:
    """Read the validity of a prediction from its result file; not valid if a result does not state it."""
    stated = content.get("validity")
    return Validity.from_json({} if content and stated is None else stated) or Validity()
