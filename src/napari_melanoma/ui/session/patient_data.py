"""The patient data of an image: the row of its case or sample, and what the user has edited in a dock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.samples.catalog import find_by_path
from napari_melanoma.ui.session.workspace import Row, Workspace
from napari_melanoma.ui.viewer.photographs import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Layer


class PatientData(NamedTuple):
    """The patient data of an image, whose case or sample is found by the path of its file.

    Edits change neither: they are stored in the metadata of the layer, so that they are available when the dock
    is opened again. ``workspace``: of the viewer, whose case is asked.
    """

    layer: Layer
    path: Path | None
    workspace: Workspace

    @property
    def case(self) -> str:
        """The name of the case that contains the image; empty if there is none."""
        return self.workspace.find_patient_data(self.path)[0]

    @property
    def origin(self) -> str:
        """Where the values come from that were not edited, such as ``case P-0042``; empty if there are none."""
        if self.case:
            return f"case {self.case}"
        return "the published data of the sample" if self._known_row else ""

    @property
    def row(self) -> Row:
        """The values, column to text; unknown values are left out."""
        return {name: text for name, text in {**self._known_row, **self.edits}.items() if text}

    @property
    def has_edits(self) -> bool:
        return bool(self.edits)

    @property
    def edits(self) -> Row:
        """The edited values, column to text; empty texts for known values that were removed."""
        return dict(self.layer.metadata.get(METADATA_KEY, {}).get("patient", {}))

    def restore(self, edits: Mapping[str, str]) -> None:
        """Store edited values of an earlier session."""
        self.set_row({**self._known_row, **edits})

    def set_row(self, row: Mapping[str, str]) -> None:
        """Store the values that differ from those of the case or sample as edits."""
        known = self._known_row
        names = {*known, *row, *self.edits}
        edits = {name: row.get(name, "") for name in names if row.get(name, "") != known.get(name, "")}
        metadata = self.layer.metadata
        self.layer.metadata = {**metadata, METADATA_KEY: {**metadata.get(METADATA_KEY, {}), "patient": edits}}

    def reset(self) -> None:
        self.set_row(self._known_row)

    @property
    def _known_row(self) -> Row:
        case, row = self.workspace.find_patient_data(self.path)
        sample = None if case or self.path is None else find_by_path(self.path)
        return row if sample is None else sample.patient
