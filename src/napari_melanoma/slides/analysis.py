"""Analyze slides, from the tissue to the lesions.

Partial results are resumed. An analysis that is canceled or fails leaves the previous result in place.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_melanoma.core.context import BATCH_ERRORS, Cancelled, Progress, RunContext, usable_cores
from napari_melanoma.core.errors import ConfigError, FolderInUse, InputError, ResultsMismatch, SaveError, describe_error
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.geometry import format_scale
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder, RunFolderContext
from napari_melanoma.io.results import TISSUE, read_slide_result, write_mask
from napari_melanoma.io.slide_store import (
    DONE,
    FAILED,
    STORE,
    WAITING,
    SlideResult,
    SlideResultSpec,
    differing_settings,
)
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.slides.engine import EngineStages, TileRate, TileReader, analyze_tiles, pending_batches
from napari_melanoma.slides.lesion_files import (
    EARLIER_SAVE,
    SavedLesions,
    read_analysis,
    read_saved_lesions,
    rewrite_lesions_table,
)
from napari_melanoma.slides.marked_tumor import check_one_slide, check_surface_model
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.options import SlideOptions, check_slide_validity, hashed_tile_settings
from napari_melanoma.slides.outputs import SlideAnalysis, target_class, write_outputs
from napari_melanoma.slides.patient_data import read_patient_data
from napari_melanoma.slides.plan import (
    AnalysisPlan,
    analysis_settings,
    build_preprocessing,
    check_slide,
    plan_slide,
    result_spec,
    stated_pixel_size,
)
from napari_melanoma.slides.reading.composite import read_as_rgb
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide, SlideInfo
from napari_melanoma.slides.result_folder import (
    SlideFolderNames,
    back_up_result,
    discard_previous,
    record_slide,
    restore_previous,
    resume_unfinished,
)
from napari_melanoma.slides.results import MODEL_SETTINGS
from napari_melanoma.slides.slide_prediction import check_encoder, model_info, predict_slide
from napari_melanoma.slides.slide_table import TABLE, SlideStatus, SlideTable
from napari_melanoma.slides.tile_models import MIXED_PRECISION_NOTE, ModelIdentity, TileModel, TileNoveltyDetector

EVENT_INTERVAL_S = 0.5
NOVELTY_TILES = 64  # tiles that are compared with the training data of the model
NOVELTY_BLOCKS = 16  # the same for tissue classifiers, whose tiles are larger
PRECISION_CHECK_TILES = 8  # for comparing half precision with float32 before the analysis
log = logging.getLogger(__name__)
POSTPROCESSING_OPTIONS = ("lesions", "score", "target", "prevalence")  # applied to finished tiles


@dataclass(frozen=True)
class SlideOutcome:
    """An analyzed slide: folder of its results, and the content of ``result.json``."""

    name: str
    folder: Path
    content: dict[str, Any]
    seconds: float
    already_done: bool = False  # a matching result existed, and nothing was computed


@dataclass(frozen=True)
class _SlideJob:
    """The analysis of one slide; ``force``: start over, even if results exist."""

    slide: Slide
    run_folder: RunFolder
    options: SlideOptions
    run: RunFolderContext
    force: bool

    def notify(self, message: str) -> None:
        """Record a message for the user."""
        self.run_folder.append_event("notice", message=message)
        log.info("%s", message)


def analyze_slide(
    slide_path: Path,
    folder: Path,
    options: SlideOptions,
    run: RunContext,
    *,
    load: Callable[[], TileModel] | None = None,
    force: bool = False,
) -> SlideOutcome:
    """Analyze a slide; resume a partial result of the same analysis, and keep a complete one unless ``force``.

    ``folder`` receives ``result.zarr``, ``lesions.geojson``, ``lesions.csv``, ``heatmap.ome.tif``, ``tissue.png``,
    ``result.json``, and ``events.jsonl`` and ``log.txt`` of the run. The commands pause and cancel are read from
    ``control.json``. ``load`` returns the model to use; by default the model named in ``options`` is loaded. If files
    cannot be written or the user cancels, finished tiles are kept.
    """
    run_folder, started = RunFolder(folder), time.monotonic()
    with run_folder.locked(), run_folder.log_to_file(), _record_abnormal_end(run_folder):
        run_folder.repair()
        ProcessStamp.create().write(folder / PROCESS_FILE)
        if not run_folder.is_launching:  # the launcher has written "run", and the user may have canceled since
            run_folder.write_command("run")
        monitored_run, options = RunFolderContext(run, run_folder), _with_set_scale(options, folder)
        with open_slide(slide_path, stated_pixel_size(options)) as slide:
            if not force:
                _check_recorded_slide(folder, slide.info)
            record_slide(folder, slide_path)
            job = _SlideJob(slide, run_folder, options, monitored_run, force)
            with _restore_previous_on_error(job):
                content, already_done = _load_or_compute_result(job, load, started)
        run_folder.append_final_event("finished", tiles=content["tiles_done"], failed=content["tiles_failed"])
    return SlideOutcome(slide.info.name, folder, content, time.monotonic() - started, already_done)


def _with_set_scale(options: SlideOptions, folder: Path) -> SlideOptions:
    """Return options with the scale that a user has set for the slide of a folder, unless they state one."""
    size = None if options.mpp is not None else read_notes(folder).pixel_size
    if size is None:
        return options
    return options.model_copy(update={"mpp": size.x_um, "mpp_y": None if size.y_um == size.x_um else size.y_um})


def _check_recorded_slide(folder: Path, slide: SlideInfo) -> None:
    """Raise ``ResultsMismatch`` if a folder has results of another slide, whose record must not be replaced."""
    try:
        result = SlideResult.open(folder)
    except InputError:  # none, or damaged
        return
    result.check_same_slide(slide.name, slide.fingerprint)


@contextmanager
def _restore_previous_on_error(job: _SlideJob) -> Iterator[None]:
    """Restore the previous result if the analysis that was to replace it is canceled or fails."""
    folder = job.run_folder.path
    try:
        yield
    except BaseException:
        with suppress(SaveError):
            if restore_previous(folder):
                job.notify("The previous result is unchanged.")
        raise
    discard_previous(folder)


def _load_or_compute_result(
    job: _SlideJob, load: Callable[[], TileModel] | None, started: float
) -> tuple[dict[str, Any], bool]:
    """Return the content of ``result.json``, and whether it is that of an existing result.

    An existing result with failed tiles is replaced if one of them can be read now.
    """
    model = _load_model(job, load)
    job = replace(job, slide=_read_as_rgb(job, model))
    check_slide(job.slide.info)
    path, info, identity = job.run_folder.path, job.slide.info, model.identity
    existing = None if job.force else find_matching_result(path, info.path, info.fingerprint, identity, job.options)
    analysis = None if existing and not existing["tiles_failed"] else _analyze_tiles_of_slide(job, model, started)
    if existing and (analysis is None or _count_failed_tiles(analysis.result) == existing["tiles_failed"]):
        done = existing["tiles_done"] + existing["tiles_failed"]
        job.run_folder.append_event(
            "started", slide=job.slide.info.name, done=done, total=existing["tiles_total"], resumed=True
        )
        job.notify(f"{job.slide.info.name} has been analyzed already. Nothing was changed.")
        rewrite_lesions_table(job.run_folder.path)
        return read_analysis(job.run_folder.path), True
    assert analysis is not None
    return write_outputs(analysis, job.run_folder.path, job.run), False


def _read_as_rgb(job: _SlideJob, model: TileModel) -> Slide:
    """Return the slide with the colors that a model expects: for fluorescence, the channels that it was fitted on."""
    if model.info.channels is not None and job.options.normalizes_stain:
        raise ConfigError(
            f"'{model.info.name}' reads channels of fluorescence, which have no stain to normalize. Set the stain "
            "method to none."
        )
    return read_as_rgb(job.slide, model.info.channels, f"'{model.info.name}'")


def _load_model(job: _SlideJob, load: Callable[[], TileModel] | None) -> TileModel:
    job.run.report(Progress(0, None, f"Loading the model for {job.slide.info.name}"))
    model = load() if load else load_model(job.options)
    model.set_notice_callback(job.notify)
    if model.info.classes:
        target_class(model.info, job.options)
    if job.options.tumor_outlines is not None:
        check_surface_model(model.info.name, model.info.classes, model.info.role_names)
    job.run.check()
    return model


def _analyze_tiles_of_slide(job: _SlideJob, model: TileModel, started: float) -> SlideAnalysis:
    slide, options = job.slide, job.options
    job.run.report(Progress(0, None, f"Finding the tissue of {slide.info.name}"))
    plan = plan_slide(slide, model.info, options)
    check_encoder(model, plan.grid, options)
    if job.force:
        back_up_result(job.run_folder.path)
    write_mask(job.run_folder.path / TISSUE, plan.tissue)
    tiles = TileReader(slide, plan.grid, build_preprocessing(slide, plan, options))
    result = _open_or_create_store(job, model, plan, tiles)
    computed = _run_tiles(job, model, tiles, result)
    if not (result.state == DONE).any():
        raise InputError(f"no tile of {slide.info.path.name} could be read: the file is damaged. Copy it again.")
    warnings = (
        *slide.info.warnings,
        *plan.warnings,
        *_result_warnings(model, result, computed=computed),
    )
    slide_prediction, out_of_distribution = None, _out_of_distribution_share(model, tiles, plan)
    if model.bags is not None:
        job.run.report(Progress(0, None, f"Predicting {slide.info.name} as a whole"))
        patient = read_patient_data(slide.info.path, job.run_folder.path, model.bags.encoding, options)
        if unknown := patient.describe_unknown(model.bags.info.name):
            warnings = (*warnings, unknown)
        prediction = predict_slide(model.bags, result, patient, options, job.run)
        slide_prediction = prediction.content
        out_of_distribution = 1.0 if prediction.is_out_of_distribution else out_of_distribution
    info = model_info(model)
    validity = check_slide_validity(slide.info, plan.grid, info, options, result, out_of_distribution)
    seconds = time.monotonic() - started
    return SlideAnalysis(slide.info, info, plan, options, result, warnings, seconds, slide_prediction, validity)


def load_model(options: SlideOptions) -> TileModel:
    """Load the model named in the options."""
    from napari_melanoma.slides.model_loading import LoadOptions, load_slide_model

    load_options = LoadOptions(
        options.weights,
        options.download,
        None if options.device == "auto" else options.device,
        options.batch_size,
        None if options.precision == "auto" else options.precision,
    )
    return load_slide_model(options.model or DEFAULT_TILE_MODEL, load_options)


def _open_or_create_store(job: _SlideJob, model: TileModel, plan: AnalysisPlan, tiles: TileReader) -> SlideResult:
    """Open the store of a partial result, or create a new one."""
    folder, spec = job.run_folder.path, result_spec(job.slide.info, model.info, plan, job.options)
    resume_unfinished(folder, spec)
    if (folder / STORE).exists():
        result = SlideResult.open(folder, writable=True)
        _check_scale_since(result, spec)
        result.check_same_analysis(spec)
        if result.spec.boxes is None:
            result.add_boxes(plan.grid.boxes)
        model.resume_with(result.spec.precision, result.spec.batch_size)
        return result
    update = {**_choose_precision(model, plan, tiles), **model.output_sizes(), "batch_size": model.batch_size}
    return SlideResult.create(folder, spec.model_copy(update=update), plan.order)


def _check_scale_since(result: SlideResult, spec: SlideResultSpec) -> None:
    """Raise ``ResultsMismatch`` if results are only of another scale, as a user has set that of the slide since."""
    folder, size = result.path.parent, read_notes(result.path.parent).pixel_size
    is_set = size is not None and spec.pixel_size_um == (size.y_um, size.x_um)
    changed = set(differing_settings(result.spec.settings, spec.settings))
    if is_set and changed and changed <= {"mpp", "mpp_y"}:
        before, now = (format_scale(*one.pixel_size_um) if one.pixel_size_um else "none" for one in (result.spec, spec))
        raise ResultsMismatch(
            f"the scale of {spec.slide} was set to {now} µm per pixel in the Slide dock since it was analyzed at "
            f"{before}. The results in {folder} are kept, but are of the earlier scale. To use the new one, analyze "
            "this slide alone from the start (Python: force=True, command line: --force); else restore the earlier "
            "one in the dock."
        )


def _choose_precision(model: TileModel, plan: AnalysisPlan, tiles: TileReader) -> dict[str, Any]:
    """Choose the precision from tiles across the tissue; record how much half precision changed predictions."""
    if model.precision == "fp32":
        return {"backend": model.backend, "precision": model.precision}
    pixels, readable = tiles.read(plan.sample_tiles(PRECISION_CHECK_TILES))
    difference = model.choose_precision(pixels[readable])
    log.info("half precision changed predictions by at most %.4f on %d tiles", difference, int(readable.sum()))
    return {
        "backend": model.backend,
        "precision": model.precision,
        "precision_difference": difference if readable.any() else None,
    }


def _count_failed_tiles(result: SlideResult) -> int:
    return int((result.state == FAILED).sum())


def _run_tiles(job: _SlideJob, model: TileModel, tiles: TileReader, result: SlideResult) -> bool:
    """Predict the remaining tiles; return whether there were any."""
    order, state = result.order, result.state
    todo = pending_batches(order, state, result.spec.batch_size)
    left = sum(len(batch.tiles) for batch in todo)
    again = sum(int((state[batch.tiles[:, 0], batch.tiles[:, 1]] == FAILED).sum()) for batch in todo)
    failed = _count_failed_tiles(result) - again
    reporter = _ProgressReporter(job, len(order), len(order) - left, failed, TileRate(left))
    job.run_folder.append_event(
        "started",
        slide=job.slide.info.name,
        done=len(order) - left,
        total=len(order),
        resumed=left < len(order),
        model=model.info.name,
        device=model.device,
        backend=model.backend,
        precision=model.precision,
        batch_size=model.batch_size,
        **collect_provenance(),
    )
    if todo:
        readers = job.options.workers or max(2, min(8, usable_cores()))
        analyze_tiles(EngineStages(tiles.read, model, result.writer(), readers), todo, job.run, reporter.add)
    return bool(todo)


class _ProgressReporter:
    """Reports finished batches as progress of the run, and as events in the run folder."""

    def __init__(self, job: _SlideJob, total: int, done: int, failed: int, rate: TileRate) -> None:
        self._job, self._total, self._done, self._failed, self._rate = job, total, done, failed, rate
        self._last_report = 0.0

    def add(self, tiles: int, failed: int) -> None:
        """Count a batch; report at most every ``EVENT_INTERVAL_S``."""
        self._done += tiles
        self._failed += failed
        self._rate.add(tiles)
        now = time.monotonic()
        if now - self._last_report < EVENT_INTERVAL_S and self._done < self._total:
            return
        self._last_report = now
        speed, eta = self._rate.tiles_per_s, self._rate.eta_s
        message = f"{self._job.slide.info.name}: {speed:.0f} tiles/s" + (
            f", {format_duration(eta)} left" if eta else ""
        )
        self._job.run.report(Progress(self._done, self._total, message))
        self._job.run_folder.append_event(
            "progress",
            message=message,
            done=self._done,
            total=self._total,
            failed=self._failed,
            tiles_per_s=round(speed, 2),
            eta_s=None if eta is None else round(eta, 1),
        )


def _result_warnings(model: TileModel, result: SlideResult, *, computed: bool) -> list[str]:
    """List warnings about the result; ``computed``: whether tiles were predicted in this run."""
    failed, tiles = _count_failed_tiles(result), len(result.order)
    warnings = []
    if failed:
        warnings.append(f"{failed} of {tiles} tiles ({100 * failed / tiles:.1f} %) could not be read and are left out.")
    if computed and model.precision != result.spec.precision:
        warnings.append(f"started in {result.spec.precision}, resumed in {model.precision}: {MIXED_PRECISION_NOTE}")
    return warnings


def _out_of_distribution_share(model: TileModel, tiles: TileReader, plan: AnalysisPlan) -> float | None:
    """Return the share of sampled tiles that are out of distribution; None if the model cannot detect them."""
    if model.novelty is not None:
        pixels, readable = tiles.read(plan.sample_tiles(NOVELTY_BLOCKS))
        return model.novelty(pixels[readable])
    if not model.info.bundle:
        return None
    from napari_melanoma.models.bundle import read_bundle

    detector = TileNoveltyDetector.from_bundle(read_bundle(Path(model.info.bundle)), model.device)
    if detector is None:
        return None
    pixels, readable = tiles.read(plan.sample_tiles(NOVELTY_TILES))
    outside = detector.is_out_of_distribution(pixels[readable])
    return float(outside.mean()) if len(outside) else None


@contextmanager
def _record_abnormal_end(run_folder: RunFolder) -> Iterator[None]:
    """Record ``cancelled`` or ``failed`` as the last event if the analysis does not finish."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):
        run_folder.append_final_event("cancelled")
        raise
    except Exception as error:
        log.exception("the analysis failed")
        with suppress(SaveError):  # the disk may be full, or the folder may be missing
            run_folder.append_final_event("failed", type=type(error).__name__, message=str(error))
        raise


