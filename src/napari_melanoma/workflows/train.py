"""Train a model: from a recipe to a run folder whose last part is a bundle, judged against what it started from."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import RunError, TrainingError
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.run_folder import HelpingContext, ListeningContext, RunFolder
from napari_melanoma.core.runs import Cancelled, Progress, RunContext
from napari_melanoma.models.bundle import BundleInfo, write_bundle
from napari_melanoma.training.batch_size import find_batch_size
from napari_melanoma.training.blending import blend_with_start, keep_start
from napari_melanoma.training.engine import Fitting, accelerator, choose_precision, device_name, fit, process_count
from napari_melanoma.training.faults import SHARED_MEMORY, is_out_of_memory
from napari_melanoma.training.loader import TuningBatches, training_loader, tuning_loader
from napari_melanoma.training.places import further_pieces, is_first_process
from napari_melanoma.training.prepare import Prepared, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.sampling import shares
from napari_melanoma.workflows.model_card import draft_card
from napari_melanoma.workflows.processes import PROCESS, ProcessStamp
from napari_melanoma.workflows.training_bundle import bundle_config, choose_threshold
from napari_melanoma.workflows.training_checks import check_recipe, check_step
from napari_melanoma.workflows.training_events import Phase, told, told_by_helper
from napari_melanoma.workflows.training_start import (
    Parent,
    Settled,
    lesion_weight,
    parent_of,
    settle,
    settled_in,
    start_network,
    wait_for_settled,
    weights_of_start,
)
from napari_melanoma.workflows.turns import wait_for_turn

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.samples import SampleWriter
    from napari_melanoma.training.segmentation import SegmentationTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A run at work: recipe, folder, the network as it starts; whether it goes on, and whether it is judged."""

    recipe: TrainRecipe
    folder: RunFolder
    network: nn.Module
    resume: bool
    judge: bool


def train(
    recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, queue: bool = False, judge: bool = True
) -> BundleInfo | None:
    """Run a recipe.

    Parameters
    ----------
    recipe : TrainRecipe
        What to learn, from what, and how.
    out : pathlib.Path
        The run folder; it must be new unless ``resume``.
    resume : bool
        Go on from the last finished epoch of an earlier run of the same recipe.
    run : RunContext
        Told of the progress, asked whether to go on.
    queue : bool
        Wait for the runs of this user on this machine that were started before.
    judge : bool
        Compare the new model with the one it started from; without, whoever asked judges it.

    Returns
    -------
    BundleInfo or None
        The model of the best epoch, in ``out/bundle``; None in a process that helps another one with the run.

    Raises
    ------
    DataSetError
        Where the data cannot serve; nothing was trained.
    RunError
        Where the folder holds another run, another process works in it, or there is nothing to resume.
    TrainingError
        Where the run came to a bad end by itself.
    Cancelled
        Where the user stopped it; the folder can be resumed.
    """
    folder = RunFolder(out)
    if not is_first_process(recipe):
        _help(recipe, folder, run)
        return None
    _refuse(recipe, folder, resume)
    launched = folder.events.exists()  # by a dock, which follows the folder and waits for a word
    listening = ListeningContext(run, folder)
    with told(folder) if launched and not resume else nullcontext():
        if not resume:  # before anything is written: a start that fails leaves no folder in its own way
            phase = Phase(listening, folder) if launched else run
            phase.report(Progress(0, None, "Looking at the data"))
            check_recipe(recipe, phase, keep=True)
        said: list[str] = []
        weights = not (resume and folder.last_checkpoint.exists())
        network = start_network(recipe, weights=weights, tell=said.append)
    with folder.owned():
        _refuse(recipe, folder, resume)  # another process may have begun and ended a run here meanwhile
        with folder.logged(), told(folder):
            _begin(recipe, folder, resume)
            for message in said:
                folder.tell("notice", message=message)
            with wait_for_turn(out, run=run) if queue else nullcontext():
                return _work(Work(recipe, folder, network, resume, judge), listening)


