"""The worker process of the docks, which loads and runs the models.

It reads requests and writes events as JSON lines; arrays are passed as ``.npy`` files.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError, MalformedFile, MelanomaError
from napari_melanoma.core.packages import explain_import_error
from napari_melanoma.core.parsing import parse_json, shorten
from napari_melanoma.core.plugins import Family
from napari_melanoma.core.torch_environment import prepare_torch
from napari_melanoma.lesion.loaded_models import load_classifier, load_segmenter, report_loading
from napari_melanoma.models.graphs import convert_requested

if TYPE_CHECKING:
    from napari_melanoma.lesion.worker_requests import ClassificationRequests, PromptRequests


Handler = Callable[[dict[str, Any], RunContext], dict[str, Any]]
IDLE_MINUTES = 15.0
MAX_CHARACTERS = 16 * 1024**2  # of a request: arrays are passed as files
EXPECTED = 'Expected a JSON object on one line: {"id": 1, "verb": "segment", "arguments": {}}.'
REQUIRED_TEXTS = ("model", "image", "out", "how", "method", "folder", "slide", "weights", "fingerprint")
REQUIRED = (*REQUIRED_TEXTS, "recipe")  # for these, null counts as missing
TEXT_ARGUMENTS = (*REQUIRED_TEXTS, "mask", "spread", "strokes", "previous", "lesions", "class", "modality", "damage")
OBJECT_ARGUMENTS = ("recipe", "row", "options")
log = logging.getLogger(__name__)


def serve(handlers: Mapping[str, Handler], requests: Iterable[str], events: TextIO) -> None:
    """Process one request per line until the input ends.

    A request is ``{"id", "verb", "arguments"}``; an event is ``{"id", "kind", ...}`` with kind ``progressed``
    (``done``, ``total``, ``message``), ``succeeded`` (``result``) or ``failed`` (``type``, ``message``).
    """
    for line in requests:
        write = partial(_write_event, events, None)
        try:
            request = _parse_request(line)
            write = partial(_write_event, events, request.get("id"))
            handler, arguments = _find_handler(handlers, request.get("verb")), _parse_arguments(request)
            write(kind="succeeded", result=handler(arguments, RunContext(partial(_write_progress, write))))
            convert_requested()
        except MelanomaError as error:
            write(kind="failed", type=type(error).__name__, message=str(error))
        except Exception as error:
            log.exception("a request failed")
            write(kind="failed", type=type(error).__name__, message=_describe_error(error))


def _parse_request(line: str) -> dict[str, Any]:
    if len(line) > MAX_CHARACTERS:
        raise InputError(f"a request has more than {MAX_CHARACTERS} characters. Pass large values as files.")
    try:
        request = parse_json(line, "a request", allow_nan=True)
    except MalformedFile as error:
        raise InputError(f"cannot read a request: {error.reason}. {EXPECTED}") from error
    if not isinstance(request, dict):
        raise InputError(f"a request is a {type(request).__name__}. {EXPECTED}")
    return request


class _RequestArguments(dict[str, Any]):
    """Arguments of a request; a missing one raises an ``InputError``."""

    def __missing__(self, key: str) -> object:
        raise InputError(f"a request needs '{key}' among its arguments, found {', '.join(self) or 'none'}.")


def _parse_arguments(request: dict[str, Any]) -> dict[str, Any]:
    arguments = request.get("arguments")
    if not isinstance(arguments, dict):
        raise InputError(f"'arguments' of a request is a {type(arguments).__name__}. {EXPECTED}")
    for kind, keys in ((str, TEXT_ARGUMENTS), (dict, OBJECT_ARGUMENTS)):
        wrong = [key for key in keys if not isinstance(arguments.get(key), kind | None)]
        if wrong:
            actual, expected = type(arguments[wrong[0]]).__name__, "text" if kind is str else "an object"
            raise InputError(f"'{wrong[0]}' of a request is a {actual}, expected {expected}.")
    present = {key: value for key, value in arguments.items() if value is not None or key not in REQUIRED}
    return _RequestArguments(present)


def _write_event(events: TextIO, request_id: object, **event: object) -> None:
    events.write(json.dumps({"id": request_id, **event}) + "\n")
    events.flush()


def _write_progress(write: Callable[..., None], progress: Progress) -> None:
    write(kind="progressed", **vars(progress))


def _find_handler(handlers: Mapping[str, Handler], verb: object) -> Handler:
    if not isinstance(verb, str) or verb not in handlers:
        raise MelanomaError(f"the worker has no verb '{shorten(str(verb))}' (known: {', '.join(handlers)})")
    return handlers[verb]


def _describe_error(error: Exception) -> str:
    """Describe an unexpected error, with advice."""
    if isinstance(error, ImportError) and (missing := explain_import_error(error)):
        return str(missing)
    text = f"{type(error).__name__}: {error}"
    if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
        return f"{text}. The memory is full: close other programs or analyze a smaller photograph, then try again."
    return f"{text}. This error is unexpected; run `napari-melanoma doctor` to check the installation."


@lru_cache(maxsize=1)
def _prediction_service() -> ClassificationRequests:
    """Return the service, which caches the last lesion."""
    from napari_melanoma.lesion.worker_requests import ClassificationRequests

    return ClassificationRequests(load_classifier)


@lru_cache(maxsize=1)
def _prompt_service() -> PromptRequests:
    """Return the service, which caches the features of the last photograph."""
    from napari_melanoma.lesion.worker_requests import PromptRequests

    return PromptRequests(load_segmenter)


def prepare_segmenter(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Open a segmentation model and segment a few pixels, so that the first request takes no longer than later ones.

    ``arguments``: ``model``: a bundle's name or path. Returns ``device``: where the model runs.
    """
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, predict_lesion

    model, rgb = load_segmenter(arguments["model"]), np.zeros((8, 8, 3), np.uint8)
    predict_lesion(model, rgb, flips=False)
    ModelStamp.of(model, rgb)
    return {"device": model.device}


