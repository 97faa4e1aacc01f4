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
from napari_melanoma.core.errors import BundleError, Diverged, RunError, SaveError, TrainingError
from napari_melanoma.core.processes import PROCESS, ProcessStamp, wait_for_turn
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.run_folder import HelpingContext, ListeningContext, RunFolder
from napari_melanoma.evaluation.overlap import known_to_start
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import is_out_of_memory
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.risk.comparators import fit_if_asked
from napari_melanoma.runs.bundling import bundle_config, draw_masks
from napari_melanoma.runs.start import (
    Parent,
    Settled,
    check_start,
    encoding_of_start,
    parent_of,
    settle,
    settled_in,
    start_network,
    wait_for_settled,
    weights_of_start,
)
from napari_melanoma.runs.task_setups import Bags, Classification, Segmentation, SeveralClasses, TaskKind
from napari_melanoma.training.bags import check_bags, prepare_bags
from napari_melanoma.training.batch_size import find_batch_size, find_precision, smallest_batch_size
from napari_melanoma.training.engine import (
    Fitting,
    accelerator,
    blend_with_start,
    choose_precision,
    device_name,
    fit,
    keep_start,
    process_count,
)
from napari_melanoma.training.loader import shares, training_loader, tuning_loader
from napari_melanoma.training.monitor import SHARED_MEMORY, explain, is_peer_lost, monitor_in
from napari_melanoma.training.prepare import DataReport, Prepared, check_data, prepare_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.seeds import further_pieces, is_first_process
from napari_melanoma.training.survey import answered, choose

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.training.tasks.task import Task

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
    from napari_melanoma.runs.gate import evaluate_alone, gate

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


EVENT_INTERVAL_S = 1.0
PEER_SPEAKS_WITHIN_S = 3.0


class Phase(ListeningContext):
    """A context whose progress is also told as events, at most one a second and at the end of each part."""

    def __init__(self, run: ListeningContext, folder: RunFolder) -> None:
        super().__init__(run, folder)
        self._told = -EVENT_INTERVAL_S
        self.report = self._tell

    def _tell(self, progress: Progress) -> None:
        """Pass a report on, and write it where it is time."""
        self._outer.report(progress)
        now = time.monotonic()
        if progress.done == progress.total or now - self._told >= EVENT_INTERVAL_S:
            self._told = now
            self._folder.tell("progress", message=progress.message, done=progress.done, total=progress.total)


@contextmanager
def told(folder: RunFolder) -> Iterator[None]:
    """Leave a last word in the run folder, however the run ends, and turn faults of torch into sentences."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt, SystemExit):  # Lightning turns a second Ctrl+C into an exit
        if _last_word(folder) != "cancelled":  # as a run says that was cancelled while it waited for its turn
            folder.tell_last("cancelled")
        raise
    except Exception as error:
        log.exception("the run failed")
        known: Exception = (_heard_from_peer(folder) if is_peer_lost(error) else None) or explain(error)
        with suppress(SaveError):  # the disk may be full to the last byte, or the folder may be gone
            folder.tell_last("failed", type=type(known).__name__, message=str(known))
        if known is error:
            raise
        raise known from error


@contextmanager
def told_by_helper(folder: RunFolder) -> Iterator[None]:
    """Leave word of a fault in a process that helps another one with the run, unless it is the other one's."""
    try:
        yield
    except (Cancelled, Diverged):
        log.info("ended together with the first process, which says why")
    except Exception as error:
        if not is_peer_lost(error):
            known = explain(error)
            folder.tell("failed", type=type(known).__name__, message=str(known))
        raise


def _last_word(folder: RunFolder) -> object:
    """Kind of the last event."""
    return next((event["kind"] for event in reversed(folder.read_events())), None)


def _heard_from_peer(folder: RunFolder) -> TrainingError | None:
    """Wait a little for the process whose fault it was to say what happened."""
    end = time.monotonic() + PEER_SPEAKS_WITHIN_S
    while time.monotonic() < end:
        if _last_word(folder) == "failed":
            return TrainingError(str(folder.read_events()[-1].get("message")))
        time.sleep(0.1)
    return None


def check_recipe(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> DataReport:
    """Check start, devices and every image of a recipe; trains nothing.

    Returns the images of each part, and what a person should know of them.
    """
    check_start(recipe)
    _check_devices(recipe)
    draw_masks(recipe, run)
    report = check_data(recipe, run, keep=keep) if recipe.bags is None else check_bags(recipe, run)
    size = smallest_batch_size(recipe) if recipe.batch_size == "auto" else recipe.batch_size
    check_step(recipe, size, report.counts["learn"], report.counts["base"])
    return report


def check_held_out(recipe: TrainRecipe, run: RunContext) -> str:
    """Warn of images that are to compare the models although the start was trained on them; "" where there are none."""
    return "" if recipe.bags is not None else known_to_start(recipe, answered(choose(recipe), recipe)[0], run)


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
    step, parts = shares(recipe.data, batch_size, learn, base).step, process_count(recipe) * recipe.pieces
    if step % parts:
        raise RunError(
            f"a step of {step} images cannot be shared out evenly over {process_count(recipe)} devices with "
            f"{recipe.pieces} pieces each. Set batch_size to a multiple of {parts}, at most the number of images."
        )
