"""Requests to the worker process for the classification of lesions and for their segmentation by prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.classification.classify import EncodedLesion, classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.masks import mask_key
from napari_melanoma.io.results import read_mask_array, read_rgb_array
from napari_melanoma.lesion.loaded_models import load_classifier, load_segmenter, report_loading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.imaging.modality import ModalityEstimate
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
    from napari_melanoma.lesion.segmentation import Segmenter

FileKey = tuple[str, int, int, int]  # path, inode, modification time in ns, size
MAX_ENCODED = 64  # cached lesions of a photograph, including earlier ones, which undo restores


class ClassificationRequests:
    """Classifies lesions, and classifies the last ones again if only the clinical metadata change.

    The encoded lesions of the last photograph are cached, so that only lesions whose pixels have changed are encoded.
    """

    def __init__(self, load: Callable[[str], Classifier]) -> None:
        self._load = load
        self._last_lesions: tuple[Classifier, list[EncodedLesion]] | None = None
        self._last_recognized: tuple[FileKey, ModalityEstimate] | None = None
        self._photograph_key: tuple[object, ...] = ()
        self._encoded: dict[object, EncodedLesion] = {}  # by mask_key, for this photograph and model

    def classify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Classify the lesion in a mask and, if there are several lesions, each of them.

        Returns ``prediction`` for the whole mask, and ``lesions``, the predictions for each lesion.
        """
        from napari_melanoma.io.photographs import Photograph

        options = _options(arguments)
        with report_loading(run):
            model = self._load(arguments["model"])
        run.report(Progress(1, 2, "Measuring image features"))
        self._last_lesions = None
        rgb, mask = _read_arrays(arguments)
        photograph = Photograph(rgb, "", modality=arguments.get("modality"), damage=arguments.get("damage"))
        recognized = (
            self._last_recognized[1]
            if self._last_recognized is not None and self._last_recognized[0] == _file_key(arguments["image"])
            else None
        )
        masks = [mask, *_read_lesions(arguments, mask, model)]
        key = (model, _file_key(arguments["image"]), photograph.modality, photograph.damage)
        if key != self._photograph_key:
            self._photograph_key, self._encoded = key, {}
        encoded = [self._encode(photograph, lesion, model, recognized) for lesion in masks]
        self._last_recognized = _file_key(arguments["image"]), encoded[0].recognized
        self._last_lesions = model, encoded
        return _response(encoded, arguments, model, options)

    def _encode(
        self,
        photograph: Photograph,
        mask: NDArray[np.bool_] | None,
        model: Classifier,
        recognized: ModalityEstimate | None,
    ) -> EncodedLesion:
        """Encode a lesion, unless an earlier one has the same pixels."""
        key = None if mask is None else mask_key(mask)
        encoded = self._encoded.pop(key, None) or encode_lesion(photograph, mask, model, recognized)
        self._encoded[key] = encoded
        if len(self._encoded) > MAX_ENCODED:
            del self._encoded[next(iter(self._encoded))]
        return encoded

    def reclassify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Classify the last lesions again, with other clinical metadata or options."""
        model = self._load(arguments["model"])
        if self._last_lesions is None or self._last_lesions[0] is not model:
            raise InputError(f"'{model.info.name}' has not classified a lesion yet. Classify a lesion first.")
        return _response(self._last_lesions[1], arguments, model, _options(arguments))

    def explain(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the explanation of a prediction, and return its path ``heatmap``, ``method`` and ``class``."""
        import numpy as np

        from napari_melanoma.classification.classifier import LesionInput
        from napari_melanoma.classification.explanation import explain

        model = self._load(arguments["model"])
        rgb, mask = _read_arrays(arguments)
        target = arguments.get("class") or model.config.positive
        lesion = LesionInput(rgb, mask, arguments.get("row", {}))
        np.save(arguments["out"], explain(model, lesion, arguments["method"], target, run))
        return {"heatmap": arguments["out"], "method": arguments["method"], "class": target}


