"""Random search over options of a recipe."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.core.context import SCALE_STEPS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import write_table
from napari_melanoma.runs.train import train
from napari_melanoma.training.monitor import monitor_for_recipe
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.seeds import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.distributions import BaseDistribution

SEARCH, DRAWS, TRIALS = "search.toml", "draws.json", "trials"
TABLE, FIGURE, BEST = "search.csv", "search.png", "best.toml"
TRAIN_STEPS = 1000  # of the reports of a training that say how far it is
PENDING = "to do"


@dataclass(frozen=True)
class SearchTrial:
    """One draw: its number from 1, options and recipe, its run folder, and what it came to, if it did."""

    number: int
    options: dict[str, Any]
    recipe: TrainRecipe
    folder: Path
    state: str = PENDING
    result: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """Its options as a person reads them."""
        return ", ".join(f"{key} {format_value(value)}" for key, value in self.options.items())


@dataclass(frozen=True)
class SearchResult:
    """What a search came to: all trials in their order, the best of them, and the folder."""

    trials: tuple[SearchTrial, ...]
    best: SearchTrial
    out: Path


def search(recipe: SearchRecipe, out: Path, *, run: RunContext) -> SearchResult:
    """Train each trial, or go on where an earlier search of the same recipe was; a stop loses at most an epoch.

    What was drawn in this folder before stays, also where fewer trials are asked for now: the finished ones count, and
    of the others no more than asked for are trained. Trials are judged by what picks the epoch of a run alone, Jaccard
    index or AUC of the tuning images: what is held out stays unseen, so that the best of many can be measured on it
    afterwards.
    """
    _check_folder(recipe, out)
    _plan_trials(recipe, out)  # what is wrong is said before the folder is made
    with hold_lock(out / ".lock"):
        _check_folder(recipe, out)
        trials = [
            _read_trial(trial) for trial in _plan_trials(recipe, out)
        ]  # another process may have drawn more meanwhile
        asked = min(recipe.search.trials, len(trials))
        write_json(out / DRAWS, [trial.options for trial in trials])
        write_toml(out / SEARCH, recipe)
        for place, trial in enumerate(trials):
            if trial.state == PENDING and trial.number <= asked:
                title = f"Trial {trial.number} of {asked}"
                trials[place] = _run_trial(trial, PartContext(run, place, asked, title, TRAIN_STEPS))
                _write_results(recipe, trials, out)
                run.report(
                    Milestone(
                        SCALE_STEPS * trial.number, SCALE_STEPS * asked, f"{title}: {_describe_trial(trials[place])}"
                    )
                )
        _write_results(recipe, trials, out)
    best = find_best_trial(trials)
    if best is None:
        said = f"{trials[0].folder.name}: {trials[0].facts['error']}"
        raise TrainingError(f"none of {len(trials)} trials came to an end. {said}")
    return SearchResult(tuple(trials), best, out)


def find_best_trial(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Choose the finished trial with the greatest value of what picks an epoch.

    Returns the earlier of equals; None where none is finished.
    """
    return max((t for t in trials if t.result is not None), key=lambda t: t.result or 0.0, default=None)


def _check_folder(recipe: SearchRecipe, out: Path) -> None:
    """Refuse a folder that holds another search or a run; more trials of the same are welcome."""
    if (out / "config.toml").exists():
        raise RunError(f"{out} holds a run. Name another folder for the search.")
    if not (out / SEARCH).exists():
        return
    before = read_toml(out / SEARCH, SearchRecipe)
    alike = before.search.model_copy(update={"trials": recipe.search.trials})
    if before.model_copy(update={"search": alike}) != recipe:
        raise RunError(f"{out} holds a search of another recipe ({out / SEARCH}). Name another folder.")


