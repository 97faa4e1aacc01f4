"""Apply edits of the Case dock to the case, and its patient data to other docks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.case import model
from napari_melanoma.case.model import Case
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.data.body_sites import site_columns, site_title
from napari_melanoma.ui.case.controls import NEW_LESION
from napari_melanoma.ui.case.tree import NO_LESION
from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.widgets.settings import READER_SETTING, DockSettings
from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.case.tree import CaseTree

SITE_FIELDS = ("site", "sub_site", "laterality")
# Data known before a diagnosis: later findings would reveal the class to a classifier.
PATIENT_FIELDS = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
LESION_FIELDS = (
    *("site", "sub_site", "laterality", "diameter_1_mm", "diameter_2_mm"),
    *("itch", "hurt", "bleed", "elevation"),
)


class CaseEditor(QObject):
    """Applies edits of the controls to the case."""

    message = Signal(str)
    lesion_added = Signal(str)

    def __init__(self, controller: CaseController, tree: CaseTree, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._tree = tree

    def set_patient(self, name: str, text: str) -> None:
        """Set a field of the patient."""
        self._edit(
            lambda case: model.set_patient(case, **{name: text}),
            f"patient's {_format_field_name(name)}",
            f"patient {name}",
        )

    def set_part(self, name: str, text: str) -> None:
        """Set a field of the selected lesion or image."""
        part, change = self._tree.current_id, model.set_lesion if self._is_lesion() else model.set_image
        if self._is_lesion() and name in model.FINDINGS.values():
            reader = str(DockSettings().get(READER_SETTING, ""))
            change = partial(_set_finding, reader)
        target = f"lesion {self._lesion_number(part)}" if self._is_lesion() else "the image"
        self._edit(
            lambda case: change(case, part, **{name: text}), f"{_format_field_name(name)} of {target}", f"{part} {name}"
        )

    def revert_patient(self, name: str) -> None:
        """Undo the edits of a field whose value has become invalid."""
        self._controller.revert(f"patient {name}")

    def revert_part(self, name: str) -> None:
        """Undo the edits of a field whose value has become invalid."""
        self._controller.revert(f"{self._tree.current_id} {name}")

    def set_site(self, site: str, laterality: str) -> None:
        """Set the site of the selected lesion."""
        lesion = self._tree.current_id
        if self._is_lesion():
            values = dict(zip(SITE_FIELDS, (*site_columns(site), laterality), strict=True))
            text = f"Lesion {self._lesion_number(lesion)}: {site_title(site, laterality)}"
            if self._edit(lambda case: model.set_lesion(case, lesion, **values), text):
                self.message.emit(f"{text}.")

    def add_lesion(self) -> None:
        """Add a lesion, and select it."""
        case = self._edit(model.add_lesion, "new lesion")
        if case is not None:
            self.lesion_added.emit(case.lesions[-1].id)

    def move(self, images: Sequence[str], lesion: str, position: int = -1) -> None:
        """Move images to a lesion, to a new lesion, or to the unassigned images.

        ``lesion``: id of a lesion, ``NEW_LESION`` or "" for a new lesion, ``NO_LESION`` for none. ``position``: among
        the images of the lesion; -1 for the end.
        """
        is_new = lesion in ("", NEW_LESION)

        def move_all(case: Case) -> Case:
            case = model.add_lesion(case) if is_new else case
            target = case.lesions[-1].id if is_new else lesion.replace(NO_LESION, "")
            for step, image in enumerate(images):
                case = model.move_image(case, image, target, None if position < 0 else position + step)
            return case

        count = format_count(len(images), "image")
        case = self._edit(move_all, f"{count} moved")
        if case is None:
            return
        if is_new:
            self.lesion_added.emit(case.lesions[-1].id)
        target = "a new lesion" if is_new else f"lesion {self._lesion_number(lesion)}"
        self.message.emit(f"{count} moved to {'no lesion' if lesion == NO_LESION else target}.")

    def remove(self, parts: Sequence[str]) -> None:
        """Remove lesions and images from the case."""
        case = self._controller.case
        lesions = set() if case is None else {lesion.id for lesion in case.lesions}
        existing = lesions | (set() if case is None else {image.id for _, image in case.iterate_images()})
        parts = [part for part in dict.fromkeys(parts) if part in existing]

        def remove_all(case: Case) -> Case:
            for part in parts:
                case = model.remove_lesion(case, part) if part in lesions else model.remove_image(case, part)
            return case

        if parts:
            lesion_count = sum(part in lesions for part in parts)
            counts = {"image": len(parts) - lesion_count, "lesion": lesion_count}
            removed = " and ".join(format_count(count, noun) for noun, count in counts.items() if count)
            if len(parts) == lesion_count == 1:
                removed = f"lesion {self._lesion_number(parts[0])}"
            if self._edit(remove_all, f"{removed} removed"):
                self.message.emit(f"Removed from the case: {removed}. The files are kept; Ctrl+Z undoes it.")

    def _lesion_number(self, lesion: str) -> str:
        case = self._controller.case
        return "" if case is None else model.number_lesions(case).get(lesion, "")

    def _is_lesion(self) -> bool:
        case, current = self._controller.case, self._tree.current_id
        return case is not None and any(lesion.id == current for lesion in case.lesions)

    def _edit(self, change: Callable[[Case], Case], description: str, key: str = "") -> Case | None:
        """Edit the case and return it; None if it is unchanged.

        ``description``, ``key``: as for ``CaseController.edit``.
        """
        case = self._controller.case
        if case is None or not self._controller.is_editable:
            return None
        try:
            edited = change(case)
        except ConfigError as error:
            self.message.emit(describe_failure(error))
            return None
        except KeyError:  # the selected part no longer exists, as after a double click on a button
            return None
        return edited if self._controller.edit(edited, description, key) else None


def _set_finding(reader: str, case: Case, lesion: str, **values: str) -> Case:
    return model.set_lesion_findings(case, lesion, reader, utc_time(), **values)


def _format_field_name(name: str) -> str:
    return name.replace("_", " ")


class CaseMetadataSync(QObject):
    """Provides the patient data of the case to all docks, and updates them when the case is edited."""

    def __init__(self, controller: CaseController, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        for signal in (controller.opened, controller.changed):
            signal.connect(self.update_rows)
        parent.destroyed.connect(partial(_clear_metadata, id(self)))

    def update_rows(self) -> None:
        """Set the patient data of the images of the case."""
        case = self._controller.case
        rows = (
            {}
            if case is None
            else {image.path: collect_prior_metadata(case, part) for part, image in case.iterate_images()}
        )
        case_rows().set_rows(id(self), "" if case is None else self._case_name(case), rows)

    def _case_name(self, case: Case) -> str:
        store = self._controller.store
        return case.patient.patient_id or ("" if store is None else store.folder.name)


def collect_prior_metadata(case: Case, lesion: CaseLesion | None) -> dict[str, str]:
    """Return the patient data of a lesion that are known before a diagnosis, by column of the harmonized table."""
    row = {name: case.patient.cell(name) for name in PATIENT_FIELDS}
    row |= {} if lesion is None else {name: lesion.cell(name) for name in LESION_FIELDS}
    return {name: text for name, text in row.items() if text}


def _clear_metadata(source_id: int, _: object = None) -> None:
    """Remove the patient data of a closed Case dock."""
    with suppress(RuntimeError):  # at exit Qt may delete its part of the object before the dock
        case_rows().set_rows(source_id, "", {})