def find_matching_result(
    folder: Path, slide: Path, fingerprint: str, model: ModelIdentity | None, options: SlideOptions
) -> dict[str, Any] | None:
    """Return the content of ``result.json`` if the result is complete and has the requested settings; else None.

    ``fingerprint``: of the slide. ``model``: None if only its name in the options is known, which is compared.

    If the user has saved lesions at other thresholds since the analysis, the result matches both the original and the
    saved thresholds.
    """
    content, options = read_slide_result(folder), _with_set_scale(options, folder)
    try:
        saved = read_saved_lesions(folder)
        if not content or (saved is None and content.get("outlines")) or (saved is not None and saved.is_outdated):
            return None
    except InputError:  # which is stated as a warning
        saved = None
    try:
        result = SlideResult.open(folder)
        incomplete = (result.state == WAITING).any()
    except InputError:
        return None
    stored, settings = content.get("model") or {}, result.spec.settings
    predicted_by = tuple(stored.get(key) for key in ("name", "fingerprint", "predictions"))
    if model is None:
        settings = {key: value for key, value in settings.items() if key not in MODEL_SETTINGS}
        requested, is_same_model = hashed_tile_settings(options), predicted_by[0] == options.model
    else:
        requested, is_same_model = analysis_settings(model, options), predicted_by == model.result
    different = differing_settings(settings, json.loads(json.dumps(requested)))
    if incomplete or different or not is_same_model or result.spec.fingerprint != fingerprint:
        return None
    encoding = None if model is None or model.whole is None else model.whole.config.tabular
    if encoding is not None and encoding.fields:
        patient = read_patient_data(slide, folder, encoding, options)
        if content.get("patient_data") != patient.to_json():
            return None
    return content if _has_postprocessing_options(content, saved, options) else None