class PromptRequests:
    """Segments photographs by prompts; the features of the last photograph are cached."""

    def __init__(self, load: Callable[[str], Segmenter]) -> None:
        self._load = load
        self._last: tuple[PromptedSegmenter, FileKey, Prompter, dict[str, Any]] | None = None

    def encode(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Compute the features of a photograph, and return the ``model``, the fields of its stamp."""
        prompter, stamp = self._load_prompter(arguments, run)
        prompter.encode()
        return {"model": stamp}

    def prompt(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the logits of all hypotheses for prompts, and return their ``qualities`` and the ``model``."""
        import numpy as np

        from napari_melanoma.imaging.prompts import PromptOptions

        prompter, stamp = self._load_prompter(arguments, run)
        strokes, previous = (
            None if (path := arguments.get(name)) is None else np.load(path) for name in ("strokes", "previous")
        )
        options = PromptOptions.parse(arguments.get("options") or {}, "the prompts of a request")
        hypotheses = prompter.segment(replace(options.to_prompts(previous), strokes=strokes))
        np.save(arguments["out"], hypotheses.logits)
        return {"qualities": hypotheses.qualities.tolist(), "model": stamp}

    def find(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the logits of proposed lesions, and return their ``qualities`` and ``seeds``, and the ``model``."""
        import numpy as np

        prompter, stamp = self._load_prompter(arguments, run)
        lesions = prompter.find_all()
        side = prompter.model.info.config.input_size
        np.save(arguments["out"], np.array([lesion.logits for lesion in lesions], np.float32).reshape(-1, side, side))
        return {
            "qualities": [lesion.quality for lesion in lesions],
            "seeds": [lesion.seed for lesion in lesions],
            "model": stamp,
        }

    def _load_prompter(self, arguments: Mapping[str, Any], run: RunContext) -> tuple[Prompter, dict[str, Any]]:
        """Load the model, and return the prompter of the photograph and the fields of the model's stamp."""
        from napari_melanoma.lesion.analysis import ModelStamp
        from napari_melanoma.lesion.prompting import Prompter, require_prompts

        with report_loading(run):
            model = require_prompts(self._load(arguments["model"]))
        image = arguments["image"]
        key = _file_key(image)
        if self._last is None or self._last[:2] != (model, key):
            rgb = read_rgb_array(Path(image))
            self._last = model, key, Prompter(model, rgb), vars(ModelStamp.of(model, rgb))
        return self._last[2:]


def _options(arguments: Mapping[str, Any]) -> ClassifyOptions:
    return ClassifyOptions.parse(arguments.get("options") or {}, "the options of a request")


def _read_arrays(arguments: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Read photograph, uint8 (row, column, channel), and mask, bool (row, column), of a request."""
    mask = arguments.get("mask")
    return read_rgb_array(Path(arguments["image"])), None if mask is None else read_mask_array(Path(mask))


def _file_key(path: str) -> FileKey:
    """Return a key that changes with the content of a file."""
    status = Path(path).stat()
    return path, status.st_ino, status.st_mtime_ns, status.st_size


def _read_lesions(
    arguments: Mapping[str, Any], mask: NDArray[np.bool_] | None, model: Classifier
) -> list[NDArray[np.bool_]]:
    """Read the masks of several lesions, bool (row, column) each.

    Empty for a single lesion, and for a model for whole photographs.
    """
    import numpy as np

    path = arguments.get("lesions")
    if path is None or model.config.view.region == "photograph":
        return []
    labels = np.load(path)
    if mask is None or labels.shape != mask.shape:
        raise InputError(f"expected lesions of the mask's size, found {labels.shape}. Analyze the photograph again.")
    return [labels == number for number in range(1, int(labels.max(initial=0)) + 1)]


def _response(
    lesions: Sequence[EncodedLesion], arguments: Mapping[str, Any], model: Classifier, options: ClassifyOptions
) -> dict[str, Any]:
    """Classify encoded lesions, the whole mask first, and return the response of the worker."""
    predictions = [classify_encoded(lesion, arguments.get("row", {}), model, options).to_json() for lesion in lesions]
    return {"prediction": predictions[0], "lesions": predictions[1:]}


_classification = ClassificationRequests(load_classifier)
_prompts = PromptRequests(load_segmenter)
classify, reclassify, explain = _classification.classify, _classification.reclassify, _classification.explain
encode, prompt, find_lesions = _prompts.encode, _prompts.prompt, _prompts.find


def segment(arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
    """Predict the lesion probability of each pixel of a photograph."""
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, predict_lesion

    with report_loading(run):
        model = load_segmenter(arguments["model"])
    run.report(Progress(1, 2, "Finding the lesion"))
    spread, rgb = arguments.get("spread"), read_rgb_array(Path(arguments["image"]))
    prediction = predict_lesion(model, rgb, flips=spread is not None)
    np.save(arguments["out"], prediction.probability)
    values: dict[str, Any] = {"model": vars(ModelStamp.of(model, rgb))}
    if spread is not None and prediction.spread is not None:
        np.save(spread, prediction.spread)
        values["spread"] = spread
    return values
