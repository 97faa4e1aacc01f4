"""Train a model: from a recipe to a run folder whose last part is a judged bundle."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import BundleError, RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.core.processes import PROCESS_FILE, ProcessStamp, wait_for_turn
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext, SecondaryRunContext
from napari_melanoma.evaluation.overlap import start_overlap_warning
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import is_out_of_memory
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.risk.comparators import fit_comparators_if_metastasis
from napari_melanoma.runs.bundling import create_bundle_config, predict_masks
from napari_melanoma.runs.start import (
    ParentModel,
    ResolvedSettings,
    check_start,
    create_network,
    find_parent,
    find_start_encoding,
    find_start_weights,
    read_resolved,
    wait_for_resolved,
    write_resolved,
)
from napari_melanoma.runs.task_setups import (
    BagSetup,
    ClassificationSetup,
    MulticlassSetup,
    SegmentationSetup,
    TaskSetup,
)
from napari_melanoma.training.bags import check_bags, prepare_bags
from napari_melanoma.training.batch_size import find_batch_size, find_precision, smallest_batch_size
from napari_melanoma.training.data_selection import select_labeled, select_samples
from napari_melanoma.training.engine import (
    TrainingSetup,
    accelerator,
    choose_precision,
    device_name,
    fit,
    interpolate_weights,
    process_count,
    save_initial_weights,
)
from napari_melanoma.training.loader import divide_step, training_loader, validation_loader
from napari_melanoma.training.monitor import SHARED_MEMORY_FULL, explain_error, is_peer_lost, monitor_from_values
from napari_melanoma.training.prepare import PreparedData, TrainingDataReport, check_data, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.seeds import is_first_process, next_piece_count

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.training.tasks.task import Task

SETUPS: dict[str, TaskSetup] = {"segmentation": SegmentationSetup(), "classification": ClassificationSetup()}
MULTICLASS, BAGS = MulticlassSetup(), BagSetup()
SLIDES_PER_STEP = 4  # of a step, where the recipe leaves it open
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """A run at work: recipe, folder, whether it goes on, and whether it is judged.

    ``network`` is as it starts; None where its shape is known only once the data are prepared.
    """

    recipe: TrainRecipe
    folder: RunFolder
    network: nn.Module | None
    resume: bool
    evaluate: bool


def train(
    recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, queue: bool = False, evaluate: bool = True
) -> BundleInfo | None:
    """Run a recipe.

    Returns the model of the best epoch, in ``out/bundle``; None in a process that helps another one with the run.
    """
    folder = RunFolder(out)
    if not is_first_process(recipe):
        _help_run(recipe, folder, run)
        return None
    _check_folder(recipe, folder, resume)
    launched = folder.events.exists()  # by a dock, which follows the folder and waits for a word
    listening = RunFolderContext(run, folder)
    with log_outcome(folder) if launched and not resume else nullcontext():
        if not resume:  # before anything is written: a start that fails leaves no folder in its own way
            phase = PhaseContext(listening, folder) if launched else run
            phase.report(Progress(0, None, "Looking at the data"))
            check_recipe(recipe, phase, keep=True)
        said: list[str] = []
        weights = not (resume and folder.last_checkpoint.exists())
        known = recipe.task == "segmentation"  # what a classifier tells apart is known once its data are prepared
        network = create_network(recipe, weights=weights, notify=said.append) if known else None
    with folder.locked():
        _check_folder(recipe, folder, resume)  # another process may have begun and ended a run here meanwhile
        with folder.log_to_file(), log_outcome(folder):
            _prepare_folder(recipe, folder, resume)
            for message in said:
                folder.append_event("notice", message=message)
            with wait_for_turn(out, run=run) if queue else nullcontext():
                return _run_training(TrainingRun(recipe, folder, network, resume, evaluate), listening)


def _find_setup(recipe: TrainRecipe) -> TaskSetup:
    """What is done for the task of a recipe."""
    if recipe.bags is not None:
        return BAGS
    return MULTICLASS if recipe.classes else SETUPS[recipe.task]


def _check_folder(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> None:
    """Refuse a folder that holds another run, or none to resume."""
    path = folder.path
    if not resume:
        if folder.config.exists():
            raise RunError(f"{path} holds a run already. Name a new folder, or resume it with --resume.")
    elif not folder.config.exists():
        raise RunError(f"{path} holds no run to resume: it has no config.toml. Start one without --resume.")
    elif read_toml(folder.config, TrainRecipe) != recipe:
        raise RunError(f"{path} was started with another recipe. Resume it with its own: --config {folder.config}.")


def _prepare_folder(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> None:
    """Make the folder ready: mend what a kill left behind, say who works here, forget an epoch to be repeated."""
    folder.repair()
    if not resume:
        write_toml(folder.config, recipe)
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    if not folder.is_launching:  # whoever launched it has said "run", and may have changed their mind since
        folder.write_command("run")
    folder.drop_metrics_from(_count_epochs(folder))


def _run_training(work: TrainingRun, run: RunFolderContext) -> BundleInfo:
    """Prepare, train, choose what training leaves open, write the bundle, judge it."""
    recipe, folder, phase = work.recipe, work.folder, PhaseContext(run, work.folder)
    prepared = _prepare(recipe, folder, resume=work.resume, run=phase)
    _check_classes(recipe, prepared)
    kind = _find_setup(recipe)
    network = _create_start_network(work, kind, prepared)
    settled = read_resolved(folder) or _resolve_settings(work, network, prepared, phase)
    config = create_bundle_config(recipe, prepared, settled.parent)
    if settled.continued_model and recipe.blend < 1 and not folder.last_checkpoint.exists():
        save_initial_weights(network, folder.start_weights)
    task = kind.create_task(recipe, network, config, prepared)
    run.check()
    _log_start(work, prepared, settled)
    fitting = replace(
        _create_fit_options(recipe, folder, prepared, settled),
        samples=kind.create_sample_writer(recipe, folder, prepared),
    )
    try:
        fit(task, fitting, run)
    except Exception as error:
        _reduce_batch_on_resume(error, fitting)
        raise
    if settled.continued_model and recipe.blend < 1:
        _interpolate_weights(work, task, settled.continued_model)
    finished = kind.finish(task, recipe, prepared, config, phase).with_image_list(folder)
    phase.check()
    bundle = finished.write(folder.bundle, task.network)
    if said := fit_comparators_if_metastasis(recipe, folder, bundle, phase):
        folder.append_event("notice", message=said)
    if work.evaluate:
        _evaluate_model(work, prepared, settled, phase)
    folder.append_final_event("finished", **_final_metrics(bundle), bundle=folder.bundle.name)
    return bundle


def _prepare(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> PreparedData:
    """Read and check what is learnt from; pictures are decoded."""
    if recipe.bags is not None:
        return prepare_bags(recipe, folder, resume=resume, run=run)
    known = None if resume and folder.data.exists() else find_start_encoding(recipe)
    return prepare_data(recipe, folder, resume=resume, run=run, encoding=known)


def _check_classes(recipe: TrainRecipe, prepared: PreparedData) -> None:
    """Refuse to go on from a classifier of other classes; where it has gone meanwhile, its checkpoint is there."""
    if prepared.classes is None or not recipe.model.starts_from_bundle:
        return
    with suppress(BundleError):
        start = find_bundle(recipe.model.start)
        if recipe.continues_from(start.config) and start.config.classes != prepared.classes.names:
            raise RunError(
                f"'{start.name}' tells {', '.join(start.config.classes)} apart, the data "
                f"{', '.join(prepared.classes.names)}. Set classification.classes to those of the model, or model.take "
                "to 'encoder': then it gets a new head, for the classes of the data."
            )


def _create_start_network(work: TrainingRun, kind: TaskSetup, prepared: PreparedData) -> nn.Module:
    """Give the network as it starts; build the one that the data ask for where it could not be known before."""
    if work.network is not None:
        return work.network
    folder, options = work.folder, kind.network_options(work.recipe, prepared)
    weights = not folder.last_checkpoint.exists()
    return create_network(
        work.recipe, options, weights=weights, notify=lambda message: folder.append_event("notice", message=message)
    )


def _final_metrics(bundle: BundleInfo) -> dict[str, Any]:
    """What a run says of its model at the end: how it did on the tuning images, and where its answers are cut."""
    config = bundle.config
    monitor = monitor_from_values(config.provenance)
    cut = {} if config.task == "segmentation" and not config.segments_one_class else {"threshold": config.threshold}
    return {**cut, monitor.name: config.provenance[monitor.name]}


def _interpolate_weights(work: TrainingRun, task: Task, parent: ParentModel) -> None:
    """Move what was learnt towards the start; hours of learning are not thrown away where the start is lost."""
    start = find_start_weights(work.recipe, work.folder, parent)
    if start is None:
        message = (
            f"the weights of '{parent.name}' that the run started from are gone: the model is what was learnt, not "
            "blended with them, and may have forgotten more of what it knew."
        )
        work.folder.append_event("notice", message=message)
    else:
        interpolate_weights(task.network, start, work.recipe.blend)


def _resolve_settings(
    work: TrainingRun, network: nn.Module, prepared: PreparedData, run: RunContext
) -> ResolvedSettings:
    """Find what the recipe left open, and write it down for a resumed run and for the other processes of this one."""
    if work.recipe.bags is not None:
        return _resolve_slide_settings(work)
    precision = find_precision(network, work.recipe, run)
    recipe = work.recipe.model_copy(update={"precision": precision})
    size = recipe.batch_size
    if size == "auto":
        size = find_batch_size(network, recipe, len(prepared.learn), run)
        check_step(recipe, size, len(prepared.learn), len(prepared.base or ()))  # once settled, there is no way back
        work.folder.append_event("notice", message=f"batch_size: {size} images a step run fastest here.")
    settled = ResolvedSettings(batch_size=size, pieces=recipe.pieces, precision=precision, parent=find_parent(recipe))
    write_resolved(work.folder, settled)
    return settled


def _resolve_slide_settings(work: TrainingRun) -> ResolvedSettings:
    """Write down what a run on slides learns with: its steps cost little, so nothing is tried."""
    size, recipe = work.recipe.batch_size, work.recipe
    settled = ResolvedSettings(
        batch_size=SLIDES_PER_STEP if size == "auto" else size, pieces=recipe.pieces, precision=None, parent=None
    )
    write_resolved(work.folder, settled)
    return settled


def _create_fit_options(
    recipe: TrainRecipe, folder: RunFolder, prepared: PreparedData, settled: ResolvedSettings
) -> TrainingSetup:
    """Say to the engine what to do."""
    recipe, size = _with_precision(recipe, settled), settled.batch_size
    step = divide_step(recipe.data, size, len(prepared.learn), len(prepared.base or ()))
    return TrainingSetup(
        recipe,
        folder,
        loaders=lambda rank: (
            training_loader(prepared, recipe, size, rank),
            validation_loader(prepared, recipe, max(1, step.step // (rank.world_size * rank.pieces)), rank),
        ),
        step=step.step,
        pieces=settled.pieces,
        save_pieces=lambda pieces: write_resolved(folder, settled.model_copy(update={"pieces": pieces})),
    )


def _log_start(work: TrainingRun, prepared: PreparedData, settled: ResolvedSettings) -> None:
    """Say what is learnt from, on what, and how."""
    recipe, folder, parts = work.recipe, work.folder, prepared.samples
    folder.append_event(
        "started",
        learn=len(parts.training),
        tuning=len(parts.validation),
        held_out=len(parts.test),
        base=len(prepared.base_samples),
        resumed=work.resume,
        epoch=_count_epochs(folder),
        epochs=recipe.epochs,
        device=device_name(recipe),
        devices=process_count(recipe),
        precision=choose_precision(_with_precision(recipe, settled)),
        batch_size=settled.batch_size,
        pieces=settled.pieces,
        **collect_provenance(),
    )
    if recipe.precision == "auto" and choose_precision(_with_precision(recipe, settled)) == "32-true":
        has_none = choose_precision(recipe) == "32-true"
        why = "this processor does not compute in it" if has_none else "float32 is as fast here for this network"
        folder.append_event("notice", message=f"precision bf16 is not used: {why}.")


def _with_precision(recipe: TrainRecipe, settled: ResolvedSettings) -> TrainRecipe:
    """The recipe in the precision that was found for it, where it left that open."""
    return recipe.model_copy(update={"precision": settled.precision}) if settled.precision else recipe


def _evaluate_model(work: TrainingRun, prepared: PreparedData, settled: ResolvedSettings, run: RunContext) -> None:
    """Compare the new model with the one it started from; the model is there whatever becomes of this."""
    folder = work.folder
    if not prepared.samples.test and not prepared.base_samples:
        folder.append_event("notice", message="no image was held out, so nobody has judged the new model.")
        return
    from napari_melanoma.runs.gate import compare_run, evaluate_alone

    alone = bool(work.recipe.classes or prepared.classes is not None) and settled.continued_model is None
    what = "evaluation" if alone else "comparison with the old model"
    try:
        if alone:
            folder.append_event("notice", message=evaluate_alone(folder.path, run=run))
        else:
            compare_run(folder.path, run=run)
    except Cancelled:
        folder.append_event("notice", message=f"the {what} was cancelled; the new model is kept.")
    except Exception as error:  # told to a person; the training itself went well
        log.warning("the %s failed", what, exc_info=error)
        done = "judged" if alone else "compared with the old one"
        folder.append_event("notice", message=f"the new model could not be {done}: {error}")


def _help_run(recipe: TrainRecipe, folder: RunFolder, run: RunContext) -> None:
    """Compute a share of each step of a run whose folder another process owns."""
    helping = SecondaryRunContext(run, folder)
    with log_helper_outcome(folder):
        settled = wait_for_resolved(folder, helping)
        prepared = _prepare(recipe, folder, resume=True, run=helping)
        kind = _find_setup(recipe)
        options = kind.network_options(recipe, prepared)
        network = create_network(recipe, options, weights=not folder.last_checkpoint.exists())
        task = kind.create_task(recipe, network, create_bundle_config(recipe, prepared, settled.parent), prepared)
        fitting = _create_fit_options(recipe, folder, prepared, settled)
        try:
            fit(task, fitting, helping)
        except Exception as error:
            _reduce_batch_on_resume(error, fitting)
            raise


def _reduce_batch_on_resume(error: Exception, fitting: TrainingSetup) -> None:
    """Where memory ran out on one of several devices, let a resumed run take smaller pieces."""
    processes = process_count(fitting.recipe)
    if is_out_of_memory(error) and processes > 1:
        pieces = next_piece_count(fitting.step, processes, fitting.pieces)
        if pieces is not None:
            fitting.save_pieces(pieces)
            raise TrainingError(SHARED_MEMORY_FULL.format(pieces=pieces)) from error


def _count_epochs(folder: RunFolder) -> int:
    """Count the epochs that a run has finished."""
    import torch

    if not folder.last_checkpoint.exists():
        return 0
    state = torch.load(folder.last_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return int(state["epoch"]) + 1 if "loops" in state else 0


EVENT_INTERVAL_S = 1.0
PEER_TIMEOUT_S = 3.0


class PhaseContext(RunFolderContext):
    """A context whose progress is also told as events, at most one a second and at the end of each part."""

    def __init__(self, run: RunFolderContext, folder: RunFolder) -> None:
        super().__init__(run, folder)
        self._last_event_time = -EVENT_INTERVAL_S
        self.report = self._report_progress

    def _report_progress(self, progress: Progress) -> None:
        """Pass a report on, and write it where it is time."""
        self._outer.report(progress)
        now = time.monotonic()
        if progress.done == progress.total or now - self._last_event_time >= EVENT_INTERVAL_S:
            self._last_event_time = now
            self._folder.append_event("progress", message=progress.message, done=progress.done, total=progress.total)


@contextmanager
def log_outcome(folder: RunFolder) -> Iterator[None]:
    """Leave a last word in the run folder, however the run ends, and turn faults of torch into sentences."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):  # Lightning turns a second Ctrl+C into an exit
        if _last_event_kind(folder) != "cancelled":  # as a run says that was cancelled while it waited for its turn
            folder.append_final_event("cancelled")
        raise
    except Exception as error:
        log.exception("the run failed")
        known: Exception = (_wait_for_peer_error(folder) if is_peer_lost(error) else None) or explain_error(error)
        with suppress(SaveError):  # the disk may be full to the last byte, or the folder may be gone
            folder.append_final_event("failed", type=type(known).__name__, message=str(known))
        if known is error:
            raise
        raise known from error


