"""The heatmaps of photographs: the options that all photographs share, and which heatmap they request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_melanoma.ui.session.document import Shared

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.ui.session.lesion_prediction import LesionPredictionOutcome, LesionPredictionRequest
    from napari_melanoma.ui.widgets.settings import DockSettings

PERCENT = 100
HEATMAP_METHODS = {
    "cam": ("CAM", "Output of the network's head for each region of the last feature map. Fast."),
    "occlusion": ("Occlusion", "Decrease of the prediction when a patch is covered. Takes a few seconds."),
}
SETTINGS = {"is_shown": "lesion/heatmap", "method": "lesion/heatmap_method", "opacity": "lesion/heatmap_opacity"}


@dataclass(frozen=True)
class HeatmapOptions:
    """How the heatmaps of all photographs are computed and displayed.

    ``target``: the class that is explained; empty for the predicted class. ``opacity``: in percent.
    """

    is_shown: bool = False
    method: str = "cam"
    target: str = ""
    opacity: int = 60

    def find_target(self, prediction: ClassPrediction) -> str:
        """Return the class to explain: the selected one if the model has it, else the predicted one."""
        return self.target if self.target in prediction.classes else prediction.predicted

    def make_request(self, outcome: LesionPredictionOutcome | None) -> LesionPredictionRequest | None:
        """Return the request for the heatmap of a prediction; None if it is not shown, or without a prediction."""
        if outcome is None or outcome.prediction is None or not self.is_shown:
            return None
        return outcome.request._replace(method=self.method, target=self.find_target(outcome.prediction))


class SharedHeatmapOptions(Shared[HeatmapOptions]):
    """The heatmap options, which are stored in the settings."""

    def __init__(self, settings: DockSettings) -> None:
        default = HeatmapOptions()
        values: dict[str, Any] = {name: settings.get(key, getattr(default, name)) for name, key in SETTINGS.items()}
        if values["method"] not in HEATMAP_METHODS:
            values["method"] = default.method
        super().__init__(HeatmapOptions(**values))
        self._settings = settings

    def edit(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        """Change options."""
        for name in changes.keys() & SETTINGS.keys():
            self._settings.set(SETTINGS[name], changes[name])
        self.set(replace(self.value, **changes))
