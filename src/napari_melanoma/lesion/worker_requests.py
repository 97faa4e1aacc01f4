"""Requests of the docks for the classification of a lesion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.classification.classify import EncodedLesion, classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import ClassifyOptions, ClassPrediction
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.results import read_mask_array, read_rgb_array
from napari_melanoma.lesion.loaded_models import report_loading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.imaging.modality import ModalityEstimate

FileKey = tuple[str, int, int, int]


class ClassificationRequests:
    """Classifies one lesion after another, and the last one again when only the clinical metadata change."""

    def __init__(self, load: Callable[[str], Classifier]) -> None:
        self._load = load
        self._last_lesion: tuple[Classifier, EncodedLesion] | None = None
        self._last_recognized: tuple[FileKey, ModalityEstimate] | None = None

    def classify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Encode a lesion and classify it."""
        from napari_melanoma.io.photographs import Photograph

        options = _options(arguments)
        with report_loading(run):
            model = self._load(arguments["model"])
        run.report(Progress(1, 2, "Measuring image features"))
        self._last_lesion = None
        rgb, mask = _arrays(arguments)
        photograph = Photograph(rgb, "", modality=arguments.get("modality"), damage=arguments.get("damage"))
        lesion = encode_lesion(photograph, mask, model, self._cached_recognized(arguments["image"]))
        self._last_recognized = _file_key(arguments["image"]), lesion.recognized
        self._last_lesion = model, lesion
        return _response(classify_encoded(lesion, arguments.get("row", {}), model, options))

    def reclassify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Classify the last lesion again."""
        model = self._load(arguments["model"])
        if self._last_lesion is None or self._last_lesion[0] is not model:
            raise InputError(f"'{model.info.name}' has not classified a lesion yet. Classify a lesion first.")
        return _response(classify_encoded(self._last_lesion[1], arguments.get("row", {}), model, _options(arguments)))

    def explain(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the explanation of a prediction, and return ``heatmap``, ``method`` and ``class``."""
        import numpy as np

        from napari_melanoma.classification.classifier import LesionInput
        from napari_melanoma.classification.explanation import explain

        model = self._load(arguments["model"])
        rgb, mask = _arrays(arguments)
        target = arguments.get("class") or model.config.positive
        lesion = LesionInput(rgb, mask, arguments.get("row", {}))
        np.save(arguments["out"], explain(model, lesion, arguments["method"], target, run))
        return {"heatmap": arguments["out"], "method": arguments["method"], "class": target}

    def _cached_recognized(self, image: str) -> ModalityEstimate | None:
        """The estimated type of the photograph, if it is the last one."""
        return (
            self._last_recognized[1]
            if self._last_recognized is not None and self._last_recognized[0] == _file_key(image)
            else None
        )


def _options(arguments: Mapping[str, Any]) -> ClassifyOptions:
    return ClassifyOptions.parse(arguments.get("options") or {}, "the options of a request")


def _arrays(arguments: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Photograph and mask of a request."""
    mask = arguments.get("mask")
    return read_rgb_array(Path(arguments["image"])), None if mask is None else read_mask_array(Path(mask))


def _file_key(path: str) -> FileKey:
    """A value that changes with the content of a file."""
    found = Path(path).stat()
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _response(prediction: ClassPrediction) -> dict[str, Any]:
    """A prediction as the worker sends it."""
    return {"answer": prediction.to_json()}
