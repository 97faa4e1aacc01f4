"""The session of a photograph: the open photograph, with what its window offers to its sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from qtpy.QtCore import QObject

from napari_melanoma.ui.session.adoption import LabelsAdoption
from napari_melanoma.ui.session.corrections_store import PhotographCorrections
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.image import ImageSession
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PhotographOptions
from napari_melanoma.ui.session.photograph_predictions import (
    PhotographPredictions,
)
from napari_melanoma.ui.session.prompting import PromptController
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure
from napari_melanoma.ui.widgets.style import ThemedIcons


class PhotographServices(Protocol):
    """What a window offers to its photographs: the controllers that change them, and the options that they share.

    ``hidden``: why the selected photograph cannot be worked on, because it is not in view; empty if it is.
    """

    settings: DockSettings
    icons: ThemedIcons
    status: StatusLine
    corrections: PhotographCorrections
    options: PhotographOptions
    controller: LesionController
    predictions: PhotographPredictions
    prompts: PromptController
    labels: LabelsAdoption
    hidden: Shared[str]


@dataclass(eq=False)
class PhotographSession(OpenPhotograph):
    """An open photograph in a window; ``services``: of the window."""

    services: PhotographServices = field(kw_only=True)

    def __post_init__(self) -> None:
        status = self.services.status
        parent = status if isinstance(status, QObject) else None
        ImageSession.__init__(self, partial(show_failure, status), parent)  # those of dataclasses do not call it
