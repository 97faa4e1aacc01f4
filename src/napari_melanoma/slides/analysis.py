"""Analyze one slide, from tissue to lesions; resumes, and restores the previous result where it is canceled."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError, SaveError
from napari_melanoma.core.files import save_error
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.processes import PROCESS_FILE, ProcessStamp
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext
from napari_melanoma.io.results import HEATMAP, LESIONS, OUTLINES, RESULT, TISSUE, read_slide_result, write_mask
from napari_melanoma.io.slide_spec import DONE, FAILED, WAITING, SlideResultSpec, differing_settings
from napari_melanoma.io.slide_store import STORE, SlideResult, discard_result
from napari_melanoma.models.registry import DEFAULT_TILE_MODEL
from napari_melanoma.slides.lesion_files import back_up_corrected_lesions, sync_with_outlines
from napari_melanoma.slides.maps import check_encoder, model_info, predict_slide
from napari_melanoma.slides.options import SlideOptions, check_slide_validity
from napari_melanoma.slides.outputs import SlideAnalysis, target_class, write_outputs
from napari_melanoma.slides.plan import (
    AnalysisPlan,
    analysis_settings,
    build_preprocessing,
    check_slide,
    plan_slide,
    result_spec,
    stated_pixel_size,
)
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import record_slide

if TYPE_CHECKING:
    from napari_melanoma.slides.engine import TileBatch, TileReader
    from napari_melanoma.slides.reading.slide import Slide, SlideInfo
    from napari_melanoma.slides.tile_models import TileModel

__all__ = ["SlideOutcome", "analyze_slide"]

EVENT_INTERVAL_S = 0.5
NOVELTY_TILES = 64  # tiles, by which a slide is compared with the training data
PRECISION_CHECK_TILES = 8  # on which half precision is compared with float32 before anything is analyzed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideOutcome:
    """One slide that was analyzed: where its results are, and what ``result.json`` there says."""

    name: str
    folder: Path
    content: dict[str, Any]
    seconds: float
    already_done: bool = False  # whether it was analyzed already, and nothing was done


def analyze_slide(
    slide_path: Path,
    folder: Path,
    options: SlideOptions,
    run: RunContext,
    *,
    load: Callable[[], TileModel] | None = None,
    force: bool = False,
) -> SlideOutcome:
    """Analyze a slide; where the folder holds a part of the same analysis, go on with it; all of it is left alone.

    Parameters
    ----------
    slide_path : pathlib.Path
        The slide.
    folder : pathlib.Path
        Its own; receives ``result.zarr``, ``lesions.geojson``, ``lesions.csv``, ``heatmap.ome.tif``, ``tissue.png``,
        ``result.json``, and of the run ``events.jsonl`` and ``log.txt``. ``control.json`` there is heard.
    options : SlideOptions
        How.
    run : RunContext
        Told of the progress, asked between batches whether to go on.
    load : callable, optional
        Gives a loaded model; by default the one that ``options`` name is loaded.
    force : bool
        Begin again whatever is there.

    Returns
    -------
    SlideOutcome
        What was found.

    Raises
    ------
    InputError, ScaleMissing
        Where the slide cannot be read or analyzed, has no tissue, or was removed meanwhile.
    BundleError, ConfigError
        Where there is no such model or class.
    RunError
        Where the folder holds results of another slide or of other settings, or somebody works in it.
    SaveError, Cancelled
        Where the disk refuses, or the user stopped it; what is done is kept.
    """
    place, started = RunFolder(folder), time.monotonic()
    with place.locked(), place.log_to_file(), _final_event_recorded(place):
        place.repair()
        ProcessStamp.create().write(folder / PROCESS_FILE)
        if not place.is_launching:  # whoever launched it has said "run", and may have changed their mind since
            place.write_command("run")
        listening = RunFolderContext(run, place)
        with open_slide(slide_path, stated_pixel_size(options)) as slide:
            record_slide(folder, slide_path)
            work = _SlideJob(slide, place, options, listening, force)
            with _restore_previous_on_error(work):
                content, before = _load_or_compute_result(work, load, started)
        place.append_final_event("finished", tiles=content["tiles_done"], failed=content["tiles_failed"])
    return SlideOutcome(slide.info.name, folder, content, time.monotonic() - started, before)


@contextmanager
def _restore_previous_on_error(work: _SlideJob) -> Iterator[None]:
    """Bring a finished result back that an analysis was to replace, where that one is canceled or fails."""
    folder = work.run_folder.path
    try:
        yield
    except BaseException:
        with suppress(SaveError):
            if restore_previous(folder):
                work.notify("The previous result is unchanged.")
        raise
    discard_previous(folder)


@dataclass(frozen=True)
class _SlideJob:
    """One slide at work."""

    slide: Slide
    run_folder: RunFolder
    options: SlideOptions
    run: RunFolderContext
    force: bool

    def notify(self, message: str) -> None:
        """Tell something that a person should know."""
        self.run_folder.append_event("notice", message=message)
        log.info("%s", message)


def _load_or_compute_result(
    work: _SlideJob, load: Callable[[], TileModel] | None, started: float
) -> tuple[dict[str, Any], bool]:
    """Bring a slide to its answer, and say whether it was there already; tiles that failed are tried again."""
    check_slide(work.slide.info)
    model = _load_model(work, load)
    before = None if work.force else find_matching_result(work.run_folder.path, work.slide.info, model, work.options)
    analysed = None if before and not before["tiles_failed"] else _analyze_tiles_of_slide(work, model, started)
    if before and (analysed is None or _count_failed_tiles(analysed.result) == before["tiles_failed"]):
        done = before["tiles_done"] + before["tiles_failed"]
        work.run_folder.append_event(
            "started", slide=work.slide.info.name, done=done, total=before["tiles_total"], resumed=True
        )
        work.notify(f"{work.slide.info.name} was analyzed already: nothing was changed.")
        return sync_with_outlines(work.run_folder.path, before), True
    assert analysed is not None
    return write_outputs(analysed, work.run_folder.path, work.run), False


def _load_model(work: _SlideJob, load: Callable[[], TileModel] | None) -> TileModel:
    """Load the model."""
    work.run.report(Progress(0, None, f"Loading the model for {work.slide.info.name}"))
    model = load() if load else load_model(work.options)
    model.set_notice_callback(work.notify)
    if model.info.classes:
        target_class(model.info, work.options)
    work.run.check()
    return model


def _analyze_tiles_of_slide(work: _SlideJob, model: TileModel, started: float) -> SlideAnalysis:
    """Bring all tiles of a slide into its store."""
    from napari_melanoma.slides.engine import TileReader

    slide, options = work.slide, work.options
    work.run.report(Progress(0, None, f"Finding the tissue of {slide.info.name}"))
    plan = plan_slide(slide, model.info, options)
    check_encoder(model, plan.grid, options)
    kept = back_up_result(work.run_folder.path) if work.force else ""
    write_mask(work.run_folder.path / TISSUE, plan.tissue)
    tiles = TileReader(slide, plan.grid, build_preprocessing(slide, plan, options))
    result = _open_or_create_store(work, model, plan, tiles)
    worked = _run_tiles(work, model, tiles, result)
    if not (result.state == DONE).any():
        raise InputError(f"not one tile of {slide.info.path.name} could be read: the file is damaged. Copy it again.")
    warnings = (
        *slide.info.warnings,
        *plan.warnings,
        *_result_warnings(model, result, worked=worked),
    )
    warnings = (kept, *warnings) if kept else warnings
    said, unfamiliar = None, _out_of_distribution_share(model, tiles, plan)
    if model.bags is not None:
        work.run.report(Progress(0, None, f"Answering {slide.info.name} as a whole"))
        found = predict_slide(model.bags, result, options, work.run)
        said, unfamiliar = found.content, 1.0 if found.is_out_of_distribution else unfamiliar
    info = model_info(model)
    validity = check_slide_validity(slide.info, plan.grid, info, options, result, unfamiliar)
    return SlideAnalysis(slide.info, info, plan, options, result, warnings, time.monotonic() - started, said, validity)


def load_model(options: SlideOptions) -> TileModel:
    """Load the model that options name."""
    from napari_melanoma.slides.tile_models import LoadOptions, load_slide_model

    how = LoadOptions(
        options.weights,
        options.download,
        None if options.device == "auto" else options.device,
        options.batch_size,
        None if options.precision == "auto" else options.precision,
    )
    return load_slide_model(options.model or DEFAULT_TILE_MODEL, how)


def _open_or_create_store(work: _SlideJob, model: TileModel, plan: AnalysisPlan, tiles: TileReader) -> SlideResult:
    """Open the store of an analysis that was begun here, or make a new one."""
    folder, spec = work.run_folder.path, result_spec(work.slide.info, model.info, plan, work.options)
    resume_unfinished(folder, spec)
    if (folder / STORE).exists():
        result = SlideResult.open(folder, writable=True)
        result.check_same_analysis(spec)
        model.resume_with(result.spec.precision, result.spec.batch_size)
        return result
    update = {**_choose_precision(model, plan, tiles), **model.output_sizes(), "batch_size": model.batch_size}
    return SlideResult.create(folder, spec.model_copy(update=update), plan.order)


def _choose_precision(model: TileModel, plan: AnalysisPlan, tiles: TileReader) -> dict[str, Any]:
    """Choose the precision by tiles from all over the tissue; say how far half precision moved an answer, if asked."""
    if model.precision == "fp32":
        return {"precision": model.precision}
    shown, good = tiles.read(plan.sample_tiles(PRECISION_CHECK_TILES))
    away = model.choose_precision(shown[good])
    log.info("half precision moved answers by at most %.4f on %d tiles", away, int(good.sum()))
    return {"precision": model.precision, "precision_difference": away if good.any() else None}


def _count_failed_tiles(result: SlideResult) -> int:
    """How many tiles could not be read."""
    return int((result.state == FAILED).sum())


def _run_tiles(work: _SlideJob, model: TileModel, tiles: TileReader, result: SlideResult) -> bool:
    """Analyze what is left to do; say whether there was something."""
    from napari_melanoma.core.pipeline import usable_cores
    from napari_melanoma.slides.engine import EngineStages, TileRate, analyze_tiles, pending_batches

    order, state = result.order, result.state
    todo = pending_batches(order, state, result.spec.batch_size)
    left = sum(len(batch.tiles) for batch in todo)
    failed = _count_failed_tiles(result) - _count_failed_in_batches(todo, state)
    telling = _ProgressReporter(work, len(order), len(order) - left, failed, TileRate(left))
    work.run_folder.append_event(
        "started",
        slide=work.slide.info.name,
        done=len(order) - left,
        total=len(order),
        resumed=left < len(order),
        model=model.info.name,
        device=model.device,
        precision=model.precision,
        batch_size=model.batch_size,
        **collect_provenance(),
    )
    if todo:
        readers = work.options.workers or max(2, min(8, usable_cores()))
        analyze_tiles(EngineStages(tiles.read, model, result.writer(), readers), todo, work.run, telling.add)
    return bool(todo)


def _count_failed_in_batches(batches: list[TileBatch], state: np.ndarray) -> int:
    """How many tiles of batches that are done again had failed."""
    return sum(int((state[batch.tiles[:, 0], batch.tiles[:, 1]] == FAILED).sum()) for batch in batches)


class _ProgressReporter:
    """Turns counted batches into progress for whoever started the run, and into events for whoever watches it."""

    def __init__(self, work: _SlideJob, total: int, done: int, failed: int, pace: Any) -> None:  # noqa: ANN401
        self._work, self._total, self._done, self._failed, self._pace = work, total, done, failed, pace
        self._told = 0.0

    def add(self, tiles: int, failed: int) -> None:
        """Count a batch; tell of it where it is time."""
        self._done += tiles
        self._failed += failed
        self._pace.add(tiles)
        now = time.monotonic()
        if now - self._told < EVENT_INTERVAL_S and self._done < self._total:
            return
        self._told = now
        speed, eta = self._pace.tiles_per_s, self._pace.eta_s
        said = f"{self._work.slide.info.name}: {speed:.0f} tiles/s" + (f", {format_duration(eta)} left" if eta else "")
        self._work.run.report(Progress(self._done, self._total, said))
        self._work.run_folder.append_event(
            "progress",
            message=said,
            done=self._done,
            total=self._total,
            failed=self._failed,
            tiles_per_s=round(speed, 2),
            eta_s=None if eta is None else round(eta, 1),
        )


def _result_warnings(model: TileModel, result: SlideResult, *, worked: bool) -> list[str]:
    """What a reader of the answer should know of it; ``worked`` says whether the model was asked now."""
    from napari_melanoma.slides.tile_models import MIXED_PRECISION_NOTE

    failed, tiles = _count_failed_tiles(result), len(result.order)
    cautions = []
    if failed:
        cautions.append(
            f"{failed} of {tiles} tiles ({100 * failed / tiles:.1f} %) could not be read; they count for nothing."
        )
    if worked and model.precision != result.spec.precision:
        cautions.append(f"begun in {result.spec.precision}, gone on in {model.precision}: {MIXED_PRECISION_NOTE}")
    return cautions


def _out_of_distribution_share(model: TileModel, tiles: TileReader, plan: AnalysisPlan) -> float | None:
    """Share of tiles spread over the slide that look unlike those that the model learnt from; None if unknown."""
    if not model.info.bundle:
        return None
    from napari_melanoma.models.bundle import read_bundle
    from napari_melanoma.slides.tile_models import TileNoveltyDetector

    familiar = TileNoveltyDetector.from_bundle(read_bundle(Path(model.info.bundle)), model.device)
    if familiar is None:
        return None
    shown, good = tiles.read(plan.sample_tiles(NOVELTY_TILES))
    unlike = familiar.is_out_of_distribution(shown[good])
    return float(unlike.mean()) if len(unlike) else None


@contextmanager
def _final_event_recorded(place: RunFolder) -> Iterator[None]:
    """Leave a last word in the folder, however the analysis ends."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):
        place.append_final_event("cancelled")
        raise
    except Exception as error:
        log.exception("the analysis failed")
        with suppress(SaveError):  # the disk may be full to the last byte, or the folder may be gone
            place.append_final_event("failed", type=type(error).__name__, message=str(error))
        raise


