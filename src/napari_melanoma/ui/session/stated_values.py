"""What users state about a photograph besides its mask: scale, type and patient data, stored and restored with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import format_modality
from napari_melanoma.data.table_schema import COLUMN_NAMES, field_title
from napari_melanoma.io.formats import Modality
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import format_pixel_size

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph

OF_FILE = ("file", "dicom")  # origins of a scale that the file states itself
SOURCE_TITLES = {
    "ruler": "by the ruler",
    "accepted ruler": "proposed from the ruler in the photograph, and accepted",
    "given": "entered",
    "file": "of the file",
    "dicom": "of the file",
}


class StatedValues(NamedTuple):
    """Scale with its origin, type, and patient data of a photograph.

    ``patient``: texts by column, those of the user; a case has its own. The keys of ``to_json`` are those of
    ``result.json``, which ``from_json`` reads as well.
    """

    pixel_size: PixelSize | None = None
    modality: str | None = None
    patient: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, session: OpenPhotograph) -> Self:
        """Return the current values of a photograph, also after it was closed."""
        image = session.image
        size, modality = photographs.get_pixel_size(image), photographs.get_modality(image)
        return cls(size, modality, session.patient_data.edits)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the values; raises ``KeyError``, ``TypeError``, ``ValueError`` or ``MelanomaError`` for invalid ones."""
        size, modality = values.get("pixel_size_um"), values.get("modality")
        if modality is not None and modality not in get_args(Modality):
            raise ValueError(f"unknown type of photograph: {modality}")
        patient = {str(name): str(text) for name, text in (values.get("form") or {}).items()}
        return cls(None if size is None else PixelSize.from_json(size), modality, patient)

    def to_json(self) -> dict[str, Any]:
        """Return the values by their keys in a file."""
        size = None if self.pixel_size is None else self.pixel_size.to_json()
        return {"pixel_size_um": size, "modality": self.modality, "form": dict(self.patient)}

    def describe(self, photograph: Photograph) -> Photograph:
        """Return a photograph with these values instead of its own."""
        modality: Any = self.modality or photograph.modality
        return replace(photograph, pixel_size=self.pixel_size or photograph.pixel_size, modality=modality)

    def restore(self, session: OpenPhotograph, other: str = "") -> str:
        """Set the values that the user has not set since the photograph was opened; return a sentence on what was set.

        What was restored before, such as from a saved result, does not count as set by the user. ``other``: what is
        restored elsewhere, for the sentence.
        """
        previous = session.restored
        steps = {
            "scale": self._restore_scale(session, previous),
            "type": self._restore_modality(session, previous),
            "patient data": self._restore_patient(session, previous),
        }
        now = StatedValues.of(session)
        equal = {name: value for name, value in self._asdict().items() if value and value == getattr(now, name)}
        session.restored = previous._replace(**equal)
        session.stated_changed.emit()
        restored = [*(f"{name} ({text})" for name, text in steps.items() if text), *filter(None, (other,))]
        preserved = [name for name, text in steps.items() if text is None]
        sentences = [f"Restored: {', '.join(restored)}."] if restored else []
        if preserved:
            sentences.append(f"Kept as set since the photograph was opened: {', '.join(preserved)}.")
        return " ".join(sentences)

    def _restore_scale(self, session: OpenPhotograph, previous: StatedValues) -> str | None:
        """Set the scale; return it as text, empty if nothing was to be set, and None if the user has set another."""
        size, image = self.pixel_size, session.image
        own, current = photographs.get_ruler_size(image), photographs.get_pixel_size(image)
        if size is None or size == current:
            return ""
        if own is not None and own != previous.pixel_size and not own.is_close(size):
            return None
        if own is None and photographs.get_file_size(image) is not None and size.source in OF_FILE:
            return ""  # the file states another scale now
        photographs.set_pixel_size(session.viewer, image, size)
        if current is not None and current.is_close(size):
            return ""  # only its origin
        return f"{format_pixel_size(size)} per pixel, {SOURCE_TITLES.get(size.source, size.source)}"

    def _restore_modality(self, session: OpenPhotograph, previous: StatedValues) -> str | None:
        image, current = session.image, photographs.get_modality(session.image)
        if self.modality in (None, current) or (current is not None and session.patient_data.case):
            return ""
        if photographs.has_stated_modality(image) and current != previous.modality:
            return None
        photographs.set_modality(image, self.modality)
        return format_modality(str(self.modality))

    def _restore_patient(self, session: OpenPhotograph, previous: StatedValues) -> str | None:
        data = session.patient_data
        if not self.patient or dict(self.patient) == data.edits:
            return ""
        if data.has_edits and data.edits != dict(previous.patient):
            return None
        data.restore(self.patient)
        session.patient_changed.emit()
        return ", ".join(field_title(name).lower() for name in COLUMN_NAMES if data.edits.get(name))
