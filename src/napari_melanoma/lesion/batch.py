"""Analysis of many photographs: a pipeline that writes a result folder for each of them, and one table."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.prediction import EMPTY_HEATMAP
from napari_melanoma.core.context import (
    Cancelled,
    Milestone,
    Progress,
    RunContext,
    StageLimit,
    map_ahead,
    usable_cores,
)
from napari_melanoma.core.errors import DiskFull, InputError, MelanomaError, MissingPackage
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import read_validity
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.imaging.prompts import Prompts
from napari_melanoma.io.discovery import find_photographs
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import (
    IN_MASK_WARNING,
    ModelStamp,
    derive_result,
    prediction_cells,
    prediction_text,
    save_lesion,
    several_lesions_note,
)
from napari_melanoma.lesion.batch_options import BatchOptions
from napari_melanoma.lesion.loaded_models import report_loading
from napari_melanoma.lesion.mask_record import describe_mask, find_mask_model, is_made_by_prompts
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.lesion.results import (
    ResultFolders,
    ResultSettings,
    ResultTable,
    ResultTarget,
    is_own_output,
    is_unwritable,
    provenance_record,
    read_result,
)
from napari_melanoma.lesion.segmentation import LesionLogits, Segmenter, predict_logits, prepare_picture
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.lesion.batch_classifier import BatchClassifier

STAGE_BYTES = 256 * 1024**2  # decoded photographs per stage; a larger photograph is processed alone
EXTRA_THREADS = 2  # more threads than cores, as some of them wait for the disk
NO_LESION = "no lesion found"
TABLE = "results.csv"
STATE_MODALITY = " (the type was not stated: use --modality, or a column 'modality' of --metadata)"
MAX_NAMED = 5  # photographs in a warning
# Column scale_source, by the origin of a pixel size
SCALE_SOURCES = {
    "ruler": "ruler",
    "accepted ruler": "ruler",
    "given": "stated",
    "file": "file",
    "dicom": "file",
    "phantom": "file",
}
COLUMNS = (
    "image", "file", "status", "error", "note", "warning", "damage", "valid", "validity", "looks_like", "model",
    "threshold", "height_px", "width_px", "pixel_height_um", "pixel_width_um", "scale_source", "lesions_found",
)  # fmt: skip
log = logging.getLogger(__name__)
Status = Literal["done", "skipped", "failed", "left"]  # left: to another process


@dataclass(frozen=True)
class PhotographOutcome:
    """The outcome of one photograph, with its name in the table and its file."""

    image: str
    path: Path
    status: Status
    error: str = ""
    note: str = ""
    warning: str = ""
    prediction: str = ""
    without_lesion: bool = False  # not always in the note: for an invalid result, it states only the reason
    without_scale: bool = False

    @classmethod
    def from_row(
        cls, image: str, path: Path, status: Status, row: Mapping[str, object], warning: str = ""
    ) -> PhotographOutcome:
        return cls(
            image,
            path,
            status,
            note=str(row["note"]),
            warning=warning,
            prediction=prediction_text(row),
            without_lesion=not row.get("area_px"),
            without_scale=not row.get("scale_source"),
        )


_SizedPhotograph = tuple[ResultTarget, int]  # a photograph to read, and its size in memory in bytes; 0 if unknown


@dataclass(frozen=True)
class _ReadPhotograph:
    """A decoded photograph with the network's input: uint8 (side, side, channel)."""

    target: ResultTarget
    photograph: Photograph
    network_input: NDArray[np.uint8]
    ruler: Ruler | None


@dataclass(frozen=True)
class _PredictedPhotograph:
    """A photograph with the network's output."""

    target: ResultTarget
    photograph: Photograph
    logits: LesionLogits
    ruler: Ruler | None


@dataclass(frozen=True)
class _FailedPhotograph:
    target: ResultTarget
    error: Exception


def stored_row(target: ResultTarget, stored: dict[str, Any], note: str = "") -> dict[str, object]:
    return result_row(target.folder.name, target.source.file, stored, note)


