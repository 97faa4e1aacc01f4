"""Random search over options of a recipe: draw trials, train them, write a table, a figure and the best recipe."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.core.context import SCALE_STEPS, Cancelled, Milestone, PartContext, RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import require_outside_datasets
from napari_melanoma.figures.evaluation import save_figure
from napari_melanoma.io.results import write_table
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_selection import list_datasets
from napari_melanoma.training.monitor import MONITORS
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.distributions import BaseDistribution

# Files in the folder of a search.
SEARCH, DRAWS, TRIALS = "search.toml", "draws.json", "trials"
TABLE, FIGURE, BEST = "search.csv", "search.png", "best.toml"
TRAIN_STEPS = 1000  # resolution of a trial's progress
PENDING = "to do"  # state of a trial that has not finished
DIGITS = 4  # significant digits of a number sampled without a step
STEP_DIGITS = 12  # significant digits of a number with a step; removes rounding errors
MAX_ATTEMPTS = 200  # to draw new options; after that, the search space counts as exhausted
SEEDS = 2**32  # number of seeds that numpy accepts
COLUMNS = 3  # of the figure
POINT, BEST_COLOR, LINE = "#3b6fa0", "#d08000", "#777777"
MAX_LABEL_LENGTH = 24


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a search.

    ``number``: counted from 1. ``options``: values by key of the recipe. ``folder``: run folder. ``state``:
    ``"to do"``, ``"finished"`` or ``"failed"``. ``result``: validation Jaccard index or AUC; None if it has not
    finished. ``facts``: further columns of the table, such as the best epoch or the error.
    """

    number: int
    options: dict[str, Any]
    recipe: TrainRecipe
    folder: Path
    state: str = PENDING
    result: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The options as text."""
        return ", ".join(f"{key} {format_value(value)}" for key, value in self.options.items())


@dataclass(frozen=True)
class SearchResult:
    """Result of a search: all trials in order, the best one, and the folder."""

    trials: tuple[SearchTrial, ...]
    best: SearchTrial
    out: Path


class SearchOption(Config):
    """Search space of an option: a range from ``low`` to ``high``, or one of ``values``."""

    low: int | float | None = Field(
        None, description="minimum; integers are sampled if low, high and step are integers"
    )
    high: int | float | None = Field(None, description="maximum")
    log: bool = Field(False, description="sample uniformly in the logarithm, as for learning rates")
    step: int | float | None = Field(None, gt=0, description="distance between sampled numbers, from the minimum on")
    values: tuple[Any, ...] = Field((), description="any values that the recipe allows; tables set several keys")

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        """Accept a list as ``values``."""
        return {"values": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _check_complete(self) -> SearchOption:
        """Raise an error unless there is either a valid range or a list of values."""
        if self.values:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("it has both values and a range; give one of them")
        elif self.low is None or self.high is None:
            raise ValueError("it needs low and high, or a list of values")
        elif not (isfinite(self.low) and isfinite(self.high)):
            raise ValueError(f"low ({self.low}) and high ({self.high}) must be finite numbers")
        elif self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("with log, low must be above 0 and there is no step")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        """Distribution that Optuna samples: a number, or an index of the values."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values:
            return CategoricalDistribution(range(len(self.values)))
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return IntDistribution(low, high, log=self.log, step=step or 1)
        return FloatDistribution(float(low or 0), float(high or 0), log=self.log, step=step)

    def value(self, sampled: Any) -> Any:  # noqa: ANN401 - depends on the option
        """Convert a sample of Optuna (index of a value, or a number) to a value of the recipe."""
        return self.values[sampled] if self.values else self.round_number(sampled)

    def round_number(self, value: Any) -> Any:  # noqa: ANN401 - depends on the option
        """Round a fractional number of a range to four significant digits or its step; other values are unchanged."""
        if self.low is None or self.high is None or not isinstance(value, float):
            return value
        digits = DIGITS
        if self.step is not None:
            value, digits = self.low + round((value - self.low) / self.step) * self.step, STEP_DIGITS
        return min(max(float(f"{value:.{digits}g}"), float(self.low)), float(self.high))