def _plan_trials(recipe: SearchRecipe, out: Path) -> list[SearchTrial]:
    """Draw the trials, those of an earlier search in this folder first."""
    path = out / DRAWS
    before: list[dict[str, Any]] = read_json(path) if path.exists() else []
    draws = draw_trials(recipe.search, before)
    recipes = create_recipes(recipe, draws)
    if any((each.devices, each.nodes) != (1, 1) for each in recipes):
        raise RunError("a search trains each trial on one device. Set devices = 1 and nodes = 1.")
    return [
        SearchTrial(number, options, each, out / TRIALS / f"trial-{number:03}")
        for number, (options, each) in enumerate(zip(draws, recipes, strict=True), 1)
    ]


def _run_trial(trial: SearchTrial, run: RunContext) -> SearchTrial:
    """Train a trial; one that fails is a finding, and the others go on."""
    folder = RunFolder(trial.folder)
    try:
        train(trial.recipe, trial.folder, resume=folder.config.exists(), run=run, evaluate=False)
    except (Cancelled, DataSetError, SaveError):  # every other trial would meet the same
        raise
    except Exception as error:  # noqa: BLE001 - stands in the row of this trial
        return replace(trial, state="failed", facts={"error": str(error)})
    return _read_trial(trial)


def _read_trial(trial: SearchTrial) -> SearchTrial:
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
    if not finished and last.get("type") != TrainingDiverged.__name__:
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
    result = float(str(last[monitor_for_recipe(trial.recipe).name]))
    return replace(trial, state="finished", result=result, facts=facts)


def _write_results(recipe: SearchRecipe, trials: Sequence[SearchTrial], out: Path) -> None:
    """Write the table of what there is so far, and, once a trial is finished, the figure and the recipe of the best."""
    write_table(out / TABLE, [_table_row(trial) for trial in trials])
    best = find_best_trial(trials)
    if best is not None:
        write_toml(out / BEST, best.recipe.model_copy(update={"name": recipe.name}))
        logarithmic = [key for key, option in recipe.search.options.items() if option.log]
        listed = [key for key, option in recipe.search.options.items() if option.values]
        drawn = [
            FinishedTrial(t.number, t.result, _plot_values(t.options, listed)) for t in trials if t.result is not None
        ]
        plot_search(drawn, out / FIGURE, logarithmic, f"tuning {monitor_for_recipe(recipe).title}")


def _table_row(trial: SearchTrial) -> dict[str, Any]:
    """Row of the table."""
    about = {"trial": trial.number, "state": trial.state, monitor_for_recipe(trial.recipe).name: trial.result}
    facts = {key: trial.facts.get(key) for key in ("threshold", "best_epoch", "epochs", "seconds", "error")}
    return {**about, **_plot_values(trial.options), **facts, "run": f"{TRIALS}/{trial.folder.name}"}


def _plot_values(options: dict[str, Any], listed: Collection[str] = ()) -> dict[str, float | str]:
    """Options as numbers or words; what is one of a list is a word, also where it is a number: nothing lies between."""
    return {
        key: value if type(value) in (int, float) and key not in listed else format_value(value)
        for key, value in options.items()
    }


def _describe_trial(trial: SearchTrial) -> str:
    """Say what a trial came to."""
    if trial.result is None:
        return f"failed: {trial.facts.get('error')}, {trial.summary}"
    return f"tuning {monitor_for_recipe(trial.recipe).title} {trial.result:.4f}, {trial.summary}"


DIGITS = 4  # of a drawn number: nobody reads or types more
TRIES = 200  # draws after which no new one is to be expected
SEEDS = 2**32  # numpy takes no larger one


