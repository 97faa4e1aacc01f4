"""What a window offers to the sections of its photographs: the controllers that change their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_melanoma.ui.session.photograph import PhotographOptions, PhotographSession, WindowServices

if TYPE_CHECKING:
    from napari_melanoma.ui.session.adoption import LabelsAdoption
    from napari_melanoma.ui.session.document import Shared
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.photograph_corrections import PhotographCorrections
    from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
    from napari_melanoma.ui.session.prompting import PromptController


class PhotographServices(WindowServices, Protocol):
    """The controllers of the photographs of a window, and the options that the photographs share.

    ``hidden``: why the selected photograph cannot be worked on, because it is not in view; empty if it is.
    """

    corrections: PhotographCorrections
    options: PhotographOptions
    controller: LesionController
    predictions: PhotographPredictions
    prompts: PromptController
    labels: LabelsAdoption
    hidden: Shared[str]


@dataclass(eq=False)
class HostedPhotograph(PhotographSession):
    """The session of a photograph in a window with sections, which reach the controllers through it."""

    services: PhotographServices
