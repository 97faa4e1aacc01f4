"""The worker process: what it computes for the docks, and its loop.

Each function is called by the viewer through ``ui.worker_client``, with its ``RunContext`` last. What further requests
for the same photograph need is kept in the process.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_melanoma.core.context import KeptArray, Progress, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.packages import explain_import_error, prepare_torch
from napari_melanoma.lesion.loaded_models import load_classifier, load_segmenter, report_loading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.case.results import CasePredictions
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.classification.classify import EncodedLesion
    from napari_melanoma.classification.prediction import ClassPrediction, Method
    from napari_melanoma.imaging.modality import ModalityEstimate
    from napari_melanoma.imaging.prompts import Point, Prompts
    from napari_melanoma.io.formats import Modality
    from napari_melanoma.lesion.analysis import ModelStamp
    from napari_melanoma.lesion.prompting import PromptedSegmenter, Prompter
    from napari_melanoma.lesion.segmentation import LesionPrediction
    from napari_melanoma.lesion.uncertainty_ratings import Rating, UncertaintyMeasure
    from napari_melanoma.runs.labeling import PhotographFiles

Request = tuple[str, str, tuple[Any, ...]]  # module and name of a function, and its arguments before the RunContext
START = b"napari-melanoma worker\n"  # the line that ends what libraries printed before the first event
IDLE_MINUTES = 15.0
MAX_ENCODED = 64  # lesions of a photograph, including earlier ones, which undo restores
_kept: dict[KeptArray, KeptArray] = {}  # the last one, also for those without values
# Of the last photograph by its digest, because a key with the KeptArray would keep its pixels:
_prompters: dict[tuple[PromptedSegmenter, str], tuple[Prompter, ModelStamp]] = {}
_recognized: dict[str, ModalityEstimate] = {}
log = logging.getLogger(__name__)


def prepare_segmenter(model: str, run: RunContext) -> None:
    """Open a segmentation model and segment a few pixels, so that the first request takes no longer than later ones."""
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, predict_lesion

    segmenter, rgb = load_segmenter(model), np.zeros((8, 8, 3), np.uint8)
    predict_lesion(segmenter, rgb, flips=False)
    ModelStamp.of(segmenter, rgb)


def prepare_classifier(model: str, run: RunContext) -> None:
    """Open a classifier and classify a few pixels, so that the first request takes no longer than later ones."""
    import numpy as np

    from napari_melanoma.classification.classify import classify
    from napari_melanoma.classification.prediction import ClassifyOptions
    from napari_melanoma.io.photographs import Photograph

    classifier, photograph = load_classifier(model), Photograph(np.zeros((8, 8, 3), np.uint8), "")
    classify(photograph, np.ones((8, 8), bool), {}, classifier, ClassifyOptions(), run=run)


def segment(model: str, photograph: KeptArray, flips: bool, run: RunContext) -> tuple[LesionPrediction, ModelStamp]:
    """Predict the lesion probability of each pixel, with its spread if with test-time augmentation (``flips``)."""
    from napari_melanoma.lesion.analysis import ModelStamp, predict_lesion

    with report_loading(run):
        segmenter = load_segmenter(model)
    run.report(Progress(1, 2, "Finding the lesion"))
    prediction = predict_lesion(segmenter, photograph.values, flips=flips)
    return prediction, ModelStamp.of(segmenter, photograph.values)


def encode(model: str, photograph: KeptArray, run: RunContext) -> None:
    """Compute the features of a photograph that all prompts use."""
    _load_prompter(model, photograph, run)[0].encode()


def prompt(
    model: str, photograph: KeptArray, prompts: Prompts, run: RunContext
) -> tuple[NDArray[np.float32], NDArray[np.float32], ModelStamp]:
    """Return the hypotheses for the mask that prompts mean: ``logits`` and ``qualities`` of ``PromptedMasks``."""
    prompter, stamp = _load_prompter(model, photograph, run)
    masks = prompter.segment(prompts)
    return masks.logits, masks.qualities, stamp


def find_lesions(
    model: str, photograph: KeptArray, run: RunContext
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[Point], ModelStamp]:
    """Propose all lesions of a photograph, the most certain first: logits, qualities, and a pixel in each lesion."""
    import numpy as np

    prompter, stamp = _load_prompter(model, photograph, run)
    found, side = prompter.find_all(), prompter.model.info.config.input_size
    logits = np.array([lesion.logits for lesion in found], np.float32).reshape(-1, side, side)
    return logits, np.array([lesion.quality for lesion in found], np.float32), [one.seed for one in found], stamp


def _load_prompter(model: str, photograph: KeptArray, run: RunContext) -> tuple[Prompter, ModelStamp]:
    from napari_melanoma.lesion.analysis import ModelStamp
    from napari_melanoma.lesion.prompting import Prompter, require_prompts

    with report_loading(run):
        segmenter = require_prompts(load_segmenter(model))
    key = segmenter, photograph.digest
    if key not in _prompters:
        _prompters.clear()
        _prompters[key] = Prompter(segmenter, photograph.values), ModelStamp.of(segmenter, photograph.values)
    return _prompters[key]


def classify(
    model: str,
    photograph: KeptArray,
    about: tuple[Modality | None, str | None],
    masks: tuple[NDArray[np.bool_] | None, NDArray[np.uint8] | None],
    row: Mapping[str, str],
    run: RunContext,
) -> list[ClassPrediction]:
    """Classify the lesion in a mask and, if there are several lesions, each of them.

    Only lesions whose pixels have changed since the last request are encoded.

    ``about``: modality and damage of the photograph, if known. ``masks``: the mask, bool (row, column), None for a
    model for whole photographs; and its lesions by number from 1, uint8 (row, column), None for a single one. ``row``:
    patient data by column of the harmonized table.
    """
    from napari_melanoma.classification.classify import classify_encoded, encode_lesion
    from napari_melanoma.classification.prediction import ClassifyOptions
    from napari_melanoma.imaging.masks import mask_key
    from napari_melanoma.io.photographs import Photograph

    with report_loading(run):
        classifier = load_classifier(model)
    run.report(Progress(1, 2, "Measuring image features"))
    modality, damage = about
    pixels = Photograph(photograph.values, "", modality=modality, damage=damage)
    encoded, predictions = _encoded_lesions(classifier, photograph.digest, about), []
    for mask in (masks[0], *_split_lesions(*masks, classifier)):
        key = None if mask is None else mask_key(mask)
        lesion = encoded.pop(key, None) or encode_lesion(pixels, mask, classifier, _recognize(photograph))
        encoded[key] = lesion
        if len(encoded) > MAX_ENCODED:
            del encoded[next(iter(encoded))]
        predictions.append(classify_encoded(lesion, row, classifier, ClassifyOptions()))
    return predictions


@lru_cache(maxsize=1)
def _encoded_lesions(
    model: Classifier, digest: str, about: tuple[Modality | None, str | None]
) -> dict[object, EncodedLesion]:
    """Return the cache of a photograph's encoded lesions, by ``mask_key``, the last used one last."""
    return {}


