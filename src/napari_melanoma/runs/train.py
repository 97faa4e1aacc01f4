"""Train a model: from a recipe to a run folder with a bundle and its evaluation."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.classification.comparators import fit_comparators_if_metastasis
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import BundleError, RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.core.files import remove_folder
from napari_melanoma.core.packages import require_training_packages
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import (
    PROCESS_FILE,
    RunFolder,
    RunFolderContext,
    RunPartContext,
    SecondaryRunContext,
)
from napari_melanoma.core.run_queue import wait_for_turn
from napari_melanoma.data.dataset import require_outside_datasets
from napari_melanoma.evaluation.painted_comparison import find_held_back
from napari_melanoma.evaluation.training_overlap import start_overlap_warning
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.graphs import add_graphs
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.torch_inference import is_out_of_memory
from napari_melanoma.runs.bundling import create_bundle_config, predict_masks
from napari_melanoma.runs.resolved_settings import (
    RESOLVED_FILE,
    ResolvedSettings,
    check_step,
    read_resolved,
    resolve_settings,
    wait_for_resolved,
    write_resolved,
)
from napari_melanoma.runs.slide_datasets import compute_embeddings
from napari_melanoma.runs.starting_weights import (
    ParentModel,
    check_parent,
    check_start,
    create_network,
    find_start_encoding,
    find_start_weights,
)
from napari_melanoma.runs.task_setups import (
    BagSetup,
    ClassificationSetup,
    MulticlassSetup,
    SegmentationSetup,
    TaskSetup,
)
from napari_melanoma.runs.trackers import choose_trackers, track_run
from napari_melanoma.training.batch_size import smallest_batch_size
from napari_melanoma.training.data_changes import describe_data_changes, write_table_digests
from napari_melanoma.training.data_checks import monitors_test
from napari_melanoma.training.data_preparation import PreparedData, TrainingDataReport, check_data, prepare_data
from napari_melanoma.training.data_selection import list_datasets, select_labeled, select_samples
from napari_melanoma.training.engine import (
    TrainingSetup,
    accelerator,
    choose_precision,
    device_name,
    find_checkpoint,
    fit,
    interpolate_weights,
    is_first_process,
    next_accumulation,
    process_count,
    restore_checkpoint,
    save_initial_weights,
)
from napari_melanoma.training.loader import divide_step, training_loader, validation_loader
from napari_melanoma.training.monitor import (
    SHARED_MEMORY_FULL,
    describe_few_validation,
    explain_error,
    is_peer_lost,
    monitor_from_values,
)
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.whole_slides import check_bags, prepare_bags

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.training.tasks.task import Task

SETUPS: dict[str, TaskSetup] = {"segmentation": SegmentationSetup(), "classification": ClassificationSetup()}
MULTICLASS, BAGS = MulticlassSetup(), BagSetup()
EVENT_INTERVAL_S = 1.0  # between progress events
PEER_TIMEOUT_S = 3.0  # to wait for the error of the process that failed first
SLIDE_ALONE_TITLE = "Slide alone, for comparison"
BASELINES_NOTE = (
    "The model is trained. A network of the slide alone is trained now, to measure what each part adds on the test set."
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """An active run.

    ``network``: with starting weights; None if its shape depends on the prepared data. ``resume``: continue a run that
    was interrupted. ``evaluate``: evaluate the model on the test set. ``epochs``: number of epochs that were finished
    before. ``graphs``: write the graphs for ONNX Runtime.
    """

    recipe: TrainRecipe
    folder: RunFolder
    network: nn.Module | None
    resume: bool
    evaluate: bool
    epochs: int
    graphs: bool


def train(
    recipe: TrainRecipe,
    out: Path,
    *,
    resume: bool,
    run: RunContext,
    queue: bool = False,
    evaluate: bool = True,
    check_place: bool = True,
    graphs: bool = False,
) -> BundleInfo | None:
    """Train the model of a recipe in a run folder.

    ``resume``: continue the run in the folder. ``queue``: wait until other runs in the queue have ended. ``evaluate``:
    evaluate the model on the test set, or compare it with its starting model. ``check_place``: refuse a folder in a
    data set. ``graphs``: write the graphs for ONNX Runtime, which takes some seconds; for models that will be used.

    Returns the model in ``out/bundle``; None in a helper process of a distributed run.
    """
    require_training_packages()
    choose_trackers(recipe)
    folder = RunFolder(out)
    if not is_first_process(recipe):
        _help_run(recipe, folder, run)
        return None
    _check_folder(recipe, folder, resume)
    is_launched = folder.events.exists()  # by napari, which reads the events in the folder
    controlled = RunFolderContext(run, folder)
    with log_outcome(folder) if is_launched and not resume else nullcontext():
        if not resume:  # before anything is written, so that a failed start leaves no folder behind
            if check_place:
                require_outside_datasets(out, list_datasets(recipe))
            phase = PhaseContext(controlled, folder) if is_launched else run
            phase.report(Progress(0, None, "Reading the data"))
            check_recipe(recipe, phase, keep=True)
        notices: list[str] = []
        weights = not (resume and find_checkpoint(folder))
        shape_is_known = recipe.task == "segmentation"  # the classes of a classifier depend on the prepared data
        network = create_network(recipe, weights=weights, notify=notices.append) if shape_is_known else None
    with folder.locked():
        _check_folder(recipe, folder, resume)  # another process may have run here meanwhile
        with folder.log_to_file(), log_outcome(folder):
            epochs = _prepare_folder(recipe, folder, resume)
            for message in notices:
                folder.append_event("notice", message=message)
            with wait_for_turn(out, run=run) if queue else nullcontext(), track_run(recipe, folder):
                return _run_training(TrainingRun(recipe, folder, network, resume, evaluate, epochs, graphs), controlled)


def _find_setup(recipe: TrainRecipe) -> TaskSetup:
    if recipe.bags is not None:
        return BAGS
    return MULTICLASS if recipe.classes else SETUPS[recipe.task]


def _check_folder(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> None:
    """Raise an error if the folder contains another run, or none to resume."""
    path = folder.path
    if not resume:
        # Without its recipe, an earlier run would be continued, or lend its settings to the new one.
        if any(file.exists() for file in (folder.config, folder.data, path / RESOLVED_FILE, folder.checkpoints)):
            raise RunError(
                f"{path} already contains a run. Name a new folder, or resume it (Python: resume=True, command line: "
                "--resume)."
            )
    elif not folder.config.exists():
        raise RunError(
            f"{path} contains no run to resume: it has no config.toml. Start one without resume=True (command line: "
            "--resume)."
        )
    elif read_toml(folder.config, TrainRecipe) != recipe:
        raise RunError(
            f"{path} was started with another recipe. Resume it with its own recipe, {folder.config} (command "
            "line: --config)."
        )


def _prepare_folder(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> int:
    """Prepare the folder: repair it after a kill, write recipe and process stamp, drop the metrics of a repeated epoch.

    Returns the number of finished epochs.
    """
    folder.repair()
    if not resume:
        write_toml(folder.config, recipe)
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    if not folder.is_launching:  # the launching process has written "run", and the user may have canceled since
        folder.write_command("run")
    epochs = restore_checkpoint(folder)
    folder.drop_metrics_from(epochs)
    return epochs


def _run_training(work: TrainingRun, run: RunFolderContext) -> BundleInfo:
    """Prepare the data, train, determine threshold or calibration, write the bundle, and evaluate it."""
    recipe, folder, phase = work.recipe, work.folder, PhaseContext(run, work.folder)
    if work.resume and folder.data.exists():
        for change in describe_data_changes(folder, recipe):
            folder.append_event("notice", message=change)
    else:
        write_table_digests(folder, recipe)
    prepared = _prepare(recipe, folder, resume=work.resume, run=phase)
    _check_classes(recipe, prepared)
    folder.append_event("progress", message="Loading the network")
    setup = _find_setup(recipe)
    resolved = _resolve_settings(work, prepared, phase)
    network = _create_start_network(work, resolved)
    config = create_bundle_config(recipe, prepared, resolved)
    if resolved.continued_model and recipe.wise_ft_weight < 1 and not folder.last_checkpoint.exists():
        save_initial_weights(network, folder.start_weights)
    task = setup.create_task(resolved.apply(recipe), network, config, prepared)
    run.check()
    _log_start(work, prepared, resolved)
    options = replace(
        _create_fit_options(recipe, folder, prepared, resolved),
        samples=setup.create_sample_writer(recipe, folder, prepared),
    )
    try:
        fit(task, options, run)
    except Exception as error:
        _reduce_batch_on_resume(error, options)
        raise
    if resolved.continued_model and recipe.wise_ft_weight < 1:
        _interpolate_weights(work, task, resolved.continued_model)
    finished = setup.finish(task, recipe, prepared, config, phase).with_image_list(folder)
    phase.check()
    for outdated in filter(Path.exists, (folder.comparison, folder.evaluation)):
        folder.append_event("notice", message=f"removed the {outdated.name} of an earlier model of this run")
        remove_folder(outdated)
    bundle = finished.write(folder.bundle, task.network)
    if work.graphs and (reason := add_graphs(bundle, phase)):
        folder.append_event("notice", message=f"predictions need torch: {reason}")
    if notice := fit_comparators_if_metastasis(recipe, folder, bundle, phase):
        folder.append_event("notice", message=notice)
    if work.evaluate:
        _evaluate_model(work, prepared, phase)
    folder.append_final_event("finished", **_final_metrics(bundle), bundle=folder.bundle.name)
    return bundle


def _prepare(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> PreparedData:
    """Read, check and decode the data."""
    if recipe.bags is not None:
        if not (resume and folder.data.exists()):
            compute_embeddings(recipe, run)
        return prepare_bags(recipe, folder, resume=resume, run=run)
    encoding = None if resume and folder.data.exists() else find_start_encoding(recipe)
    return prepare_data(recipe, folder, resume=resume, run=run, encoding=encoding)


def _check_classes(recipe: TrainRecipe, prepared: PreparedData) -> None:
    """Raise an error if the starting classifier has other classes than the data.

    A starting model that is missing is ignored: a resumed run needs only its checkpoint.
    """
    if prepared.classes is None or not recipe.model.starts_from_bundle:
        return
    with suppress(BundleError):
        start = find_bundle(recipe.model.start)
        if recipe.continues_from(start.config) and start.config.classes != prepared.classes.names:
            raise RunError(
                f"'{start.name}' has the classes {', '.join(start.config.classes)}, the data "
                f"{', '.join(prepared.classes.names)}. Set classification.classes to those of the model, or "
                "model.start_weights "
                "to 'encoder' for a new head with the classes of the data."
            )


def _resolve_settings(work: TrainingRun, prepared: PreparedData, run: RunContext) -> ResolvedSettings:
    """Read the settings that the recipe left open, or determine and store them."""
    recipe, folder = work.recipe, work.folder
    if (stored := read_resolved(folder)) is not None:
        return stored
    resolved = resolve_settings(recipe, prepared, run)
    if recipe.batch_size == "auto" and recipe.bags is None:
        message = f"batch_size: {resolved.batch_size} images per step fit into the free memory."
        folder.append_event("notice", message=message)
    write_resolved(folder, resolved)
    return resolved


def _create_start_network(work: TrainingRun, resolved: ResolvedSettings) -> nn.Module:
    """Return the network with its starting weights; create it if it depends on the data."""
    folder, weights = work.folder, not work.folder.last_checkpoint.exists()
    if weights:
        check_parent(work.recipe, resolved.parent)
    if work.network is not None:
        return work.network
    return create_network(
        work.recipe,
        resolved.network_options,
        weights=weights,
        notify=lambda message: folder.append_event("notice", message=message),
    )


def _final_metrics(bundle: BundleInfo) -> dict[str, Any]:
    """Return the validation metric and the threshold of a finished run."""
    config = bundle.config
    monitor = monitor_from_values(config.provenance)
    threshold = {} if config.decision_threshold is None else {"threshold": config.decision_threshold}
    return {**threshold, monitor.name: config.provenance[monitor.name]}


def _interpolate_weights(work: TrainingRun, task: Task, parent: ParentModel) -> None:
    """Interpolate the trained weights with the starting weights (WiSE-FT), if these are still available."""
    start = find_start_weights(work.recipe, work.folder, parent)
    if start is None:
        message = (
            f"the starting weights of '{parent.name}' are missing: the new weights are not interpolated with them, and "
            "the model may perform worse on the earlier data."
        )
        work.folder.append_event("notice", message=message)
    else:
        interpolate_weights(task.network, start, work.recipe.wise_ft_weight)


def _create_fit_options(
    recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData, resolved: ResolvedSettings
) -> TrainingSetup:
    recipe, size = resolved.apply(recipe), resolved.batch_size
    step = divide_step(recipe.data, size, len(prepared.train), len(prepared.replay or ())).total
    return TrainingSetup(
        recipe,
        folder,
        loaders=lambda rank: (
            training_loader(prepared, recipe, size, rank),
            validation_loader(prepared, recipe, max(1, step // (rank.world_size * rank.accumulate_batches)), rank),
        ),
        step=step,
        accumulate_batches=resolved.accumulate_batches,
        few_validation=describe_few_validation(
            len(prepared.samples.validation),
            len({sample.group for sample in prepared.samples.validation}),
            "test image" if monitors_test(prepared.samples, recipe) else "validation image",
        ),
        save_accumulation=lambda accumulate_batches: write_resolved(
            folder, resolved.model_copy(update={"accumulate_batches": accumulate_batches})
        ),
    )


def _log_start(work: TrainingRun, prepared: PreparedData, resolved: ResolvedSettings) -> None:
    recipe, folder, parts = work.recipe, work.folder, prepared.samples
    folder.append_event(
        "started",
        train=len(parts.training),
        validation=len(parts.validation),
        test=len(parts.test),
        replay=len(prepared.replay_samples),
        resumed=work.resume,
        epoch=work.epochs,
        epochs=recipe.epochs,
        device=device_name(recipe),
        devices=process_count(recipe),
        precision=choose_precision(resolved.apply(recipe)),
        batch_size=resolved.batch_size,
        accumulate_batches=resolved.accumulate_batches,
        **collect_provenance(),
    )
    if recipe.precision == "auto" and choose_precision(resolved.apply(recipe)) == "32-true":
        is_unsupported = choose_precision(recipe) == "32-true"
        reason = "this processor does not support it" if is_unsupported else "float32 is as fast for this network"
        folder.append_event("detail", message=f"precision bf16 is not used: {reason}.")


def _evaluate_model(work: TrainingRun, prepared: PreparedData, run: RunContext) -> None:
    """Compare the new model with its starting model, or evaluate it alone; a failure does not affect the model."""
    folder = work.folder
    is_painted = find_held_back(work.recipe) is not None  # compared on the cells that its data set lists
    if not (prepared.samples.test or prepared.replay_samples or is_painted):
        folder.append_event("notice", message="there is no test set, so the new model was not evaluated.")
        return
    from napari_melanoma.runs.acceptance import (
        compare_run,
        evaluate_alone,
        has_no_start,
        needs_baselines,
        train_baselines,
    )

    is_fold = work.recipe.data.fold is not None
    is_alone = is_fold or has_no_start(work.recipe, folder)
    activity = "evaluation" if is_alone else "comparison with the old model"
    try:
        if needs_baselines(work.recipe):
            folder.append_event("notice", message=BASELINES_NOTE)
            train_baselines(work.recipe, folder, train, run=RunPartContext(run, 0, 1, SLIDE_ALONE_TITLE))
        if is_alone:
            folder.append_event("notice", message=evaluate_alone(folder.path, run=run))
        else:
            compare_run(folder.path, run=run)
    except Cancelled:
        folder.append_event("notice", message=f"the {activity} was canceled; the new model is kept.")
    except Exception as error:  # reported as a notice; the training itself succeeded
        log.warning("the %s failed", activity, exc_info=error)
        outcome = "evaluated" if is_alone else "compared with the old one"
        folder.append_event("notice", message=f"the new model could not be {outcome}: {error}")


def _help_run(recipe: TrainRecipe, folder: RunFolder, run: RunContext) -> None:
    """Train as a helper process: compute a share of each step of a run that another process owns."""
    helper = SecondaryRunContext(run, folder)
    with log_helper_outcome(folder):
        resolved = wait_for_resolved(folder, helper)
        prepared = _prepare(recipe, folder, resume=True, run=helper)
        network = create_network(recipe, resolved.network_options, weights=not folder.last_checkpoint.exists())
        config = create_bundle_config(recipe, prepared, resolved)
        task = _find_setup(recipe).create_task(resolved.apply(recipe), network, config, prepared)
        fit_options = _create_fit_options(recipe, folder, prepared, resolved)
        try:
            fit(task, fit_options, helper)
        except Exception as error:
            _reduce_batch_on_resume(error, fit_options)
            raise


def _reduce_batch_on_resume(error: Exception, options: TrainingSetup) -> None:
    """If memory ran out on one of several devices, store more micro-batches for a resumed run, and explain it."""
    processes = process_count(options.recipe)
    if is_out_of_memory(error) and processes > 1:
        accumulate_batches = next_accumulation(options.step, processes, options.accumulate_batches)
        if accumulate_batches is not None:
            options.save_accumulation(accumulate_batches)
            raise TrainingError(SHARED_MEMORY_FULL.format(accumulate_batches=accumulate_batches)) from error


class PhaseContext(RunFolderContext):
    """A context that also writes progress events, at most one per second and at the end of each phase."""

    def __init__(self, run: RunFolderContext, folder: RunFolder) -> None:
        super().__init__(run, folder)
        self._last_event_time = -EVENT_INTERVAL_S
        self.report = self._report_progress

    def _report_progress(self, progress: Progress) -> None:
        self._outer.report(progress)
        now = time.monotonic()
        if progress.done == progress.total or now - self._last_event_time >= EVENT_INTERVAL_S:
            self._last_event_time = now
            self._folder.append_event("progress", message=progress.message, done=progress.done, total=progress.total)


@contextmanager
def log_outcome(folder: RunFolder) -> Iterator[None]:
    """Write a final event to the run folder if the run fails or is canceled, and explain errors of torch."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):  # Lightning turns a second Ctrl+C into an exit
        if _last_event_kind(folder) != "cancelled":  # written already if it was canceled in the queue
            folder.append_final_event("cancelled")
        raise
    except Exception as error:
        log.exception("the run failed")
        cause: Exception = (_wait_for_peer_error(folder) if is_peer_lost(error) else None) or explain_error(error)
        with suppress(SaveError):  # the disk may be full, or the folder may be missing
            folder.append_final_event("failed", type=_event_type(cause), message=str(cause))
        if cause is error:
            raise
        raise cause from error


