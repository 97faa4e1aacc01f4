"""Requests of the docks for the prediction of a lesion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.classification.classify import Seen, answer_again, look_at
from napari_melanoma.classification.prediction import Answer, ClassifyOptions
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.results import read_mask_array, read_rgb_array
from napari_melanoma.lesion.loaded_models import loading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.imaging.modality import Recognised

File = tuple[str, int, int, int]


class Answering:
    """Answers about one lesion after the other, and again about the last one where only the form is another."""

    def __init__(self, load: Callable[[str], Classifier]) -> None:
        self._load = load
        self._last: tuple[Classifier, Seen] | None = None
        self._looks: tuple[File, Recognised] | None = None

    def classify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Look at a lesion and answer."""
        from napari_melanoma.io.photographs import Photograph

        options = _options(arguments)
        with loading(run):
            model = self._load(arguments["model"])
        run.report(Progress(1, 2, "Looking at the lesion"))
        self._last = None
        rgb, mask = _arrays(arguments)
        photograph = Photograph(rgb, "", modality=arguments.get("modality"), damage=arguments.get("damage"))
        seen = look_at(photograph, mask, model, self._known_looks(arguments["image"]))
        self._looks = _file(arguments["image"]), seen.looks
        self._last = model, seen
        return _told(answer_again(seen, arguments.get("row", {}), model, options))

    def reclassify(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Answer again about the lesion that was looked at last."""
        model = self._load(arguments["model"])
        if self._last is None or self._last[0] is not model:
            raise InputError(f"'{model.info.name}' has not looked at a lesion yet. Ask it to classify one first.")
        return _told(answer_again(self._last[1], arguments.get("row", {}), model, _options(arguments)))

    def explain(self, arguments: Mapping[str, Any], run: RunContext) -> dict[str, Any]:
        """Write where an answer comes from.

        Returns ``heatmap``, ``method`` and ``class``.
        """
        import numpy as np

        from napari_melanoma.classification.explanation import explain
        from napari_melanoma.classification.predictor import Lesion

        model = self._load(arguments["model"])
        rgb, mask = _arrays(arguments)
        target = arguments.get("class") or model.config.positive
        lesion = Lesion(rgb, mask, arguments.get("row", {}))
        np.save(arguments["out"], explain(model, lesion, arguments["method"], target, run))
        return {"heatmap": arguments["out"], "method": arguments["method"], "class": target}

    def _known_looks(self, image: str) -> Recognised | None:
        """Which kind of photograph it is, where it was asked about before."""
        return self._looks[1] if self._looks is not None and self._looks[0] == _file(image) else None


def _options(arguments: Mapping[str, Any]) -> ClassifyOptions:
    """How it is to be answered."""
    return ClassifyOptions.parse(arguments.get("options") or {}, "the options of a question")


def _arrays(arguments: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Photograph and mask of a question."""
    mask = arguments.get("mask")
    return read_rgb_array(Path(arguments["image"])), None if mask is None else read_mask_array(Path(mask))


def _file(path: str) -> File:
    """What tells a file from another one at the same place."""
    found = Path(path).stat()
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _told(answer: Answer) -> dict[str, Any]:
    """An answer as the worker sends it."""
    return {"answer": answer.to_json()}