def _recognize(photograph: KeptArray) -> ModalityEstimate:
    from napari_melanoma.imaging.modality import recognize_modality

    if photograph.digest not in _recognized:
        _recognized.clear()
        _recognized[photograph.digest] = recognize_modality(photograph.values)
    return _recognized[photograph.digest]


def _split_lesions(
    mask: NDArray[np.bool_] | None, labels: NDArray[np.uint8] | None, model: Classifier
) -> list[NDArray[np.bool_]]:
    """Return the masks of several lesions; none for a single lesion, and for a model for whole photographs."""
    if labels is None or model.config.view.region == "photograph":
        return []
    if mask is None or labels.shape != mask.shape:
        raise InputError(f"expected lesions of the mask's size, found {labels.shape}. Analyze the photograph again.")
    return [labels == number for number in range(1, int(labels.max(initial=0)) + 1)]


def explain(
    model: str,
    photograph: KeptArray,
    mask: NDArray[np.bool_] | None,
    row: Mapping[str, str],
    method: Method,
    target: str,
    run: RunContext,
) -> NDArray[np.float32]:
    """Return a heatmap of the image regions that contribute to a class, float32 (row, column) in [0, 1]."""
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.explanation import explain

    lesion = LesionInput(photograph.values, mask, row)
    return explain(load_classifier(model), lesion, method, target, run)