def result_row(image: str, file: str, stored: Mapping[str, Any], note: str = "") -> dict[str, object]:
    """Return the table row of a ``result.json``: ``COLUMNS``, the measurements and, if any, the prediction.

    ``note``: appended to the description of how users made the mask.
    """
    height, width = [*(stored.get("image_shape") or (None, None)), None][:2]
    scale, recognized = stored.get("pixel_size_um") or {}, stored.get("looks_like") or {}
    prediction = stored.get("prediction") or {}
    validity = read_validity(stored).with_reasons(read_validity(prediction))
    count = stored.get("lesions_found")
    lesion_note = several_lesions_note(count or 0) if stored.get("lesion_found") else validity.headline(NO_LESION)
    mask_note = ", ".join(filter(None, (describe_mask(stored), note)))
    threshold = None if is_made_by_prompts(stored) else stored.get("threshold")
    notes = (mask_note, lesion_note, *map(str, stored.get("notes") or ()))
    values = (
        image, file, "done", "", "; ".join(filter(None, notes)),
        _warning(stored), stored.get("damage"), *validity.to_columns().values(), recognized.get("kind"),
        find_mask_model(stored).get("name"), threshold, height, width, scale.get("y"), scale.get("x"),
        SCALE_SOURCES.get(str(scale.get("source")), "stated") if scale else None, count,
    )  # fmt: skip
    measurements = stored.get("measurements") or {}
    return {**dict(zip(COLUMNS, values, strict=True)), **measurements, **prediction_cells(prediction)}


def _warning(stored: Mapping[str, Any]) -> str:
    """Return the warnings of a result, of its prediction and of its heatmap in one text."""
    prediction, heatmap = stored.get("prediction") or {}, stored.get("heatmap") or {}
    first = str(stored.get("warning") or "")
    # Segmentation model and classifier may give the same warning
    others = (text for warning in prediction.get("warnings") or () if (text := str(warning)).rstrip(".") not in first)
    empty = EMPTY_HEATMAP.format(target=heatmap.get("class")) if heatmap.get("empty") else ""
    validity, of_mask = read_validity(prediction), read_validity(stored)
    # The warning of the mask already describes these in other words
    stated = IN_MASK_WARNING.intersection(of_mask.codes) if first else ()
    is_stated = bool(stored.get("modality"))
    reasons = (
        reason.statement + STATE_MODALITY * (not is_stated and reason.code in ("modality", "modality_uncertain"))
        for reason in of_mask.with_reasons(validity).reasons
        if reason.code not in stated
    )
    texts = (text.removesuffix(".") for text in (first, *reasons, *others, empty) if text)
    return "; ".join(dict.fromkeys(texts))


def failed_row(image: str, file: str, error: str) -> dict[str, object]:
    return {"image": image, "file": file, "status": "failed", "error": error}


def describe_error(error: Exception, path: Path, out: Path) -> str:
    """Describe the error of a photograph in one line, without the names of folders.

    Errors of other libraries include their type.
    """
    text = " ".join(str(error).split()).replace(str(path), path.name).replace(f"{out}{os.sep}", "")
    return text if isinstance(error, MelanomaError) else f"unexpected {type(error).__name__}: {text}"