POSTPROCESSING_OPTIONS = ("lesions", "score", "target", "prevalence")  # of tiles that are done


def find_matching_result(
    folder: Path, slide: SlideInfo, model: TileModel, options: SlideOptions
) -> dict[str, Any] | None:
    """Return the answer of an analysis that ended, where it is the one that is asked for now.

    Lesions at thresholds that somebody chose and saved later count as those that were asked for.

    Content of ``result.json``; None where there is something to do.
    """
    content = read_slide_result(folder)
    if not content or (content.get("target") and content.get("outlines") and not (folder / OUTLINES).is_file()):
        return None
    try:
        result = SlideResult.open(folder)
        waits = (result.state == WAITING).any()
    except InputError:
        return None
    asked = json.loads(json.dumps(analysis_settings(model.info, options)))
    other = result.spec.fingerprint != slide.fingerprint or differing_settings(result.spec.settings, asked)
    if waits or other or not _is_from_model(content, model) or not _has_postprocessing_options(content, options):
        return None
    return content


def _is_from_model(content: dict[str, Any], model: TileModel) -> bool:
    """Whether this very model answered."""
    told, info = content.get("model") or {}, model_info(model)
    return (told.get("name"), told.get("fingerprint"), told.get("answers")) == (
        info.name,
        info.fingerprint,
        info.answers,
    )