@contextmanager
def log_helper_outcome(folder: RunFolder) -> Iterator[None]:
    """Leave word of a fault in a process that helps another one with the run, unless it is the other one's."""
    try:
        yield
    except (Cancelled, TrainingDiverged):
        log.info("ended together with the first process, which says why")
    except Exception as error:
        if not is_peer_lost(error):
            known = explain_error(error)
            folder.append_event("failed", type=type(known).__name__, message=str(known))
        raise


def _last_event_kind(folder: RunFolder) -> object:
    """Kind of the last event."""
    return next((event["kind"] for event in reversed(folder.read_events())), None)


def _wait_for_peer_error(folder: RunFolder) -> TrainingError | None:
    """Wait a little for the process whose fault it was to say what happened."""
    end = time.monotonic() + PEER_TIMEOUT_S
    while time.monotonic() < end:
        if _last_event_kind(folder) == "failed":
            return TrainingError(str(folder.read_events()[-1].get("message")))
        time.sleep(0.1)
    return None


def check_recipe(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> TrainingDataReport:
    """Check start, devices and every image of a recipe; trains nothing.

    Returns the images of each part, and what a person should know of them.
    """
    check_start(recipe)
    _check_devices(recipe)
    predict_masks(recipe, run)
    report = check_data(recipe, run, keep=keep) if recipe.bags is None else check_bags(recipe, run)
    size = smallest_batch_size(recipe) if recipe.batch_size == "auto" else recipe.batch_size
    check_step(recipe, size, report.counts["learn"], report.counts["base"])
    return report


def check_held_out(recipe: TrainRecipe, run: RunContext) -> str:
    """Warn of images that are to compare the models although the start was trained on them; "" where there are none."""
    return (
        ""
        if recipe.bags is not None
        else start_overlap_warning(recipe, select_labeled(select_samples(recipe), recipe)[0], run)
    )


def _check_devices(recipe: TrainRecipe) -> None:
    """Refuse more devices than there are."""
    import torch

    kind = accelerator(recipe)
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, recipe.devices if recipe.devices != "auto" else 1)
    if process_count(recipe) > 1 and sys.platform == "win32":
        raise RunError("several devices in one run have not been made to work on Windows. Set devices = 1.")
    if recipe.devices != "auto" and recipe.devices > there:
        raise RunError(f'devices = {recipe.devices}, but there are {there} here. Lower it, or set devices = "auto".')


def check_step(recipe: TrainRecipe, batch_size: int, learn: int, base: int) -> None:
    """Refuse a step that cannot be shared out evenly."""
    step, parts = divide_step(recipe.data, batch_size, learn, base).step, process_count(recipe) * recipe.pieces
    if step % parts:
        raise RunError(
            f"a step of {step} images cannot be shared out evenly over {process_count(recipe)} devices with "
            f"{recipe.pieces} pieces each. Set batch_size to a multiple of {parts}, at most the number of images."
        )