class BatchPipeline:
    """Processes photographs in three overlapping stages: reading, prediction and writing."""

    def __init__(
        self,
        model: Segmenter,
        options: BatchOptions,
        classifier: BatchClassifier | None,
        table: ResultTable,
        run: RunContext,
    ) -> None:
        self._model = model
        self._options = options
        self._classifier = classifier
        self._table = table
        self._run = run
        self._written: dict[ResultTarget, dict[str, object] | Exception] = {}  # rows and errors, not yet yielded

    def run(self, work: Iterable[ResultTarget]) -> Iterator[PhotographOutcome]:
        """Analyze photographs; yields the outcome of each when its result is written.

        The outcomes are in the order of ``work``, except that the outcome of a photograph that cannot be read comes
        before those of its batch. If the run is canceled, the outcomes of all results that were written come first.
        """
        workers = self._options.workers or usable_cores() + EXTRA_THREADS
        max_items = 2 * max(self._options.batch_size, workers)
        to_read = StageLimit(max_items, STAGE_BYTES, itemgetter(1))
        to_write = StageLimit(max_items, STAGE_BYTES, _held_bytes)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lesion")
        try:
            sized = map_ahead(pool, _measure_size, work, StageLimit(max_items), self._run)
            read = map_ahead(pool, self._read, sized, to_read, self._run)
            for target in map_ahead(pool, self._write, self._predict(read), to_write, self._run):
                yield self._pop_outcome(target)
        except Cancelled:
            pool.shutdown(wait=True, cancel_futures=True)
            for target in list(self._written):
                yield self._pop_outcome(target)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, sized: _SizedPhotograph) -> _ReadPhotograph | _FailedPhotograph:
        """Read a photograph and prepare the network's input (in a thread)."""
        from napari_melanoma.imaging.preprocessing import prepare_network_input
        from napari_melanoma.io.photographs import read_photograph

        target, pixel_um = sized[0], self._options.pixel_size_um
        try:
            photograph = read_photograph(target.path)
            if pixel_um is not None:
                photograph = replace(photograph, pixel_size=PixelSize(pixel_um, pixel_um, "given"))
            if self._options.modality is not None:
                photograph = replace(photograph, modality=self._options.modality)
            if self._classifier is not None:
                table, image = self._classifier.patient_table, target.path.stem
                size, modality = table.pixel_size(image), table.modality(image)
                photograph = replace(
                    photograph, pixel_size=size or photograph.pixel_size, modality=modality or photograph.modality
                )
            ruler = self._find_ruler(photograph)
            if ruler is not None:
                photograph = replace(photograph, pixel_size=ruler.pixel_size)
            config = self._model.info.config
            if self._options.lesion.prompts is None:
                network_input = prepare_picture(photograph.rgb, config)
            else:
                network_input = prepare_network_input(photograph.rgb, config.input_size, config.preprocessing)
            return _ReadPhotograph(target, photograph, network_input, ruler)
        except Exception as error:  # noqa: BLE001 - reported in the row of this photograph; the batch continues
            return _FailedPhotograph(target, error)

    def _find_ruler(self, photograph: Photograph) -> Ruler | None:
        """Return the ruler in a photograph whose scale is not stated, if that is an option."""
        if self._options.scale != "ruler" or photograph.pixel_size is not None:
            return None
        from napari_melanoma.imaging.ruler import find_ruler

        return find_ruler(photograph.rgb, photograph.modality)

    def _predict(
        self, read: Iterable[_ReadPhotograph | _FailedPhotograph]
    ) -> Iterator[_PredictedPhotograph | _FailedPhotograph]:
        chunk: list[_ReadPhotograph] = []
        held_bytes = 0
        for item in read:
            if isinstance(item, _FailedPhotograph):
                yield item
                continue
            chunk.append(item)
            held_bytes += item.photograph.rgb.nbytes
            if len(chunk) >= self._options.batch_size or held_bytes >= STAGE_BYTES:
                yield from self._predict_chunk(chunk)
                chunk, held_bytes = [], 0
        if chunk:
            yield from self._predict_chunk(chunk)

    def _predict_chunk(self, chunk: list[_ReadPhotograph]) -> Iterator[_PredictedPhotograph | _FailedPhotograph]:
        """Run the network on a batch; if it fails, for example out of memory, run it on each photograph alone."""
        self._run.check()
        try:
            predictions = self._run_network(chunk)
        except Exception as error:  # noqa: BLE001 - reported in the row of a photograph; the batch continues
            if len(chunk) == 1:
                yield _FailedPhotograph(chunk[0].target, error)
            else:
                for item in chunk:
                    yield from self._predict_chunk([item])
            return
        for item, logits in zip(chunk, predictions, strict=True):
            yield _PredictedPhotograph(item.target, item.photograph, logits, item.ruler)

    def _run_network(self, chunk: list[_ReadPhotograph]) -> list[LesionLogits]:
        options = self._options.lesion
        if options.prompts is not None:
            return [self._run_with_prompts(item, options.prompts.to_prompts()) for item in chunk]
        images, inputs = [item.photograph.rgb for item in chunk], [item.network_input for item in chunk]
        return predict_logits(self._model, images, inputs, flips=options.flips)

    def _run_with_prompts(self, item: _ReadPhotograph, prompts: Prompts) -> LesionLogits:
        from napari_melanoma.lesion.prompting import require_prompts

        model, (height, width) = require_prompts(self._model), item.photograph.rgb.shape[:2]
        hypotheses = model.answer(model.encode_input(item.network_input), prompts, (height, width))
        return LesionLogits((height, width), hypotheses.logits[hypotheses.best][None])

    def _write(self, item: _PredictedPhotograph | _FailedPhotograph) -> ResultTarget:
        """Derive the result from the network's output and write it (in a thread)."""
        try:
            self._written[item.target] = item.error if isinstance(item, _FailedPhotograph) else self._save(item)
        except Exception as error:  # noqa: BLE001 - reported in the row of this photograph; the batch continues
            self._written[item.target] = error
        return item.target

    def _save(self, item: _PredictedPhotograph) -> dict[str, object]:
        stamp = ModelStamp.of(self._model, item.photograph.rgb)
        result = derive_result(item.photograph, item.logits.to_prediction(), self._options.lesion, stamp)
        if self._classifier is not None:
            result = self._classifier.classify(result, item.target.path.stem, self._run)
        record = provenance_record(item.target.source, self._options, item.ruler)
        save_lesion(replace(result, provenance={**result.provenance, **record}), item.target.folder)
        row = stored_row(item.target, read_result(item.target.folder))
        self._table.set_row(row)
        return row

    def _pop_outcome(self, target: ResultTarget) -> PhotographOutcome:
        """Create the outcome of a photograph from its row or its error; raise if all others would fail, too."""
        image, result = target.folder.name, self._written.pop(target)
        if isinstance(result, MissingPackage):
            raise result
        if not isinstance(result, Exception):
            return PhotographOutcome.from_row(image, target.path, "done", result, str(result["warning"]))
        log.debug("%s failed", target.path, exc_info=result)
        error = describe_error(result, target.path, target.folder.parent)
        self._table.set_row(failed_row(image, target.source.file, error))
        if is_unwritable(result):
            raise result
        return PhotographOutcome(image, target.path, "failed", error=error)


