"""The prediction of a photograph as values: what is requested from the worker, its outcome, and a saved prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.core.errors import MelanomaError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

PatientItems = tuple[tuple[str, str], ...]  # sorted (column, text) of the harmonized table that the model uses


class ClassifierInput(NamedTuple):
    """The input of a classifier: the name of the model, the digests of photograph and mask, and the number of lesions.

    If there are several lesions, each is also classified separately. ``modality``: the stated type of photograph.
    """

    model: str
    image_digest: str
    mask_digest: str
    lesions: int = 1
    modality: str | None = None


class LesionPredictionRequest(NamedTuple):
    """A request for the prediction of a lesion with patient data, or for the heatmap of a prediction.

    ``method``: of the heatmap; empty for a prediction. ``target``: the class that the heatmap explains.
    """

    identity: str
    classifier_input: ClassifierInput
    row: PatientItems
    method: str = ""
    target: str = ""

    @property
    def key(self) -> str:
        """The key of the request, which replaces a pending request with the same key."""
        return f"{'explain' if self.method else 'classify'} {self.identity}"


class LesionPredictionOutcome(NamedTuple):
    """The outcome of a request: a prediction, and one for each of several lesions, or an error message.

    Without both, the request was canceled.
    """

    request: LesionPredictionRequest
    prediction: ClassPrediction | None = None
    error: str = ""
    lesions: tuple[ClassPrediction, ...] = ()


@dataclass(frozen=True, eq=False)
class PredictionHeatmap:
    """The outcome of a request for a heatmap: ``values``, float32 (row, column) in [0, 1], or an error message.

    Without both, the request was canceled.
    """

    request: LesionPredictionRequest
    values: NDArray[np.float32] | None = None
    error: str = ""

    def applies_to(self, request: LesionPredictionRequest) -> bool:
        """Return whether it is the outcome of a request; what has failed is not repeated after each edit."""
        if self.error:
            failed, asked = ((one.classifier_input.model, one.method, one.target) for one in (self.request, request))
            return failed == asked
        return self.request == request


@dataclass(frozen=True, eq=False)
class EditedMask:
    """An edited mask, bool (row, column), with its digest."""

    digest: str
    mask: NDArray[np.bool_]


class SavedPrediction(NamedTuple):
    """A saved prediction, with the digest of its mask.

    ``form``: the patient data, by column. ``is_same_model``: whether the model with this name is still the same.
    """

    prediction: ClassPrediction
    form: dict[str, str]
    mask_digest: str
    is_same_model: bool

    def describe_status(self, model: str, mask_digest: str | None, row: Mapping[str, str]) -> str:
        """Describe when the prediction was saved, and what has changed since then.

        For example ``Saved on 2026-11-20 14:05 UTC. Outdated. Changed since then: the mask.``
        """
        used = self.prediction.used_columns
        changed = [
            name
            for name, has_changed in (
                ("the mask", mask_digest not in (None, self.mask_digest)),
                ("the model", bool(model) and (model != self.prediction.model.name or not self.is_same_model)),
                (
                    "the patient data",
                    any(row.get(name) != self.form.get(name) for name in used),
                ),
            )
            if has_changed
        ]
        created = str(self.prediction.provenance.get("created", ""))[:16].replace("T", " ")
        saved = f"Saved on {created} UTC." if created else "Saved earlier."
        return f"{saved} Outdated. Changed since then: {', '.join(changed)}." if changed else saved


def read_saved_prediction(source: LayerPhotographSource, folder: Path, run: RunContext) -> SavedPrediction | None:
    """Read the prediction of a saved result; call this in a thread.

    Returns None if there is no result or prediction, or if it is damaged or of another image.
    """
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.results import RESULT, read_mask
    from napari_melanoma.lesion.results import read_result

    if not (folder / RESULT).is_file():
        return None
    try:
        values = read_result(folder)
        if "prediction" not in values or values["image_sha256"] != array_fingerprint(source.read().rgb):
            return None
        run.check()
        prediction = ClassPrediction.from_json(values["prediction"])
        form = {str(name): str(value) for name, value in values["form"].items()}
        digest = array_fingerprint(read_mask(folder / "mask.png"))
        return SavedPrediction(prediction, form, digest, _is_model_installed(prediction))
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return None  # optional: without it, the photograph is analyzed like any other


def _is_model_installed(prediction: ClassPrediction) -> bool:
    """Return whether the model of a prediction is still installed and unchanged."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(prediction.model.name).fingerprint == prediction.model.fingerprint
    except MelanomaError:
        return False
