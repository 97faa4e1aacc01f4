"""The record in a result of a mask that users made in a dock: by prompts, by hand or from a Labels layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError, field_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import format_count
from napari_melanoma.imaging.prompts import PromptOptions

PROMPTS, LABELS_LAYER = "prompts", "labels_layer"  # keys in the provenance of a result
BY_HAND = "corrected by hand"
# Required fields of a model, and their types
STAMP_FIELDS = {"name": str, "fingerprint": str, "device": str, "threshold": float}


class PromptRecord(Config):
    """The prompts by which a mask was made, and the prompted model, as stored in the provenance of a result.

    ``model``: the fields of ``lesion.analysis.ModelStamp``. ``lesions``: the user's prompts for each lesion.
    ``proposed``: number of lesions that the model proposed without prompts of the user. ``pixels``: a pixel (row,
    column) of each prompted lesion, then of each proposed one; None for a lesion without pixels. ``by_hand``: whether
    pixels were also changed by hand.
    """

    model: dict[str, Any]
    lesions: tuple[PromptOptions, ...] = ()
    pixels: tuple[tuple[int, int] | None, ...] = ()
    proposed: int = 0
    by_hand: bool = False

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        if not all(isinstance(model.get(key), kind) for key, kind in STAMP_FIELDS.items()):
            raise ValueError(f"expected a model with {', '.join(STAMP_FIELDS)}, found {', '.join(model) or 'none'}")
        return model

    @classmethod
    def find(cls, provenance: object) -> PromptRecord | None:
        """Return the record in the provenance of a result; None if it is missing or invalid."""
        record = provenance.get(PROMPTS) if isinstance(provenance, Mapping) else None
        if record is None:
            return None
        try:
            return cls.model_validate(record)
        except ValidationError:
            return None

    @property
    def clicks(self) -> int:
        """Number of clicks of the user."""
        return sum(len(prompts.include) + len(prompts.exclude) for prompts in self.lesions)

    @property
    def boxes(self) -> int:
        return sum(prompts.box is not None for prompts in self.lesions)

    @property
    def has_prompts(self) -> bool:
        """Whether the user prompted the model, which may also have proposed lesions by itself."""
        return bool(self.clicks or self.boxes)

    @property
    def text(self) -> str:
        """The prompts in words, such as ``by 3 clicks and 1 box with lesion-click (2 lesions)``."""
        counts = ((self.clicks, "click"), (self.boxes, "box"))
        prompts = " and ".join(format_count(count, noun) for count, noun in counts if count)
        parts = [f"by {prompts} with {self.model['name']}"] if prompts else []
        if prompts and len(self.lesions) > 1:
            parts[0] += f" ({format_count(len(self.lesions), 'lesion')})"
        if self.proposed:
            by = "" if prompts else f" by {self.model['name']}"
            parts.append(f"{format_count(self.proposed, 'lesion')} proposed{by}")
        return ", ".join([*parts, *([BY_HAND] if self.by_hand else [])])


def get_mask_origin(provenance: Mapping[str, object]) -> dict[str, object]:
    """Return the part of a result's provenance that describes how its mask was made."""
    return {key: provenance[key] for key in (PROMPTS, LABELS_LAYER) if key in provenance}


def without_mask_origin(provenance: Mapping[str, object]) -> dict[str, object]:
    """Return the provenance of a result without the part that describes how its mask was made."""
    return {key: value for key, value in provenance.items() if key not in (PROMPTS, LABELS_LAYER)}


def mark_painted(provenance: Mapping[str, object]) -> dict[str, object]:
    """Return the provenance after an edit of the mask by hand; unchanged if it contains no prompts."""
    record = PromptRecord.find(provenance)
    if record is None:
        return dict(provenance)
    return {**provenance, PROMPTS: record.model_copy(update={"by_hand": True}).model_dump(mode="json")}


def is_made_by_prompts(stored: Mapping[str, Any]) -> bool:
    """Whether the mask of a ``result.json`` was made by prompts in a dock."""
    return PromptRecord.find(stored.get("provenance")) is not None


def has_user_mask(stored: Mapping[str, Any]) -> bool:
    """Whether the mask of a ``result.json`` was made by prompts in a dock or by hand, and must not be replaced."""
    return bool(stored.get("corrected_by_hand")) or is_made_by_prompts(stored)


def find_mask_model(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the model that made the mask of a ``result.json``: if users prompted a model in a dock, that model."""
    record = PromptRecord.find(stored.get("provenance"))
    return stored.get("model") or {} if record is None else record.model


def describe_mask(stored: Mapping[str, Any]) -> str:
    """Describe how users made the mask of a ``result.json``; empty for the mask of an analysis without prompts.

    For example ``by 3 clicks with lesion-click, corrected by hand``.
    """
    record = _find_prompts(stored)
    if record is not None:
        return record.text
    return BY_HAND if stored.get("corrected_by_hand") else ""


def is_mask_of_user(stored: Mapping[str, Any]) -> bool:
    """Whether a user changed the mask of a ``result.json``, by hand, a click or a box, or drew it."""
    record = _find_prompts(stored)
    return bool(stored.get("corrected_by_hand")) or (record is not None and record.has_prompts)


def _find_prompts(stored: Mapping[str, Any]) -> PromptRecord | None:
    """Return the prompts of a ``result.json``: of a dock, or of the command line, which stores them as options."""
    record = PromptRecord.find(stored.get("provenance"))
    prompts = (stored.get("options") or {}).get("prompts")
    if record is None and prompts:
        values = {"model": stored.get("model"), "lesions": [prompts], "by_hand": bool(stored.get("corrected_by_hand"))}
        record = PromptRecord.find({PROMPTS: values})
    return record