def _measure_size(target: ResultTarget) -> _SizedPhotograph:
    """Estimate the memory for a photograph from its file header (in a thread)."""
    from napari_melanoma.io.photographs import count_pixels

    return target, 3 * count_pixels(target.path)


def _held_bytes(item: _PredictedPhotograph | _FailedPhotograph) -> int:
    return 0 if isinstance(item, _FailedPhotograph) else item.photograph.rgb.nbytes


@dataclass(frozen=True)
class BatchSummary:
    """Counts of a finished batch, and its table."""

    done: int
    skipped: int
    failed: int
    without_lesion: int
    table: Path
    seconds: float
    with_warning: int = 0
    left: int = 0
    without_scale: int = 0


def find_inputs(names: Iterable[str | Path], left_out: list[Path] | None = None) -> list[Path]:
    """List the photographs as ``find_photographs`` does, without results of this program."""
    listed = find_photographs(names, left_out)
    paths = [path for path in listed if not is_own_output(path)]
    if not paths:
        raise InputError(
            f"expected photographs, found only masks and results of this program, such as {listed[0]}. Select "
            "photographs."
        )
    return paths


def analyze_files(
    paths: Sequence[Path],
    out: Path,
    options: BatchOptions,
    *,
    run: RunContext,
    segmenter: Segmenter | None = None,
    on_outcome: Callable[[PhotographOutcome], None] = lambda outcome: None,
) -> BatchSummary:
    """Analyze photographs into result folders and one table; existing results are reused.

    Several processes, also on several machines, may analyze photographs into one folder: each photograph is analyzed
    by the first of them that begins with it.

    ``segmenter``: a loaded model; by default, that of the options is loaded if any photograph needs it.
    ``on_outcome``: called after each photograph.
    """
    from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.models.installed_bundles import find_bundle, require_photograph_model

    started = time.monotonic()
    info = segmenter.info if segmenter else require_photograph_model(find_bundle(options.lesion.model), "segmentation")
    lesion = options.lesion.model_copy(update={"model": info.name})  # the name, even if the user gave a path
    options = options.model_copy(update={"lesion": lesion})
    if lesion.prompts is not None:
        _check_prompts(info, lesion, len(paths))
    classifier = _batch_classifier(options, paths, run)
    class_columns = classifier.columns if classifier else ()
    counts = _OutcomeCounter(len(paths), run, on_outcome)
    models = (info, *(classifier.bundles if classifier else ()))
    folders = ResultFolders(out, [TABLE], _digest_settings(options, models))
    with ExitStack() as cleanup:
        cleanup.callback(folders.close)
        table = ResultTable(out / TABLE, (*COLUMNS, *class_columns, *MEASUREMENT_COLUMNS))
        cleanup.callback(table.write)
        settings = _result_settings(options, info, classifier)
        left: list[ResultTarget] = []
        still_left: list[ResultTarget] = []
        # Those of another process are looked at again at the end: it may have been killed since.
        for photographs, others in ((paths, left), (left, still_left)):
            work = _pending(photographs, folders, settings, table, counts, others)
            for first in work:  # runs at most once: the model is loaded only if a photograph is pending
                segmenter = segmenter or _load_segmenter(info, run)
                for outcome in BatchPipeline(segmenter, options, classifier, table, run).run(chain([first], work)):
                    folders.claims.release(outcome.image)
                    counts.add(outcome)
                    table.write_periodically()
        for target in still_left:
            counts.add(PhotographOutcome(target.folder.name, target.path, "left"))
    return counts.summary(table.path, time.monotonic() - started)


