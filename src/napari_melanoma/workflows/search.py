"""Random search: the trials of a recipe with open options as run folders, and what they came to in one table."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import DataSetError, Diverged, RunError, SaveError, TrainingError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import PARTS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.io.results import write_table
from napari_melanoma.report.search import Drawn, draw_search
from napari_melanoma.training.monitor import monitor_of
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.search_plan import SearchRecipe, draw_trials, label, recipes_of
from napari_melanoma.workflows.train import train

SEARCH, DRAWS, TRIALS = "search.toml", "draws.json", "trials"
TABLE, FIGURE, BEST = "search.csv", "search.png", "best.toml"
TRAIN_STEPS = 1000  # of the reports of a training that say how far it is
TO_DO = "to do"


@dataclass(frozen=True)
class Trial:
    """One draw: its number from 1, options and recipe, its run folder, and what it came to, if it did."""

    number: int
    options: dict[str, Any]
    recipe: TrainRecipe
    folder: Path
    state: str = TO_DO
    result: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """Its options as a person reads them."""
        return ", ".join(f"{key} {label(value)}" for key, value in self.options.items())


@dataclass(frozen=True)
class Found:
    """What a search came to: all trials in their order, the best of them, and the folder."""

    trials: tuple[Trial, ...]
    best: Trial
    out: Path


def search(recipe: SearchRecipe, out: Path, *, run: RunContext) -> Found:
    """Train each trial, or go on where an earlier search of the same recipe was; a stop loses at most an epoch.

    What was drawn in this folder before stays, also where fewer trials are asked for now: the finished ones count, and
    of the others no more than asked for are trained. Trials are judged by what picks the epoch of a run alone, Jaccard
    index or AUC of the tuning images: what is held out stays unseen, so that the best of many can be measured on it
    afterwards.
    """
    _refuse(recipe, out)
    _planned(recipe, out)  # what is wrong is said before the folder is made
    with locked(out / ".lock"):
        _refuse(recipe, out)
        trials = [_looked_up(trial) for trial in _planned(recipe, out)]  # another process may have drawn more meanwhile
        asked = min(recipe.search.trials, len(trials))
        write_json(out / DRAWS, [trial.options for trial in trials])
        write_toml(out / SEARCH, recipe)
        for place, trial in enumerate(trials):
            if trial.state == TO_DO and trial.number <= asked:
                title = f"Trial {trial.number} of {asked}"
                trials[place] = _tried(trial, PartContext(run, place, asked, title, TRAIN_STEPS))
                _write(recipe, trials, out)
                run.report(Milestone(PARTS * trial.number, PARTS * asked, f"{title}: {_said(trials[place])}"))
        _write(recipe, trials, out)
    best = best_of(trials)
    if best is None:
        said = f"{trials[0].folder.name}: {trials[0].facts['error']}"
        raise TrainingError(f"none of {len(trials)} trials came to an end. {said}")
    return Found(tuple(trials), best, out)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Choose the finished trial with the greatest value of what picks an epoch.

    Returns the earlier of equals; None where none is finished.
    """
    return max((t for t in trials if t.result is not None), key=lambda t: t.result or 0.0, default=None)


def _refuse(recipe: SearchRecipe, out: Path) -> None:
    """Refuse a folder that holds another search or a run; more trials of the same are welcome."""
    if (out / "config.toml").exists():
        raise RunError(f"{out} holds a run. Name another folder for the search.")
    if not (out / SEARCH).exists():
        return
    before = read_toml(out / SEARCH, SearchRecipe)
    alike = before.search.model_copy(update={"trials": recipe.search.trials})
    if before.model_copy(update={"search": alike}) != recipe:
        raise RunError(f"{out} holds a search of another recipe ({out / SEARCH}). Name another folder.")