def _refuse(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> None:
    """Refuse a folder that holds another run, or none to resume."""
    path = folder.path
    if not resume:
        if folder.config.exists():
            raise RunError(f"{path} holds a run already. Name a new folder, or resume it with --resume.")
    elif not folder.config.exists():
        raise RunError(f"{path} holds no run to resume: it has no config.toml. Start one without --resume.")
    elif read_toml(folder.config, TrainRecipe) != recipe:
        raise RunError(f"{path} was started with another recipe. Resume it with its own: --config {folder.config}.")


def _begin(recipe: TrainRecipe, folder: RunFolder, resume: bool) -> None:
    """Make the folder ready: mend what a kill left behind, say who works here, forget an epoch to be repeated."""
    folder.mend()
    if not resume:
        write_toml(folder.config, recipe)
    ProcessStamp.of().write(folder.path / PROCESS)
    if not folder.launched:  # whoever launched it has said "run", and may have changed their mind since
        folder.ask("run")
    folder.keep_metrics_before(_epochs_done(folder))


def _work(work: Work, run: ListeningContext) -> BundleInfo:
    """Prepare, train, choose the threshold, write the bundle, judge it."""
    recipe, folder, phase = work.recipe, work.folder, Phase(run, work.folder)
    prepared = prepare_data(recipe, folder, resume=work.resume, run=phase)
    settled = settled_in(folder) or _settle(work, prepared, phase)
    config = bundle_config(recipe, prepared, settled.parent)
    if settled.parent and recipe.blend < 1 and not folder.last_checkpoint.exists():
        keep_start(work.network, folder.start_weights)
    task = _task(recipe, work.network, config, prepared)
    _tell_start(work, prepared, settled)
    fitting = replace(_fitting(recipe, folder, prepared, settled), samples=_samples(recipe, folder, prepared))
    try:
        fit(task, fitting, run)
    except Exception as error:
        _expect_less(error, fitting)
        raise
    if settled.parent and recipe.blend < 1:
        _blend(work, task, settled.parent)
    bundle = _write(work, task, prepared, config, phase)
    if work.judge:
        _judge(prepared, folder, phase)
    jaccard, threshold = bundle.config.provenance["tuning_jaccard"], bundle.config.threshold
    folder.tell_last("finished", threshold=threshold, tuning_jaccard=jaccard, bundle=folder.bundle.name)
    return bundle


def _blend(work: Work, task: SegmentationTask, parent: Parent) -> None:
    """Move what was learnt towards the start; hours of learning are not thrown away where the start is lost."""
    start = weights_of_start(work.recipe, work.folder, parent)
    if start is None:
        message = (
            f"the weights of '{parent.name}' that the run started from are gone: the model is what was learnt, not "
            "blended with them, and may have forgotten more of what it knew."
        )
        work.folder.tell("notice", message=message)
    else:
        blend_with_start(task.network, start, work.recipe.blend)


def _settle(work: Work, prepared: Prepared, run: RunContext) -> Settled:
    """Find what the recipe left open, and write it down for a resumed run and for the other processes of this one."""
    recipe, size = work.recipe, work.recipe.batch_size
    if size == "auto":
        size = find_batch_size(work.network, recipe, len(prepared.learn), run)
        check_step(recipe, size, len(prepared.learn), len(prepared.base or ()))  # once settled, there is no way back
        work.folder.tell("notice", message=f"batch_size: {size} images a step run fastest here.")
    settled = Settled(batch_size=size, pieces=recipe.pieces, parent=parent_of(recipe))
    settle(work.folder, settled)
    return settled


def _task(recipe: TrainRecipe, network: nn.Module, config: BundleConfig, prepared: Prepared) -> SegmentationTask:
    """Make the task that Lightning runs."""
    from napari_melanoma.training.segmentation import SegmentationTask

    return SegmentationTask(network, recipe, config, lesion_weight(recipe, prepared.lesion_share))


def _fitting(recipe: TrainRecipe, folder: RunFolder, prepared: Prepared, settled: Settled) -> Fitting:
    """Say to the engine what to do."""
    size = settled.batch_size
    step = shares(recipe.data, size, len(prepared.learn), len(prepared.base or ()))
    return Fitting(
        recipe,
        folder,
        loaders=lambda rank: (
            training_loader(prepared, recipe, size, rank),
            tuning_loader(prepared, recipe, max(1, step.step // (rank.world_size * rank.pieces)), rank),
        ),
        step=step.step,
        pieces=settled.pieces,
        keep_pieces=lambda pieces: settle(folder, settled.model_copy(update={"pieces": pieces})),
    )


def _samples(recipe: TrainRecipe, folder: RunFolder, prepared: Prepared) -> SampleWriter | None:
    """Choose the tuning images whose prediction is drawn, spread over all of them."""
    from napari_melanoma.training.samples import SampleWriter

    count = len(prepared.tuning)
    places = np.unique(np.linspace(0, count - 1, min(recipe.samples, count)).round().astype(np.int64))
    if not len(places):
        return None
    images, masks, _ = TuningBatches(prepared.tuning, recipe.model.input_size)[places]
    return SampleWriter(folder, [prepared.samples.tuning[place].image_id for place in places], images, masks)


def _tell_start(work: Work, prepared: Prepared, settled: Settled) -> None:
    """Say what is learnt from, on what, and how."""
    recipe, folder, parts = work.recipe, work.folder, prepared.samples
    folder.tell(
        "started",
        learn=len(parts.learn),
        tuning=len(parts.tuning),
        held_out=len(parts.held_out),
        base=len(prepared.base_samples),
        resumed=work.resume,
        epoch=_epochs_done(folder),
        epochs=recipe.epochs,
        device=device_name(recipe),
        devices=process_count(recipe),
        precision=choose_precision(recipe),
        batch_size=settled.batch_size,
        pieces=settled.pieces,
        **provenance(),
    )
    if recipe.precision == "auto" and choose_precision(recipe) == "32-true":
        folder.tell("notice", message="bf16 is not used: this processor does not compute in it.")


def _write(work: Work, task: SegmentationTask, prepared: Prepared, config: BundleConfig, run: RunContext) -> BundleInfo:
    """Choose the threshold and write the bundle."""
    loader = tuning_loader(prepared, work.recipe, 16)
    config = choose_threshold(task.to(accelerator(work.recipe)), loader, work.recipe, config, run)
    run.check()
    log.info("tuning Jaccard %.4f at threshold %.2f", config.provenance["tuning_jaccard"], config.threshold)
    return write_bundle(work.folder.bundle, config, task.network, draft_card(config))


def _judge(prepared: Prepared, folder: RunFolder, run: RunContext) -> None:
    """Compare the new model with the one it started from; the model is there whatever becomes of this."""
    if not prepared.samples.held_out and not prepared.base_samples:
        folder.tell("notice", message="no image was held out, so the new model was not compared with the old one.")
        return
    from napari_melanoma.workflows.gate import gate

    try:
        gate(folder.path, run=run)
    except Cancelled:
        folder.tell("notice", message="the comparison with the old model was cancelled; the new model is kept.")
    except Exception as error:  # told to a person; the training itself went well
        log.warning("the comparison failed", exc_info=error)
        folder.tell("notice", message=f"the new model could not be compared with the old one: {error}")


def _help(recipe: TrainRecipe, folder: RunFolder, run: RunContext) -> None:
    """Compute a share of each step of a run whose folder another process owns."""
    helping = HelpingContext(run, folder)
    with told_by_helper(folder):
        settled = wait_for_settled(folder, helping)
        network = start_network(recipe, weights=not folder.last_checkpoint.exists())
        prepared = prepare_data(recipe, folder, resume=True, run=helping)
        task = _task(recipe, network, bundle_config(recipe, prepared, settled.parent), prepared)
        fitting = _fitting(recipe, folder, prepared, settled)
        try:
            fit(task, fitting, helping)
        except Exception as error:
            _expect_less(error, fitting)
            raise


def _expect_less(error: Exception, fitting: Fitting) -> None:
    """Where memory ran out on one of several devices, let a resumed run take smaller pieces."""
    processes = process_count(fitting.recipe)
    if is_out_of_memory(error) and processes > 1:
        pieces = further_pieces(fitting.step, processes, fitting.pieces)
        if pieces is not None:
            fitting.keep_pieces(pieces)
            raise TrainingError(SHARED_MEMORY.format(pieces=pieces)) from error


def _epochs_done(folder: RunFolder) -> int:
    """Count the epochs that a run has finished."""
    import torch

    if not folder.last_checkpoint.exists():
        return 0
    state = torch.load(folder.last_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return int(state["epoch"]) + 1 if "loops" in state else 0