def prepare_classifier(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Open a classifier and classify a few pixels, so that the first request takes no longer than later ones.

    ``arguments``: ``model``: a classifier's name or path, "auto" for the default one. Returns ``device``.
    """
    import numpy as np

    from napari_melanoma.classification.classify import classify
    from napari_melanoma.classification.prediction import ClassifyOptions
    from napari_melanoma.io.photographs import Photograph

    model, mask = load_classifier(arguments["model"]), np.ones((8, 8), bool)
    classify(Photograph(np.zeros((8, 8, 3), np.uint8), ""), mask, {}, model, ClassifyOptions(), run=run)
    return {"device": model.device}


def segment(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Predict the lesion probability of each pixel of a photograph.

    ``arguments``: ``model``: a bundle's name or path; ``image``: a ``.npy`` of uint8 (row, column, channel=3); ``out``:
    output file of the probability, a ``.npy`` of float32 (row, column); ``spread``: output file of the extremes over
    the flips, a ``.npy`` of float32 (2, side, side), for test-time augmentation. Returns ``model``: the fields of
    ``lesion.analysis.ModelStamp``; ``spread`` if requested.
    """
    import numpy as np

    from napari_melanoma.io.results import read_rgb_array
    from napari_melanoma.lesion.analysis import ModelStamp, predict_lesion

    with report_loading(run):
        model = load_segmenter(arguments["model"])
    run.report(Progress(1, 2, "Finding the lesion"))
    spread: str | None = arguments.get("spread")
    rgb = read_rgb_array(Path(arguments["image"]))
    prediction = predict_lesion(model, rgb, flips=spread is not None)
    np.save(arguments["out"], prediction.probability)
    values: dict[str, Any] = {"model": vars(ModelStamp.of(model, rgb))}
    if spread is not None and prediction.spread is not None:
        np.save(spread, prediction.spread)
        values["spread"] = spread
    return values


def encode(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Prepare a photograph for prompts: load the model, and compute the features that all prompts use.

    ``arguments``: ``model`` and ``image`` as for ``prompt``. Returns ``model`` as for ``segment``.
    """
    return _prompt_service().encode(arguments, run)


def prompt(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Segment a lesion by prompts; further prompts for the same photograph take less time.

    ``arguments``: ``model``: the name or path of a model for prompts; ``image``: as for ``segment``;
    ``options``: values of ``imaging.prompts.PromptOptions``; ``strokes``: a ``.npy`` of uint8 (row, column), of the
    photograph's size; ``previous``: a ``.npy`` of bool or float32 (row, column), the mask to be corrected, of any size;
    both may be left out; ``out``: output file, a ``.npy`` of float32 (hypothesis, side, side), the logits. Returns
    ``qualities``: the predicted Jaccard index of each hypothesis; ``model``: as for ``segment``.
    """
    return _prompt_service().prompt(arguments, run)


def find_lesions(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Propose all lesions of a photograph, the most certain first.

    ``arguments``: ``model`` and ``image`` as for ``prompt``; ``out``: output file, a ``.npy`` of float32 (lesion, side,
    side), the logits. Returns ``qualities`` as for ``prompt``; ``seeds``: a pixel (row, column) in each lesion;
    ``model`` as for ``segment``.
    """
    return _prompt_service().find(arguments, run)


def rate(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Measure the uncertainty of a model for a photograph.

    ``arguments``: ``model``: a bundle's name or path; ``image``: the file of the photograph; ``how``: the measure,
    ``"entropy"`` or ``"disagreement"``. Returns the fields of ``lesion.uncertainty_ratings.Rating``.
    """
    from napari_melanoma.lesion import uncertainty_ratings

    with report_loading(run):
        model = load_segmenter(arguments["model"])
    run.report(Progress(0, None, "Rating the photograph"))
    return vars(uncertainty_ratings.rate_photograph(model, Path(arguments["image"]), arguments["how"]))


def classify(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Classify a lesion, with uncertainty and contributions.

    ``arguments``: ``model``: a classifier's name or path, "" for the default one; ``image``: a ``.npy`` of uint8 (row,
    column, channel=3); ``mask``: a ``.npy`` of bool (row, column), None for a model for whole photographs; ``row``:
    patient data by column of the harmonized table; ``modality``: of the photograph, if known; ``lesions``: a ``.npy``
    of uint8 (row, column), several lesions by number from 1; ``options``: values of
    ``classification.prediction.ClassifyOptions``. The last five may be left out. Returns ``prediction``: input of
    ``classification.prediction.Prediction.from_json``; ``lesions``: a list of the same for each lesion.
    """
    return _prediction_service().classify(arguments, run)


def reclassify(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Classify the last lesion again with other patient data.

    ``arguments``: ``model``, ``row`` and ``options`` as for ``classify``. Returns the same values.
    """
    return _prediction_service().reclassify(arguments, run)


def explain(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Compute a heatmap of the image regions that contribute to a prediction.

    ``arguments``: ``model``, ``image``, ``mask`` and ``row`` as for ``classify``; ``method``: ``"cam"``,
    ``"occlusion"``, ``"grad_cam"`` or ``"integrated_gradients"``; ``class``: the explained class, the positive one by
    default; ``out``: output file, a ``.npy`` of float32 (row, column) in [0, 1], of the photograph's size.
    Returns ``heatmap``: ``out``; ``method``; ``class``.
    """
    return _prediction_service().explain(arguments, run)


def classify_case(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Classify every lesion of a case from all of its images; the case is not changed.

    ``arguments``: ``folder``: the folder of the case; ``model``: a classifier's name or path. Returns ``predictions``:
    input of ``case.results.CasePredictions.from_json``.
    """
    from napari_melanoma.case.results import predict_case_with
    from napari_melanoma.case.store import CaseStore

    with CaseStore.open(Path(arguments["folder"])) as store:
        return {"predictions": predict_case_with(store, arguments["model"], run).to_json()}


def embed_photograph(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Compute the embedding of a photograph by a classifier, and store it with the corrections.

    ``arguments``: ``model``: a classifier's name or path; ``folder``: of the corrections; ``image``: the file of the
    photograph; ``mask``: the file of its mask, predicted if it is left out; ``row``: patient data of the classifier.
    """
    from napari_melanoma.runs.labeling import PhotographFiles, embed_photograph

    mask = arguments.get("mask")
    cells = tuple((str(name), str(value)) for name, value in (arguments.get("row") or {}).items())
    files = PhotographFiles(Path(arguments["image"]), Path(mask) if mask else None, cells)
    with report_loading(run):
        embed_photograph(arguments["model"], Path(arguments["folder"]), files)
    return {}


VERBS: tuple[Handler, ...] = (
    prepare_segmenter,
    prepare_classifier,
    segment,
    encode,
    prompt,
    find_lesions,
    classify,
    reclassify,
    explain,
    classify_case,
    rate,
    embed_photograph,
)
HANDLERS: dict[str, Handler] = {verb.__name__: verb for verb in VERBS}


def _convert(name: str, found: object) -> Handler:
    if not callable(found):
        raise TypeError(f"expected a function of arguments (a dictionary) and a RunContext, found {found!r}")
    return found


REQUESTS: Family[Handler] = Family("worker_requests", lambda: HANDLERS, _convert, lambda handler: "")


def read_lines(source: Iterable[str], idle_s: float) -> Iterator[str]:
    """Yield lines until the source ends or sends nothing for ``idle_s`` seconds."""
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in source:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=idle_s)
        except queue.Empty:
            log.info("idle for %.0f s: ending", idle_s)
            return
        if line is None:
            return
        yield line


def decode_lines(source: BinaryIO) -> Iterator[str]:
    """Yield lines as text, with invalid bytes escaped; only the beginning of a line over ``MAX_CHARACTERS``."""
    while line := source.readline(MAX_CHARACTERS + 1):
        rest = line
        while not rest.endswith(b"\n") and (rest := source.readline(MAX_CHARACTERS)):
            pass
        yield line.decode("utf-8", "backslashreplace")  # not a valid JSON escape: the request is rejected


def main(handlers: Mapping[str, Handler] | None = None, idle_minutes: float = IDLE_MINUTES) -> int:
    """Process the requests on standard input, and write events to standard output.

    What libraries print to standard output is redirected to standard error. Returns the exit status.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n") as events:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(
            REQUESTS.members if handlers is None else handlers,
            read_lines(decode_lines(sys.stdin.buffer), 60.0 * idle_minutes),
            events,
        )
    return 0


if __name__ == "__main__":
    prepare_torch()
    raise SystemExit(main())
