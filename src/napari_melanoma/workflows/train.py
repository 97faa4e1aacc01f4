"""Train a model: from a recipe to a run folder whose last part is a bundle, judged against what it started from."""

from __future__ import annotations

import logging
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import BundleError, RunError, TrainingError
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.run_folder import HelpingContext, ListeningContext, RunFolder
from napari_melanoma.core.runs import Cancelled, Progress, RunContext
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.training.bag_prepare import prepare_bags
from napari_melanoma.training.batch_size import find_batch_size
from napari_melanoma.training.blending import blend_with_start, keep_start
from napari_melanoma.training.engine import Fitting, choose_precision, device_name, fit, process_count
from napari_melanoma.training.faults import SHARED_MEMORY, is_out_of_memory
from napari_melanoma.training.loader import training_loader, tuning_loader
from napari_melanoma.training.monitor import monitor_in
from napari_melanoma.training.places import further_pieces, is_first_process
from napari_melanoma.training.precision import find_precision
from napari_melanoma.training.prepare import Prepared, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.sampling import shares
from napari_melanoma.workflows.processes import PROCESS, ProcessStamp
from napari_melanoma.workflows.risk_fitting import fit_if_asked
from napari_melanoma.workflows.task_bags import Bags
from napari_melanoma.workflows.task_classification import Classification
from napari_melanoma.workflows.task_kinds import TaskKind
from napari_melanoma.workflows.task_segmentation import Segmentation
from napari_melanoma.workflows.task_several import SeveralClasses
from napari_melanoma.workflows.training_bundle import bundle_config
from napari_melanoma.workflows.training_checks import check_recipe, check_step
from napari_melanoma.workflows.training_events import Phase, told, told_by_helper
from napari_melanoma.workflows.training_start import (
    Parent,
    Settled,
    encoding_of_start,
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

    from napari_melanoma.training.task import Task

KINDS: dict[str, TaskKind] = {"segmentation": Segmentation(), "classification": Classification()}
SEVERAL, BAGS = SeveralClasses(), Bags()
SLIDES = 4  # of a step, where the recipe leaves it open
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A run at work: recipe, folder, whether it goes on, and whether it is judged.

    ``network`` is as it starts; None where its shape is known only once the data are prepared.
    """

    recipe: TrainRecipe
    folder: RunFolder
    network: nn.Module | None
    resume: bool
    judge: bool


def train(
    recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, queue: bool = False, judge: bool = True
) -> BundleInfo | None:
    """Run a recipe.

    Returns the model of the best epoch, in ``out/bundle``; None in a process that helps another one with the run.
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
        known = recipe.task == "segmentation"  # what a classifier tells apart is known once its data are prepared
        network = start_network(recipe, weights=weights, tell=said.append) if known else None
    with folder.owned():
        _refuse(recipe, folder, resume)  # another process may have begun and ended a run here meanwhile
        with folder.logged(), told(folder):
            _begin(recipe, folder, resume)
            for message in said:
                folder.tell("notice", message=message)
            with wait_for_turn(out, run=run) if queue else nullcontext():
                return _work(Work(recipe, folder, network, resume, judge), listening)


def _kind_of(recipe: TrainRecipe) -> TaskKind:
    """What is done for the task of a recipe."""
    if recipe.bags is not None:
        return BAGS
    return SEVERAL if recipe.classes else KINDS[recipe.task]


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
    """Prepare, train, choose what training leaves open, write the bundle, judge it."""
    recipe, folder, phase = work.recipe, work.folder, Phase(run, work.folder)
    prepared = _prepared(recipe, folder, resume=work.resume, run=phase)
    _check_classes(recipe, prepared)
    kind = _kind_of(recipe)
    network = _network(work, kind, prepared)
    settled = settled_in(folder) or _settle(work, network, prepared, phase)
    config = bundle_config(recipe, prepared, settled.parent)
    if settled.whole and recipe.blend < 1 and not folder.last_checkpoint.exists():
        keep_start(network, folder.start_weights)
    task = kind.make(recipe, network, config, prepared)
    run.check()
    _tell_start(work, prepared, settled)
    fitting = replace(_fitting(recipe, folder, prepared, settled), samples=kind.samples(recipe, folder, prepared))
    try:
        fit(task, fitting, run)
    except Exception as error:
        _expect_less(error, fitting)
        raise
    if settled.whole and recipe.blend < 1:
        _blend(work, task, settled.whole)
    finished = kind.finish(task, recipe, prepared, config, phase).with_listed(folder)
    phase.check()
    bundle = finished.write(folder.bundle, task.network)
    if said := fit_if_asked(recipe, folder, bundle, phase):
        folder.tell("notice", message=said)
    if work.judge:
        _judge(work, prepared, settled, phase)
    folder.tell_last("finished", **_came_to(bundle), bundle=folder.bundle.name)
    return bundle


def _prepared(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> Prepared:
    """Read and check what is learnt from; pictures are decoded."""
    if recipe.bags is not None:
        return prepare_bags(recipe, folder, resume=resume, run=run)
    known = None if resume and folder.data.exists() else encoding_of_start(recipe)
    return prepare_data(recipe, folder, resume=resume, run=run, encoding=known)


def _check_classes(recipe: TrainRecipe, prepared: Prepared) -> None:
    """Refuse to go on from a classifier of other classes; where it has gone meanwhile, its checkpoint is there."""
    if prepared.classes is None or not recipe.model.starts_from_bundle:
        return
    with suppress(BundleError):
        start = find_bundle(recipe.model.start)
        if recipe.goes_on_from(start.config) and start.config.classes != prepared.classes.names:
            raise RunError(
                f"'{start.name}' tells {', '.join(start.config.classes)} apart, the data "
                f"{', '.join(prepared.classes.names)}. Set classification.classes to those of the model, or model.take "
                "to 'encoder': then it gets a new head, for the classes of the data."
            )


def _network(work: Work, kind: TaskKind, prepared: Prepared) -> nn.Module:
    """Give the network as it starts; build the one that the data ask for where it could not be known before."""
    if work.network is not None:
        return work.network
    folder, options = work.folder, kind.options(work.recipe, prepared)
    weights = not folder.last_checkpoint.exists()
    return start_network(
        work.recipe, options, weights=weights, tell=lambda message: folder.tell("notice", message=message)
    )


def _came_to(bundle: BundleInfo) -> dict[str, Any]:
    """What a run says of its model at the end: how it did on the tuning images, and where its answers are cut."""
    config = bundle.config
    monitor = monitor_in(config.provenance)
    cut = {} if config.task == "segmentation" and not config.draws_one_class else {"threshold": config.threshold}
    return {**cut, monitor.name: config.provenance[monitor.name]}


def _blend(work: Work, task: Task, parent: Parent) -> None:
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


def _settle(work: Work, network: nn.Module, prepared: Prepared, run: RunContext) -> Settled:
    """Find what the recipe left open, and write it down for a resumed run and for the other processes of this one."""
    if work.recipe.bags is not None:
        return _settle_slides(work)
    precision = find_precision(network, work.recipe, run)
    recipe = work.recipe.model_copy(update={"precision": precision})
    size = recipe.batch_size
    if size == "auto":
        size = find_batch_size(network, recipe, len(prepared.learn), run)
        check_step(recipe, size, len(prepared.learn), len(prepared.base or ()))  # once settled, there is no way back
        work.folder.tell("notice", message=f"batch_size: {size} images a step run fastest here.")
    settled = Settled(batch_size=size, pieces=recipe.pieces, precision=precision, parent=parent_of(recipe))
    settle(work.folder, settled)
    return settled


def _settle_slides(work: Work) -> Settled:
    """Write down what a run on slides learns with: its steps cost little, so nothing is tried."""
    size, recipe = work.recipe.batch_size, work.recipe
    settled = Settled(batch_size=SLIDES if size == "auto" else size, pieces=recipe.pieces, precision=None, parent=None)
    settle(work.folder, settled)
    return settled


def _fitting(recipe: TrainRecipe, folder: RunFolder, prepared: Prepared, settled: Settled) -> Fitting:
    """Say to the engine what to do."""
    recipe, size = _in_precision(recipe, settled), settled.batch_size
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
        precision=choose_precision(_in_precision(recipe, settled)),
        batch_size=settled.batch_size,
        pieces=settled.pieces,
        **provenance(),
    )
    if recipe.precision == "auto" and choose_precision(_in_precision(recipe, settled)) == "32-true":
        has_none = choose_precision(recipe) == "32-true"
        why = "this processor does not compute in it" if has_none else "float32 is as fast here for this network"
        folder.tell("notice", message=f"precision bf16 is not used: {why}.")


def _in_precision(recipe: TrainRecipe, settled: Settled) -> TrainRecipe:
    """The recipe in the precision that was found for it, where it left that open."""
    return recipe.model_copy(update={"precision": settled.precision}) if settled.precision else recipe


def _judge(work: Work, prepared: Prepared, settled: Settled, run: RunContext) -> None:
    """Compare the new model with the one it started from; the model is there whatever becomes of this."""
    folder = work.folder
    if not prepared.samples.held_out and not prepared.base_samples:
        folder.tell("notice", message="no image was held out, so nobody has judged the new model.")
        return
    from napari_melanoma.workflows.gate import evaluate_alone, gate

    alone = bool(work.recipe.classes or prepared.classes is not None) and settled.whole is None
    what = "evaluation" if alone else "comparison with the old model"
    try:
        if alone:
            folder.tell("notice", message=evaluate_alone(folder.path, run=run))
        else:
            gate(folder.path, run=run)
    except Cancelled:
        folder.tell("notice", message=f"the {what} was cancelled; the new model is kept.")
    except Exception as error:  # told to a person; the training itself went well
        log.warning("the %s failed", what, exc_info=error)
        done = "judged" if alone else "compared with the old one"
        folder.tell("notice", message=f"the new model could not be {done}: {error}")


def _help(recipe: TrainRecipe, folder: RunFolder, run: RunContext) -> None:
    """Compute a share of each step of a run whose folder another process owns."""
    helping = HelpingContext(run, folder)
    with told_by_helper(folder):
        settled = wait_for_settled(folder, helping)
        prepared = _prepared(recipe, folder, resume=True, run=helping)
        kind = _kind_of(recipe)
        options = kind.options(recipe, prepared)
        network = start_network(recipe, options, weights=not folder.last_checkpoint.exists())
        task = kind.make(recipe, network, bundle_config(recipe, prepared, settled.parent), prepared)
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