def _has_postprocessing_options(content: dict[str, Any], options: SlideOptions) -> bool:
    """Whether lesions and scores were made of the tiles as is asked for."""
    now = dict(content.get("options") or {})
    then = {**now, "lesions": content.get("lesions_asked") or now.get("lesions")}
    asked = options.model_dump(mode="json", include={*POSTPROCESSING_OPTIONS})
    return any(all(made.get(key) == value for key, value in asked.items()) for made in (now, then))


PREVIOUS, UNFINISHED = ".previous", ".unfinished"
MOVED_FILES = (RESULT, HEATMAP, TISSUE)  # the store goes first and comes back last: with it a folder counts as analyzed
COPIED_FILES = (OUTLINES, LESIONS)


def back_up_result(folder: Path) -> str:
    """Put a finished result by, so that an analysis can begin again; an unfinished one is discarded.

    Which lesions were kept under another name, in words; empty where none were.
    """
    previous = folder / PREVIOUS
    finished = (folder / STORE).is_dir() and (folder / RESULT).is_file()
    try:
        put_by = finished and not previous.exists()
        if put_by:
            previous.mkdir()
            for name in COPIED_FILES:
                if (folder / name).is_file():
                    shutil.copy2(folder / name, previous / name)
        kept = back_up_corrected_lesions(folder)  # goes by what the result says of the outlines
        if put_by:
            for name in (STORE, *MOVED_FILES):
                if (folder / name).exists():
                    (folder / name).rename(previous / name)
        (folder / RESULT).unlink(missing_ok=True)
    except OSError as error:
        raise save_error(folder, error) from error
    discard_result(folder)
    return kept


