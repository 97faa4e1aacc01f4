"""What is open in a viewer: docks provide it, and other docks and sections ask for it and follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_melanoma.core.paths import real_path
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.open_case import OpenCase
from napari_melanoma.ui.viewer.docking import (
    CASE_DOCK,
    LESION_DOCK,
    SLIDE_DOCK,
    TRAIN_DOCK,
    TRAY_DOCK,
    open_hidden_dock,
    show_dock,
)
from napari_melanoma.ui.widgets.signals import at_end

if TYPE_CHECKING:
    from napari.viewer import Viewer

KEY = "napari_melanoma_workspace"  # of the viewer's own attributes
Row = dict[str, str]  # values by column of the harmonized table


class PhotographViewer(Protocol):
    """Shows photographs or slides; ``opener``: the ``PhotographOpener``."""

    opener: Any

    def show_file(self, path: Path) -> None:
        """Show an image; open it if necessary."""


class SlideViewer(PhotographViewer, Protocol):
    """Shows slides."""

    def show_beside(self, path: Path) -> bool:
        """Show a slide next to the displayed one; without one, display it and return False."""


class ImageList(Protocol):
    """Lists the images of folders or of a case."""

    def open(self, paths: Sequence[Path]) -> None:
        """List the images of folders and files."""


class TrainingData(Protocol):
    """The data sets of the next training run."""

    def select(self, datasets: Sequence[str], replay: Sequence[str]) -> None:
        """Use only these data sets."""


Part = TypeVar("Part")


class Provided(Generic[Part]):
    """What a dock provides while it exists; ``changed``: the dock was opened or closed."""

    changed = Signal()

    def __init__(self, viewer: Viewer, dock: str) -> None:
        self._viewer, self._dock = viewer, dock
        self._values: list[Part] = []

    @property
    def value(self) -> Part | None:
        """What the dock provides that was opened last; None without one."""
        return next(reversed(self._values), None)

    def __iter__(self) -> Iterator[Part]:
        """Iterate over what each of the open docks provides; the dock that was opened last is the last one."""
        return iter(tuple(self._values))

    def show(self) -> Part:
        """Return it after its dock was opened, or brought to the front."""
        show_dock(self._viewer, self._dock)
        return self._values[-1]

    def require(self) -> Part:
        """Return it; its dock is opened without being shown if it is not open."""
        if not self._values:
            open_hidden_dock(self._viewer, self._dock)
        return self._values[-1]

    def provide(self, value: Part, dock: QObject) -> None:
        """Provide it until its dock is deleted."""
        self._values.append(value)
        at_end(dock, partial(self._remove, value))
        self.changed.emit()

    def _remove(self, value: Part) -> None:
        self._values.remove(value)
        self.changed.emit()


class Workspace:
    """What is open in one viewer, each part as its dock provides it.

    - ``photographs``, ``slides``, ``cases``, ``images``, ``training``: of the docks Lesion, Slide, Case, Tray and Train
    - ``case_changed``: a case was opened, edited or closed; ``patient_data_changed``: with other data of the patient
    - ``live_predictions``: texts on the photographs that are being labeled in the Review dock, by their files
    """

    case_changed, patient_data_changed = Signal(), Signal()

    def __init__(self, viewer: Viewer) -> None:
        self.photographs = Provided[PhotographViewer](viewer, LESION_DOCK)
        self.slides = Provided[SlideViewer](viewer, SLIDE_DOCK)
        self.cases = Provided[OpenCase](viewer, CASE_DOCK)
        self.images = Provided[ImageList](viewer, TRAY_DOCK)
        self.training = Provided[TrainingData](viewer, TRAIN_DOCK)
        self.live_predictions: Shared[Mapping[Path, str]] = Shared({})
        self._patient_data: dict[Path, tuple[str, Row]] = {}
        self.cases.changed.connect(self._on_cases)

    @classmethod
    def of(cls, viewer: Viewer) -> Workspace:
        """Return that of a viewer, to which it belongs like an attribute, so that both end together."""
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes proxies to docks
        attributes: dict[str, Workspace] = vars(viewer)
        if KEY not in attributes:
            attributes[KEY] = cls(viewer)
        return attributes[KEY]

    @property
    def case(self) -> OpenCase | None:
        """The open case; None if none is open."""
        case = self.cases.value
        return None if case is None or case.case is None else case

    def find_patient_data(self, path: Path | None) -> tuple[str, Row]:
        """Return the name of the open case that contains an image, and the patient data; both empty if it does not."""
        return ("", {}) if path is None else self._patient_data.get(_find_file(path.absolute()), ("", {}))

    def find_patient_id(self, path: Path | None) -> str:
        """Return the id of the patient of the open case that contains an image; empty if it does not."""
        open_case = self.case
        case = None if open_case is None else open_case.case
        return case.patient.patient_id if case is not None and self.find_patient_data(path)[0] else ""

    def _on_cases(self) -> None:
        case = self.cases.value
        for signal in () if case is None else (case.opened, case.changed):
            signal.connect(self._on_case)
        self._on_case()

    def _on_case(self) -> None:
        """Derive the patient data of the images again."""
        previous, self._patient_data = self._patient_data, _collect_patient_data(self.case)
        self.case_changed.emit()
        if self._patient_data != previous:
            self.patient_data_changed.emit()


def _collect_patient_data(open_case: OpenCase | None) -> dict[Path, tuple[str, Row]]:
    """Return the name of the case and what is known before a diagnosis, by the file of each image."""
    from napari_melanoma.case.model import collect_prior_metadata

    if open_case is None or open_case.case is None or open_case.store is None:
        return {}
    case, name = open_case.case, open_case.case.patient.patient_id or open_case.store.folder.name
    images = case.iterate_images()
    return {_find_file(image.path.absolute()): (name, collect_prior_metadata(case, one)) for one, image in images}


@lru_cache(maxsize=10_000)  # a lookup takes milliseconds on a network drive, and each edit of a case needs all images
def _find_file(path: Path) -> Path:
    """Return the path of a file without links, so that it is the same by whatever path it was opened."""
    return real_path(path)
