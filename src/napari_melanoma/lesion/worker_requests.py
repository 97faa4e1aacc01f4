"""Requests of the docks for the classification of a lesion, and for its mask by prompts."""

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
from napari_melanoma.lesion.loaded_models import report_loading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.imaging.modality import ModalityEstimate
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
    from napari_melanoma.lesion.segmentation import Segmenter

FileKey = tuple[str, int, int, int]
MAX_ENCODED = 64  # lesions of a photograph, earlier ones for undo included


class ClassificationRequests:
    """Classifies lesions, and the last ones again if only the clinical metadata change.

    Encoded lesions of the last photograph are cached, so that only lesions whose pixels changed are encoded.
    """

    def __init__(self, load: Callable[[str], Classifier]) -> None:
        self._load = load
        self._last_lesions: tuple[Classifier, list[EncodedLesion]] | None = None
        self._last_recognized: tuple[FileKey, ModalityEstimate] | None = None
        self._photograph: tuple[object, ...] = ()
        self._encoded: dict[object, EncodedLesion] = {}  # by the pixels of the lesion, of this photograph and model

    def classify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Encode a lesion and classify it, and each of several lesions; known ones are not encoded again."""
        from napari_melanoma.io.photographs import Photograph

        options = _options(arguments)
        with report_loading(run):
            model = self._load(arguments["model"])
        run.report(Progress(1, 2, "Measuring image features"))
        self._last_lesions = None
        rgb, mask = _arrays(arguments)
        photograph = Photograph(rgb, "", modality=arguments.get("modality"), damage=arguments.get("damage"))
        recognized = self._cached_recognized(arguments["image"])
        masks = [mask, *_lesions(arguments, mask, model)]
        known = (model, _file_key(arguments["image"]), photograph.modality, photograph.damage)
        if known != self._photograph:
            self._photograph, self._encoded = known, {}
        encoded = [self._encode(photograph, one, model, recognized) for one in masks]
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
        """Encode a lesion, unless its pixels are those of an earlier one."""
        key = None if mask is None else mask_key(mask)
        encoded = self._encoded.pop(key, None) or encode_lesion(photograph, mask, model, recognized)
        self._encoded[key] = encoded
        if len(self._encoded) > MAX_ENCODED:
            del self._encoded[next(iter(self._encoded))]
        return encoded

    def reclassify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Classify the last lesion again."""
        model = self._load(arguments["model"])
        if self._last_lesions is None or self._last_lesions[0] is not model:
            raise InputError(f"'{model.info.name}' has not classified a lesion yet. Classify a lesion first.")
        return _response(self._last_lesions[1], arguments, model, _options(arguments))

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


class PromptRequests:
    """Answers prompts for photographs; the features of the last photograph are cached."""

    def __init__(self, load: Callable[[str], Segmenter]) -> None:
        self._load = load
        self._last: tuple[PromptedSegmenter, FileKey, Prompter, dict[str, Any]] | None = None

    def encode(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Compute the features of a photograph, and return ``model``."""
        prompter, stamp = self._load_prompter(arguments, run)
        prompter.encode()
        return {"model": stamp}

    def prompt(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the logits of all hypotheses, and return ``qualities`` and ``model``."""
        import numpy as np

        from napari_melanoma.imaging.prompts import PromptOptions

        prompter, stamp = self._load_prompter(arguments, run)
        strokes, previous = (
            None if (path := arguments.get(name)) is None else np.load(path) for name in ("strokes", "previous")
        )
        options = PromptOptions.parse(arguments.get("options") or {}, "the prompts of a request")
        found = prompter.segment(replace(options.to_prompts(previous), strokes=strokes))
        np.save(arguments["out"], found.logits)
        return {"qualities": found.qualities.tolist(), "model": stamp}

    def find(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write the logits of proposed lesions, and return ``qualities``, ``seeds`` and ``model``."""
        import numpy as np

        prompter, stamp = self._load_prompter(arguments, run)
        found = prompter.find_all()
        side = prompter.model.info.config.input_size
        np.save(arguments["out"], np.array([one.logits for one in found], np.float32).reshape(-1, side, side))
        return {"qualities": [one.quality for one in found], "seeds": [one.seed for one in found], "model": stamp}

    def _load_prompter(self, arguments: Mapping[str, Any], run: RunContext) -> tuple[Prompter, dict[str, Any]]:
        """Load the model, and return the prompter of the photograph and the model's stamp."""
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


def _arrays(arguments: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Photograph and mask of a request."""
    mask = arguments.get("mask")
    return read_rgb_array(Path(arguments["image"])), None if mask is None else read_mask_array(Path(mask))


def _file_key(path: str) -> FileKey:
    """A value that changes with the content of a file."""
    found = Path(path).stat()
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _lesions(
    arguments: Mapping[str, Any], mask: NDArray[np.bool_] | None, model: Classifier
) -> list[NDArray[np.bool_]]:
    """Return the masks of several lesions, bool (row, column); none for one lesion or a model for whole photographs."""
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
    """The predictions for the whole mask and for each of several lesions, as the worker sends them."""
    answers = [classify_encoded(one, arguments.get("row", {}), model, options).to_json() for one in lesions]
    return {"prediction": answers[0], "lesions": answers[1:]}