def resume_unfinished(folder: Path, spec: SlideResultSpec) -> None:
    """Go on with the part of the same analysis that a canceled replacement had done, where there is one."""
    kept = folder / UNFINISHED
    if not kept.is_dir():
        return
    if not (folder / STORE).exists():
        with suppress(MelanomaError):  # of other settings, or damaged
            SlideResult.open(kept).check_same_analysis(spec)
            (kept / STORE).rename(folder / STORE)
    shutil.rmtree(kept, ignore_errors=True)


def restore_previous(folder: Path) -> bool:
    """Bring the finished result back; what the replacement has done so far is kept for when it goes on."""
    previous, unfinished = folder / PREVIOUS, folder / UNFINISHED
    if not previous.is_dir():
        return False
    try:
        if (previous / STORE).is_dir() and (folder / STORE).exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            (folder / STORE).rename(unfinished / STORE)
        for name in (*COPIED_FILES, *MOVED_FILES):
            if (previous / name).exists():
                (previous / name).replace(folder / name)
        if (previous / STORE).is_dir():
            (previous / STORE).rename(folder / STORE)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise save_error(folder, error) from error
    return True


def discard_previous(folder: Path) -> None:
    """Remove the result that was put by: another one has taken its place."""
    for name in (PREVIOUS, UNFINISHED):
        shutil.rmtree(folder / name, ignore_errors=True)