class SearchOption(Config):
    """What an option of a recipe may be: a range from ``low`` to ``high``, or one of ``values``."""

    low: int | float | None = Field(None, description="the least; whole numbers are drawn where both ends are whole")
    high: int | float | None = Field(None, description="the greatest")
    log: bool = Field(False, description="draw evenly in the logarithm, as learning rates ask for")
    step: int | float | None = Field(None, gt=0, description="only numbers this far apart, from the least on")
    values: tuple[Any, ...] = Field((), description="anything that the recipe allows there; tables set several keys")

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, found: object) -> object:
        """Take a list for the values."""
        return {"values": found} if isinstance(found, list | tuple) else found

    @model_validator(mode="after")
    def _check_complete(self) -> SearchOption:
        """Refuse what is neither a range nor values, or no range."""
        if self.values:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("it has values and a range too; give one of them")
        elif self.low is None or self.high is None:
            raise ValueError("it needs low and high, or a list of values")
        elif self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log, low must be above 0 and there is no step")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws: a number, or the place among the values."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values:
            return CategoricalDistribution(range(len(self.values)))
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return IntDistribution(low, high, log=self.log, step=step or 1)
        return FloatDistribution(float(low or 0), float(high or 0), log=self.log, step=step)

    def value(self, drawn: Any) -> Any:  # noqa: ANN401 - whatever the option may be
        """Turn what Optuna drew into a value of the recipe.

        One of the values as it stands in the recipe, or a number of four digits.
        """
        if self.values:
            return self.values[drawn]
        if self.low is None or self.high is None or isinstance(drawn, int):
            return drawn
        return min(max(float(f"{drawn:.{DIGITS}g}"), float(self.low)), float(self.high))


class SearchConfig(Config):
    """The table ``[search]``: how many trials, and which options are drawn from what."""

    trials: int = Field(20, ge=1, le=10_000, description="how many draws are trained")
    seed: int = Field(0, ge=0, description="of the draws; each run has the recipe's own")
    options: dict[str, SearchOption] = Field(min_length=1, description="a key of the recipe to what it may be")

    @field_validator("options", mode="before")
    @classmethod
    def _flatten_options(cls, found: object) -> object:
        """Let ``model.options.dropout = {...}`` stand without quotes, which TOML reads as tables inside each other."""
        return dict(_flatten(found)) if isinstance(found, Mapping) else found


class SearchRecipe(TrainRecipe):
    """A recipe of which some options are left open."""

    search: SearchConfig

    @property
    def base(self) -> TrainRecipe:
        """The recipe without the table ``[search]``."""
        return TrainRecipe.model_validate(self.model_dump(exclude={"search"}))


def draw_trials(search: SearchConfig, previous: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Draw the options of each trial; no two are alike, and more trials leave the first ones as they are.

    Key of the recipe to value, in the order of the options; more than asked for where more were drawn before, fewer
    where there are no more.
    """
    try:
        import optuna
    except ImportError:
        raise RunError("a search needs Optuna, which is not here: pip install 'napari-melanoma[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of each study and trial
    study = optuna.create_study()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The distribution is specified by", UserWarning)  # a step that leaves a rest
        distributions = {key: option.distribution for key, option in search.options.items()}
    found = {json.dumps(values): values for values in previous}
    while len(found) < search.trials:
        for attempt in range(TRIES):
            study.sampler = optuna.samplers.RandomSampler(derive_seed(search.seed, len(found), attempt) % SEEDS)
            drawn = study.ask(distributions).params
            values = {key: option.value(drawn[key]) for key, option in search.options.items()}
            if found.setdefault(json.dumps(values), values) is values:
                break
        else:
            break
    return list(found.values())


def create_recipes(recipe: SearchRecipe, draws: Sequence[dict[str, Any]]) -> list[TrainRecipe]:
    """Give the recipe of each trial, each one checked: hours are not to end at a key that does not exist.

    In their order.
    """
    found = []
    for number, options in enumerate(draws, 1):
        values = recipe.base.model_dump()
        for key, value in options.items():
            _set_key(values, key, value)
        values["name"] = f"{recipe.name}-{number:03}"
        said = ", ".join(f"{key} = {format_value(value)}" for key, value in options.items())
        found.append(TrainRecipe.parse(values, f"trial {number} of the search ({said})"))
    return found


def format_value(value: Any) -> str:  # noqa: ANN401 - whatever an option may be
    """Write the value of an option for a table or an axis.

    Text as it is, all else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value)