def _has_postprocessing_options(content: dict[str, Any], saved: SavedLesions | None, options: SlideOptions) -> bool:
    """Whether scores were computed with the requested options, and lesions, at first or when they were saved later."""
    original = dict(content.get("options") or {})
    thresholds = [original.get("lesions"), content.get(EARLIER_SAVE)]
    thresholds += [] if saved is None else [saved.config.model_dump(mode="json")]
    requested = options.model_dump(mode="json", include={*POSTPROCESSING_OPTIONS})
    lesions = requested.pop("lesions")
    return lesions in thresholds and all(original.get(key) == value for key, value in requested.items())


@dataclass(frozen=True)
class SlidesSummary:
    """Numbers of analyzed and failed slides, path of the table, and duration in seconds.

    ``kept``: how many of the failed slides keep another result and its row in the table, which has no error.
    """

    done: int
    failed: int
    kept: int
    table: Path
    seconds: float


def analyze_slides(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    *,
    run: RunContext,
    force: bool = False,
    on_status: Callable[[SlideStatus], None] = lambda status: None,
) -> SlidesSummary:
    """Analyze slides one after the other with one model; finished results are kept.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Slides, as listed by ``find_slides``.
    out : pathlib.Path
        Receives ``slides.csv`` and a folder for each slide.
    options : SlideOptions
        Options of the analysis.
    run : RunContext
        Receives progress; checked for cancellation.
    force : bool
        Start over, even if results exist.
    on_status : callable, optional
        Receives the status of each slide.

    Returns
    -------
    SlidesSummary
        Counts of analyzed and failed slides, and the table.

    Raises
    ------
    BundleError, ConfigError
        The model or class does not exist, so no slide can be analyzed.
    SaveError, Cancelled
        The disk is full, the table cannot be written, or the user canceled; finished results are kept. If only the
        folder of one slide cannot be written, that slide is recorded as failed.
    """
    check_one_slide(paths, options.tumor_outlines)
    started, table = time.monotonic(), SlideTable(out / TABLE)
    models, counts, folders = SharedTileModel(options), {"done": 0, "failed": 0, "kept": 0}, SlideFolderNames(out)
    left: list[SlideStatus] = []
    targets = ((path, folders.folder_for(path)) for path in paths)
    # Those of another process are looked at again at the end: it has finished them since, or was killed.
    for slides, is_last in (targets, False), (((status.path, status.folder) for status in left), True):
        for path, folder in slides:
            run.check()
            status = _analyze_one(path, folder, models, run, force=force)
            if status.in_use and not is_last:
                left.append(status)
                continue
            counts[status.status] += 1
            counts["kept"] += status.keep_row
            table.put(status)
            on_status(status)
    return SlidesSummary(**counts, table=table.path, seconds=time.monotonic() - started)