class SearchConfig(Config):
    """The table ``[search]``: number of trials, and the search space of each option."""

    trials: int = Field(20, ge=1, le=10_000, description="number of trials")
    seed: int = Field(0, ge=0, description="seed of the sampling; each run has the recipe's own seed")
    options: dict[str, SearchOption] = Field(min_length=1, description="search space by key of the recipe")

    @field_validator("options", mode="before")
    @classmethod
    def _flatten_options(cls, options: object) -> object:
        """Accept keys without quotes (``model.options.dropout = {...}``), which TOML reads as nested tables."""
        return dict(_flatten(options)) if isinstance(options, Mapping) else options


class SearchRecipe(TrainRecipe):
    """A recipe with a search space for some options."""

    search: SearchConfig

    @model_validator(mode="before")
    @classmethod
    def _require_search(cls, values: object) -> object:
        if isinstance(values, Mapping) and "search" not in values:
            raise ValueError("expected a table [search] with the options to vary, found none; add one")
        return values

    @property
    def base(self) -> TrainRecipe:
        """The recipe without the table ``[search]``."""
        return TrainRecipe.model_validate(self.model_dump(exclude={"search"}))


def search(recipe: SearchRecipe, out: Path, *, run: RunContext) -> SearchResult:
    """Train each trial, or continue an earlier search of the same recipe; an interruption loses at most one epoch.

    If the folder has more trials than requested, those that have finished are compared too, but the others are not
    trained. Trials are compared by Jaccard index or AUC on the validation set; losses of different options are not
    comparable. The test set is not used, so that the best trial can be evaluated on it afterwards.
    """
    _check_folder(recipe, out)
    _plan_trials(recipe, out)  # raises errors before the folder is created
    with hold_lock(out / ".lock"):
        _check_folder(recipe, out)
        # Another process may have added trials meanwhile.
        trials = [_read_trial(trial) for trial in _plan_trials(recipe, out)]
        count = min(recipe.search.trials, len(trials))
        write_json(out / DRAWS, [trial.options for trial in trials])
        write_toml(out / SEARCH, recipe)
        for index, trial in enumerate(trials):
            if trial.state == PENDING and trial.number <= count:
                title = f"Trial {trial.number} of {count}"
                trials[index] = _run_trial(trial, PartContext(run, index, count, title, TRAIN_STEPS))
                _write_results(recipe, trials, out)
                run.report(
                    Milestone(
                        SCALE_STEPS * trial.number, SCALE_STEPS * count, f"{title}: {_describe_trial(trials[index])}"
                    )
                )
        _write_results(recipe, trials, out)
    best = find_best_trial(trials)
    if best is None:
        first_error = f"{trials[0].folder.name}: {trials[0].facts['error']}"
        raise TrainingError(f"none of {len(trials)} trials finished. {first_error}")
    return SearchResult(tuple(trials), best, out)