def _flatten(found: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Join the keys of tables inside each other by dots, down to what an option may be."""
    flat: list[tuple[str, Any]] = []
    for key, value in found.items():
        inside = isinstance(value, Mapping) and not SearchOption.model_fields.keys() & value.keys()
        flat += _flatten(value, f"{before}{key}.") if inside else [(before + key, value)]
    return flat


def _set_key(values: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - whatever an option may be
    """Set a key such as ``model.options.dropout``; a table sets what it names and leaves the rest."""
    *places, name = key.split(".")
    for place in places:
        inside = values.setdefault(place, {})
        if not isinstance(inside, dict):
            raise ConfigError(f"[search.options] has '{key}', but '{place}' of the recipe is no table.")
        values = inside
    both = isinstance(value, Mapping) and isinstance(values.get(name), dict) and name != "options"
    values[name] = {**values[name], **value} if both else value


COLUMNS = 3
POINT, BEST_COLOR, LINE = "#3b6fa0", "#d08000", "#777777"
MAX_LABEL_LENGTH = 24


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that came to an end: its number, its result in [0, 1], and each option as a number or a word."""

    number: int
    result: float
    options: dict[str, float | str]


def plot_search(
    trials: Sequence[FinishedTrial], path: Path, logarithmic: Collection[str] = (), title: str = "tuning Jaccard"
) -> None:
    """Draw the result over the number of the trial, and over each option."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(trials[0].options)
    rows = -(-(1 + len(names)) // COLUMNS)
    figure = Figure(figsize=(4 * min(COLUMNS, 1 + len(names)), 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, min(COLUMNS, 1 + len(names)), squeeze=False, sharey=True).ravel()
    results = np.array([trial.result for trial in trials])
    best = int(results.argmax())
    _plot_progress(grid[0], [trial.number for trial in trials], results, best)
    grid[0].set_ylabel(title)
    for axes, name in zip(grid[1:], names, strict=False):
        _plot_option(axes, [trial.options[name] for trial in trials], results, best)
        axes.set_title(name, loc="left", fontsize=10)
        if name in logarithmic:
            axes.set_xscale("log")  # with numbers as they are written in a recipe, and room between them
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[1 + len(names) :]:
        axes.set_visible(False)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _plot_progress(axes: Axes, numbers: Sequence[int], results: np.ndarray[Any, Any], best: int) -> None:
    """Draw the result of each trial, and the best so far as a line."""
    from matplotlib.ticker import MaxNLocator

    axes.step(numbers, np.maximum.accumulate(results), where="post", color=LINE, linewidth=1, label="best so far")
    axes.scatter(numbers, results, s=18, color=POINT)
    axes.scatter(
        numbers[best], results[best], s=90, marker="*", color=BEST_COLOR, zorder=3, label=f"best: {results[best]:.3f}"
    )
    axes.set_title("trial", loc="left", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _plot_option(axes: Axes, values: Sequence[float | str], results: np.ndarray[Any, Any], best: int) -> None:
    """Draw the result over a number, or over each word, with a dash at the mean of its trials."""
    places: list[float] = [value for value in values if not isinstance(value, str)]
    if len(places) < len(values):
        words = _sort_values({str(value) for value in values})
        places = [words.index(str(value)) for value in values]
        for place in range(len(words)):
            mean = results[np.array(places) == place].mean()
            axes.hlines(mean, place - 0.3, place + 0.3, color=LINE, linewidth=1)
        shown = [word if len(word) <= MAX_LABEL_LENGTH else f"{word[:MAX_LABEL_LENGTH]}..." for word in words]
        axes.set_xticks(
            range(len(words)), shown, rotation=30 if len(words) > 2 else 0, ha="right" if len(words) > 2 else "center"
        )
        axes.set_xlim(-0.6, len(words) - 0.4)
    axes.scatter(places, results, s=18, color=POINT)
    axes.scatter(places[best], results[best], s=90, marker="*", color=BEST_COLOR, zorder=3)


def _sort_values(words: Collection[str]) -> list[str]:
    """Sort words, or numbers that stand for themselves by their size."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)