class SharedTileModel:
    """The model shared by all slides, loaded for the first slide that needs it.

    Parameters
    ----------
    options : SlideOptions
        Options that name the model.
    """

    def __init__(self, options: SlideOptions) -> None:
        self.options = options
        self._model: TileModel | None = None

    def get_reset(self) -> TileModel:
        """Return the model, reset to the requested batch size and precision, which a previous slide may have changed.

        Returns
        -------
        TileModel
            The model, ready for prediction.

        Raises
        ------
        BundleError
            The model does not exist, or its weights are missing or damaged.
        """
        if self._model is None:
            self._model = load_model(self.options)
        self._model.reset(self.options.batch_size)
        return self._model


def _analyze_one(path: Path, folder: Path, models: SharedTileModel, run: RunContext, *, force: bool) -> SlideStatus:
    """Analyze one slide; an error that does not affect other slides is returned in the status."""
    try:
        record_slide(folder, path)
        outcome = analyze_slide(path, folder, models.options, run, load=models.get_reset, force=force)
    except BATCH_ERRORS:
        raise
    except Exception as error:
        log.debug("%s failed", path, exc_info=True)
        return SlideStatus(
            path,
            folder,
            "failed",
            error=describe_error(error),
            keep_row=isinstance(error, ResultsMismatch),
            in_use=isinstance(error, FolderInUse),
        )
    return SlideStatus(path, folder, "done", outcome.content, already_done=outcome.already_done)