def find_best_trial(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Return the finished trial with the highest result, the first one in a tie; None if none has a result."""
    results = [(trial.result, trial) for trial in trials if trial.result is not None and not isnan(trial.result)]
    return max(results, key=lambda pair: pair[0])[1] if results else None


def _check_folder(recipe: SearchRecipe, out: Path) -> None:
    """Raise an error if the folder contains a run or a different search, or if a new search would be in a data set.

    A search with another number of trials is not different.
    """
    if (out / "config.toml").exists():
        raise RunError(f"{out} contains a run. Name another folder for the search.")
    if not (out / SEARCH).exists():
        require_outside_datasets(out, list_datasets(recipe))
        return
    previous = read_toml(out / SEARCH, SearchRecipe)
    same_count = previous.search.model_copy(update={"trials": recipe.search.trials})
    if previous.model_copy(update={"search": same_count}) != recipe:
        raise RunError(f"{out} contains a search of another recipe ({out / SEARCH}). Name another folder.")


def _plan_trials(recipe: SearchRecipe, out: Path) -> list[SearchTrial]:
    """Return the trials of an earlier search in this folder, followed by newly sampled trials."""
    path = out / DRAWS
    previous: list[dict[str, Any]] = read_json(path) if path.exists() else []
    draws = draw_trials(recipe.search, previous)
    recipes = create_recipes(recipe, draws)
    if any((trial_recipe.devices, trial_recipe.nodes) != (1, 1) for trial_recipe in recipes):
        raise RunError("a search trains each trial on one device. Set devices = 1 and nodes = 1.")
    return [
        SearchTrial(number, options, trial_recipe, out / TRIALS / f"trial-{number:03}")
        for number, (options, trial_recipe) in enumerate(zip(draws, recipes, strict=True), 1)
    ]


def _run_trial(trial: SearchTrial, run: RunContext) -> SearchTrial:
    """Train a trial; a failure is recorded, and the search continues."""
    folder = RunFolder(trial.folder)
    try:
        train(
            trial.recipe, trial.folder, resume=folder.config.exists(), run=run, evaluate=False, check_place=False
        )  # the location of the search was checked
    except (Cancelled, DataSetError, SaveError):  # every other trial would fail in the same way
        raise
    except Exception as error:  # noqa: BLE001 - recorded in the row of this trial
        return replace(trial, state="failed", facts={"error": str(error)})
    return _read_trial(trial)


def _read_trial(trial: SearchTrial) -> SearchTrial:
    """Read the result of a trial from its folder; only a diverged training counts as failed."""
    folder = RunFolder(trial.folder)
    if folder.config.exists() and read_toml(folder.config, TrainRecipe) != trial.recipe:
        raise RunError(
            f"{folder.config} does not match {DRAWS}. Move {folder.path} away, or name another folder for the search."
        )
    events = folder.read_events()
    last = events[-1] if events else {}
    finished = last.get("kind") == "finished" and folder.bundle.exists()
    if not finished and last.get("type") != TrainingDiverged.event_type:
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
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # several times as large as the bundle, and no longer needed
    facts["threshold"] = last.get("threshold")
    result = float(str(last[MONITORS[trial.recipe.task].name]))
    return replace(trial, state="finished", result=result, facts=facts)


def _write_results(recipe: SearchRecipe, trials: Sequence[SearchTrial], out: Path) -> None:
    """Write the table, and, once a trial is finished, the figure and the recipe of the best trial."""
    write_table(out / TABLE, [_table_row(trial) for trial in trials])
    best = find_best_trial(trials)
    if best is not None:
        write_toml(out / BEST, best.recipe.model_copy(update={"name": recipe.name}))
        logarithmic = [key for key, option in recipe.search.options.items() if option.log]
        listed = [key for key, option in recipe.search.options.items() if option.values]
        finished = [
            FinishedTrial(t.number, t.result, _plot_values(t.options, listed)) for t in trials if t.result is not None
        ]
        plot_search(finished, out / FIGURE, logarithmic, f"validation {MONITORS[recipe.task].title}")


def _table_row(trial: SearchTrial) -> dict[str, Any]:
    result = {"trial": trial.number, "state": trial.state, MONITORS[trial.recipe.task].name: trial.result}
    facts = {key: trial.facts.get(key) for key in ("threshold", "best_epoch", "epochs", "seconds", "error")}
    return {**result, **_plot_values(trial.options), **facts, "run": f"{TRIALS}/{trial.folder.name}"}


def _plot_values(options: dict[str, Any], listed: Collection[str] = ()) -> dict[str, float | str]:
    """Return options as numbers or words.

    ``listed``: options with a list of values; their numbers are words, because there are no values in between.
    """
    return {
        key: value if type(value) in (int, float) and key not in listed else format_value(value)
        for key, value in options.items()
    }


def _describe_trial(trial: SearchTrial) -> str:
    if trial.result is None:
        return f"failed: {trial.facts.get('error')}, {trial.summary}"
    return f"validation {MONITORS[trial.recipe.task].title} {trial.result:.4f}, {trial.summary}"


def draw_trials(search: SearchConfig, previous: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Sample the options of each trial, without repetition; the number of trials does not affect the first ones.

    ``previous``: options of earlier trials, which come first. Returns the values by key of the recipe; fewer than
    requested if the search space is exhausted.
    """
    try:
        import optuna
    except ImportError:
        raise RunError("a search needs Optuna, which is not installed: pip install 'napari-melanoma[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # do not log each study and trial
    study = optuna.create_study()
    with warnings.catch_warnings():
        # Optuna warns if the range is not a multiple of the step.
        warnings.filterwarnings("ignore", "The distribution is specified by", UserWarning)
        distributions = {key: option.distribution for key, option in search.options.items()}

    def make_key(values: Mapping[str, Any]) -> str:
        """Return a key that is equal for equal options; earlier versions rounded numbers with a step to four digits."""
        return json.dumps({key: option.round_number(values.get(key)) for key, option in search.options.items()})

    draws, drawn_keys = list(previous), {make_key(values) for values in previous}
    while len(draws) < search.trials:
        for attempt in range(MAX_ATTEMPTS):
            study.sampler = optuna.samplers.RandomSampler(derive_seed(search.seed, len(draws), attempt) % SEEDS)
            sampled = study.ask(distributions).params
            values = {key: option.value(sampled[key]) for key, option in search.options.items()}
            if make_key(values) not in drawn_keys:
                drawn_keys.add(make_key(values))
                draws.append(values)
                break
        else:
            break
    return draws


def create_recipes(recipe: SearchRecipe, draws: Sequence[dict[str, Any]]) -> list[TrainRecipe]:
    """Create and validate the recipe of each trial, so that an invalid key is reported before any training."""
    recipes = []
    for number, options in enumerate(draws, 1):
        values = recipe.base.model_dump()
        for key, value in options.items():
            _set_key(values, key, value)
        values["name"] = f"{recipe.name}-{number:03}"
        options_text = ", ".join(f"{key} = {format_value(value)}" for key, value in options.items())
        recipes.append(TrainRecipe.parse(values, f"trial {number} of the search ({options_text})"))
    return recipes


def format_value(value: Any) -> str:  # noqa: ANN401 - depends on the option
    """Format the value of an option for a table or an axis: text unchanged, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Join the keys of nested tables by dots, down to the search spaces."""
    flat: list[tuple[str, Any]] = []
    for key, value in tables.items():
        is_table = isinstance(value, Mapping) and not SearchOption.model_fields.keys() & value.keys()
        flat += _flatten(value, f"{prefix}{key}.") if is_table else [(prefix + key, value)]
    return flat


def _set_key(values: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - depends on the option
    """Set a key such as ``model.options.dropout``; if the value is a table, other keys of the table are kept."""
    *tables, name = key.split(".")
    for table in tables:
        table_values = values.setdefault(table, {})
        if not isinstance(table_values, dict):
            raise ConfigError(f"[search.options] has '{key}', but '{table}' of the recipe is not a table.")
        values = table_values
    is_update = isinstance(value, Mapping) and isinstance(values.get(name), dict) and name != "options"
    values[name] = {**values[name], **value} if is_update else value


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial: its number, its result in [0, 1], and each option as a number or a word."""

    number: int
    result: float
    options: dict[str, float | str]


def plot_search(
    trials: Sequence[FinishedTrial], path: Path, logarithmic: Collection[str] = (), title: str = "validation Jaccard"
) -> None:
    """Plot the result against the number of the trial, and against each option.

    ``logarithmic``: options with a logarithmic axis. ``title``: label of the result axis.
    """
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
            axes.set_xscale("log")  # with numbers as in a recipe, and space between them
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[1 + len(names) :]:
        axes.set_visible(False)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=150)


def _plot_progress(axes: Axes, numbers: Sequence[int], results: np.ndarray[Any, Any], best: int) -> None:
    """Plot the result of each trial, and the best so far as a line."""
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
    """Plot the result against a number, or against each word with a line at the mean of its trials."""
    positions: list[float] = [value for value in values if not isinstance(value, str)]
    if len(positions) < len(values):
        words = _sort_values({str(value) for value in values})
        positions = [words.index(str(value)) for value in values]
        for index in range(len(words)):
            mean = results[np.array(positions) == index].mean()
            axes.hlines(mean, index - 0.3, index + 0.3, color=LINE, linewidth=1)
        labels = [word if len(word) <= MAX_LABEL_LENGTH else f"{word[:MAX_LABEL_LENGTH]}..." for word in words]
        axes.set_xticks(
            range(len(words)), labels, rotation=30 if len(words) > 2 else 0, ha="right" if len(words) > 2 else "center"
        )
        axes.set_xlim(-0.6, len(words) - 0.4)
    axes.scatter(positions, results, s=18, color=POINT)
    axes.scatter(positions[best], results[best], s=90, marker="*", color=BEST_COLOR, zorder=3)


def _sort_values(words: Collection[str]) -> list[str]:
    """Sort words, or numbers by their value."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)