def _report_missing_rows(patient_table: PatientTable, paths: Sequence[Path], run: RunContext) -> None:
    """Warn of unrecognized columns, and of photographs without a row, which may have a wrong image_id."""
    for column, problem in patient_table.unrecognized:
        run.report(Milestone(0, len(paths), f"Warning: column '{column}' of the table: {problem}."))
    missing = patient_table.missing_images(path.stem for path in paths)
    if missing:
        examples = ", ".join(missing[:MAX_NAMED]) + (" ..." if len(missing) > MAX_NAMED else "")
        message = (
            f"Warning: the table has no row for {len(missing)} of {len(paths)} photographs ({examples}). The column "
            "image_id must contain each file name without suffix."
        )
        run.report(Milestone(0, len(paths), message))
    if shared := patient_table.shared_rows(path.stem for path in paths):
        message = (
            f"Warning: the table has one row for several photographs of the same name in different folders "
            f"({format_names(shared)}). It is used for all of them. If they show different patients, rename the files."
        )
        run.report(Milestone(0, len(paths), message))


class _OutcomeCounter:
    def __init__(self, total: int, run: RunContext, on_outcome: Callable[[PhotographOutcome], None]) -> None:
        self.run = run
        self._total = total
        self._on_outcome = on_outcome
        self._by_status: Counter[str] = Counter()
        self._without_lesion = self._with_warning = self._without_scale = 0

    def add(self, outcome: PhotographOutcome) -> None:
        self._by_status[outcome.status] += 1
        self._without_lesion += outcome.without_lesion
        self._with_warning += bool(outcome.warning)
        self._without_scale += outcome.without_scale
        self._on_outcome(outcome)
        self.run.report(Progress(self._by_status.total(), self._total, outcome.image))

    def summary(self, table: Path, seconds: float) -> BatchSummary:
        by = self._by_status
        counts = (by["done"], by["skipped"], by["failed"], self._without_lesion)
        return BatchSummary(*counts, table, seconds, self._with_warning, by["left"], self._without_scale)