def _event_type(error: Exception) -> str:
    return str(getattr(error, "event_type", type(error).__name__))


@contextmanager
def log_helper_outcome(folder: RunFolder) -> Iterator[None]:
    """Write an event for an error of a helper process; if another process ended the run, end without an error.

    Lightning kills all processes when one of those that it started has ended with an error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Cancelled | TrainingDiverged) or is_peer_lost(error):
            log.info("ended together with another process, which logs the reason")
            return
        cause = explain_error(error)
        folder.append_event("failed", type=_event_type(cause), message=str(cause))
        raise


def _last_event_kind(folder: RunFolder) -> object:
    return next((event["kind"] for event in reversed(folder.read_events())), None)


def _wait_for_peer_error(folder: RunFolder) -> TrainingError | None:
    """Wait briefly for the event of the process that failed first; None if there is none."""
    end = time.monotonic() + PEER_TIMEOUT_S
    while time.monotonic() < end:
        if _last_event_kind(folder) == "failed":
            return TrainingError(str(folder.read_events()[-1].get("message")))
        time.sleep(0.1)
    return None


def check_recipe(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> TrainingDataReport:
    """Check starting weights, devices and every image of a recipe without training.

    ``keep``: write decoded pixels to the store, for a run that follows.
    """
    check_start(recipe)
    _check_devices(recipe)
    predict_masks(recipe, run)
    report = check_data(recipe, run, keep=keep) if recipe.bags is None else check_bags(recipe, run)
    size = smallest_batch_size(recipe) if recipe.batch_size == "auto" else recipe.batch_size
    check_step(recipe, size, report.counts["train"], report.counts["replay"])
    return report


def describe_start_overlap(recipe: TrainRecipe, run: RunContext) -> str:
    """Return a warning about test images that the starting model was trained on; empty if there are none."""
    if recipe.bags is not None:
        return ""
    return start_overlap_warning(recipe, select_labeled(select_samples(recipe), recipe)[0], run)


def _check_devices(recipe: TrainRecipe) -> None:
    import torch

    otherwise = recipe.devices if recipe.devices != "auto" else 1
    available = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator(recipe), otherwise)
    if process_count(recipe) > 1 and sys.platform == "win32":
        raise RunError("several devices in one run are not supported on Windows. Set devices = 1.")
    if recipe.devices != "auto" and recipe.devices > available:
        raise RunError(f'devices = {recipe.devices}, but {available} are available. Lower it, or set devices = "auto".')