def _planned(recipe: SearchRecipe, out: Path) -> list[Trial]:
    """Draw the trials, those of an earlier search in this folder first."""
    path = out / DRAWS
    before: list[dict[str, Any]] = read_json(path) if path.exists() else []
    draws = draw_trials(recipe.search, before)
    recipes = recipes_of(recipe, draws)
    if any((each.devices, each.nodes) != (1, 1) for each in recipes):
        raise RunError("a search trains each trial on one device. Set devices = 1 and nodes = 1.")
    return [
        Trial(number, options, each, out / TRIALS / f"trial-{number:03}")
        for number, (options, each) in enumerate(zip(draws, recipes, strict=True), 1)
    ]


def _tried(trial: Trial, run: RunContext) -> Trial:
    """Train a trial; one that fails is a finding, and the others go on."""
    folder = RunFolder(trial.folder)
    try:
        train(trial.recipe, trial.folder, resume=folder.config.exists(), run=run, judge=False)
    except (Cancelled, DataSetError, SaveError):  # every other trial would meet the same
        raise
    except Exception as error:  # noqa: BLE001 - stands in the row of this trial
        return replace(trial, state="failed", facts={"error": str(error)})
    return _looked_up(trial)


def _looked_up(trial: Trial) -> Trial:
    """Read from its folder what a trial came to; a failure that may have had another cause counts for nothing."""
    folder = RunFolder(trial.folder)
    if folder.config.exists() and read_toml(folder.config, TrainRecipe) != trial.recipe:
        raise RunError(
            f"{folder.config} is not what {DRAWS} says of this trial. Move {folder.path} away, or name another folder "
            "for the search."
        )
    events = folder.read_events()
    last = events[-1] if events else {}
    finished = last.get("kind") == "finished" and folder.bundle.exists()
    if not finished and last.get("type") != Diverged.__name__:
        return trial
    epochs = {int(str(event["epoch"])): event for event in events if event.get("kind") == "epoch"}
    best = [number for number, event in epochs.items() if event.get("best")]
    facts: dict[str, Any] = {
        "best_epoch": best[-1] + 1 if best else None,
        "epochs": len(epochs),
        "seconds": sum(float(str(event.get("seconds") or 0)) for event in epochs.values()),
    }
    if not finished:
        return replace(trial, state="failed", facts={**facts, "error": last.get("message")})
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # several times as large as the bundle, and not needed again
    facts["threshold"] = last.get("threshold")
    result = float(str(last[monitor_of(trial.recipe).name]))
    return replace(trial, state="finished", result=result, facts=facts)


def _write(recipe: SearchRecipe, trials: Sequence[Trial], out: Path) -> None:
    """Write the table of what there is so far, and, once a trial is finished, the figure and the recipe of the best."""
    write_table(out / TABLE, [_row(trial) for trial in trials])
    best = best_of(trials)
    if best is not None:
        write_toml(out / BEST, best.recipe.model_copy(update={"name": recipe.name}))
        logarithmic = [key for key, option in recipe.search.options.items() if option.log]
        listed = [key for key, option in recipe.search.options.items() if option.values]
        drawn = [Drawn(t.number, t.result, _shown(t.options, listed)) for t in trials if t.result is not None]
        draw_search(drawn, out / FIGURE, logarithmic, f"tuning {monitor_of(recipe).title}")


def _row(trial: Trial) -> dict[str, Any]:
    """Row of the table."""
    about = {"trial": trial.number, "state": trial.state, monitor_of(trial.recipe).name: trial.result}
    facts = {key: trial.facts.get(key) for key in ("threshold", "best_epoch", "epochs", "seconds", "error")}
    return {**about, **_shown(trial.options), **facts, "run": f"{TRIALS}/{trial.folder.name}"}


def _shown(options: dict[str, Any], listed: Collection[str] = ()) -> dict[str, float | str]:
    """Options as numbers or words; what is one of a list is a word, also where it is a number: nothing lies between."""
    return {
        key: value if type(value) in (int, float) and key not in listed else label(value)
        for key, value in options.items()
    }


def _said(trial: Trial) -> str:
    """Say what a trial came to."""
    if trial.result is None:
        return f"failed: {trial.facts.get('error')}, {trial.said}"
    return f"tuning {monitor_of(trial.recipe).title} {trial.result:.4f}, {trial.said}"