def _pending(
    photographs: Iterable[Path | ResultTarget],
    folders: ResultFolders,
    settings: ResultSettings | None,
    table: ResultTable,
    counts: _OutcomeCounter,
    others: list[ResultTarget],
) -> Iterator[ResultTarget]:
    """Assign a folder to each photograph; count existing results, and claim and yield photographs without one.

    Those that another process has claimed are appended to ``others``.
    """

    def is_finished(target: ResultTarget) -> bool:
        return target.corrected or bool(settings and target.is_done(settings))

    for photograph in photographs:
        counts.run.check()
        path = photograph if isinstance(photograph, Path) else photograph.path
        try:
            target = folders.assign(path) if isinstance(photograph, Path) else photograph
            claimed = target if is_finished(target) else folders.claim(target)
        except DiskFull:
            raise
        except Exception as error:  # noqa: BLE001 - any error concerns this photograph only; the batch continues
            image, message = folders.name_failed(path), describe_error(error, path, table.path.parent)
            table.set_row(failed_row(image, path.name, message))
            counts.add(PhotographOutcome(image, path, "failed", error=message))
            continue
        if claimed is None:
            others.append(target)
        elif is_finished(claimed):
            image = claimed.folder.name
            folders.claims.release(image)
            try:
                claimed.check_mask()
            except MelanomaError as error:
                message = describe_error(error, path, table.path.parent)
                table.set_row(failed_row(image, path.name, message))
                counts.add(PhotographOutcome(image, path, "failed", error=message))
                continue
            row = stored_row(claimed, claimed.stored or {}, "kept" * claimed.corrected)
            table.set_row(row)
            counts.add(PhotographOutcome.from_row(image, path, "skipped", row))
        else:
            yield replace(claimed, stored=None)


def _batch_classifier(options: BatchOptions, paths: Sequence[Path], run: RunContext) -> BatchClassifier | None:
    """Create the classifier of a batch, whose models are not loaded yet; None if classification is off."""
    if options.classify is None:
        return None
    from napari_melanoma.classification.classify import explain_unused
    from napari_melanoma.lesion.batch_classifier import BatchClassifier
    from napari_melanoma.models.installed_bundles import find_classifiers

    patient_table, bundles = PatientTable(options.form, options.metadata), find_classifiers(options.classify.model)
    _report_missing_rows(patient_table, paths, run)
    rows = (patient_table.patient_data(path.stem) for path in paths)
    columns = {column: None for bundle in bundles for column in bundle.patient_data_columns}
    if unused := explain_unused("' or '".join(bundle.name for bundle in bundles), columns, rows):
        run.report(Milestone(0, len(paths), f"Warning: {unused}"))
    return BatchClassifier(bundles, options.classify, patient_table)


def _result_settings(
    options: BatchOptions, info: BundleInfo, classifier: BatchClassifier | None
) -> ResultSettings | None:
    """Return the settings that an existing result must match to be reused; None to replace all results."""
    if options.force:
        return None
    config = info.config
    model = {"name": info.name, "fingerprint": info.fingerprint, "threshold": config.threshold}
    model["closer_views"] = [*config.closer_views] or None
    model["turned_views"] = config.turned_views
    return ResultSettings(
        options.lesion.model_dump(mode="json"),
        model,
        options.pixel_size_um,
        options.modality,
        classifier,
        options.scale,
    )


def _digest_settings(options: BatchOptions, models: Iterable[BundleInfo]) -> str:
    settings = options.model_dump_json(exclude={"batch_size", "workers", "force", "metadata"})
    table = options.metadata.read_bytes() if options.metadata else b""
    texts = (settings, *(model.fingerprint for model in models))
    return hashlib.sha256("\n".join(texts).encode() + table).hexdigest()


def _check_prompts(info: BundleInfo, options: LesionOptions, photograph_count: int) -> None:
    """Refuse prompts for several photographs, with a refinement, and for a model that does not answer them."""
    from napari_melanoma.lesion.prompting import PromptedSegmenter

    if photograph_count > 1:
        raise InputError(
            f"expected only one photograph with clicks or a box, found {photograph_count}. Name one, or leave the "
            "clicks and the box out."
        )
    if options.refinement != RefinementConfig():
        raise InputError(
            "refinement (smoothing, holes, choice of lesions) is not available with clicks or a box. Leave one of them "
            "out."
        )
    PromptedSegmenter.check_bundle(info)


def _load_segmenter(info: BundleInfo, run: RunContext) -> Segmenter:
    """Load a model; torch is imported only here."""
    with report_loading(run):
        from napari_melanoma.lesion.prompting import load_any_segmenter

        return load_any_segmenter(info)