def classify_case(folder: Path, model: str, run: RunContext) -> CasePredictions:
    """Classify every lesion of a case from all of its images; the case is not changed."""
    from napari_melanoma.case.results import predict_case_with
    from napari_melanoma.case.store import CaseStore

    with CaseStore.open(folder) as store:
        return predict_case_with(store, model, run)


def rate(model: str, image: Path, measure: UncertaintyMeasure, run: RunContext) -> Rating:
    """Measure the uncertainty of a segmentation model for a photograph."""
    from napari_melanoma.lesion.uncertainty_ratings import rate_photograph

    with report_loading(run):
        segmenter = load_segmenter(model)
    run.report(Progress(0, None, "Rating the photograph"))
    return rate_photograph(segmenter, image, measure)


def embed_photograph(model: str, folder: Path, files: PhotographFiles, run: RunContext) -> None:
    """Compute the embedding of a photograph by a classifier, and store it with the corrections in a folder."""
    from napari_melanoma.runs import labeling

    with report_loading(run):
        labeling.embed_photograph(model, folder, files)


def _answer(request: Request, send: Callable[[str, object], None]) -> None:
    """Run the function of a request; send its progress, then its result or the error."""
    from napari_melanoma.models.graphs import convert_requested

    module, name, arguments = request
    try:
        for sent in [one for one in arguments if isinstance(one, KeptArray) and one.values is not None]:
            _kept.clear()
            _kept[sent] = sent
        arguments = tuple(_kept[one] if isinstance(one, KeptArray) else one for one in arguments)
        function = getattr(import_module(module), name)
        send("succeeded", function(*arguments, RunContext(partial(send, "progressed"))))
    except MelanomaError as error:
        send("failed", _make_portable(error))
    except Exception as error:
        log.exception("a request failed")
        send("failed", MelanomaError(_describe_error(error)))
    else:
        try:
            convert_requested()
        except Exception:  # the request was answered
            log.exception("cannot start the conversion of a model")


def _make_portable(error: MelanomaError) -> MelanomaError:
    """Return an error that can be pickled, of its own type if possible."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return MelanomaError(str(error))


def _describe_error(error: Exception) -> str:
    """Describe an unexpected error, with advice."""
    if isinstance(error, ImportError) and (missing := explain_import_error(error)):
        return str(missing)
    text = f"{type(error).__name__}: {error}"
    if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
        return f"{text}. The memory is full: close other programs or analyze a smaller photograph, then try again."
    return f"{text}. This error is unexpected; run `napari-melanoma doctor` to check the installation."


def _read_requests(source: BinaryIO, idle_s: float) -> Iterator[tuple[int, Request]]:
    """Yield requests with their numbers until none has come for a time.

    When the viewer ends, the process ends, also during a request.
    """
    waiting: queue.Queue[tuple[int, Request]] = queue.Queue()

    def read() -> None:
        try:
            while True:
                waiting.put(pickle.load(source))
        except EOFError:
            os._exit(0)
        except Exception:
            log.exception("cannot read a request")
            os._exit(1)

    threading.Thread(target=read, name="requests", daemon=True).start()
    with suppress(queue.Empty):
        while True:
            yield waiting.get(timeout=idle_s)


def main(idle_minutes: float = IDLE_MINUTES) -> None:
    """Answer the requests on standard input by events on standard output, both as pickles.

    An event begins with the number of its request, so that the client recognizes an answer to another one. What
    libraries print to standard output is redirected to standard error; the line ``START`` follows what they printed
    before.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as events:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        events.write(b"\n" + START)
        events.flush()

        def send(number: int, kind: str, value: object) -> None:
            pickle.dump((number, kind, value), events, pickle.HIGHEST_PROTOCOL)
            events.flush()

        for number, request in _read_requests(sys.stdin.buffer, 60.0 * idle_minutes):
            _answer(request, partial(send, number))
    sys.stderr.flush()
    os._exit(0)  # a normal end aborts, because a thread still reads the input


if __name__ == "__main__":
    prepare_torch()
    import_module("napari_melanoma.worker").main()
