"""What a search tries: a recipe with options left open, and the draw of each trial, a function of seed and number."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, RunError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4  # of a drawn number: nobody reads or types more
TRIES = 200  # draws after which no new one is to be expected
SEEDS = 2**32  # numpy takes no larger one


class Option(Config):
    """What an option of a recipe may be: a range from ``low`` to ``high``, or one of ``values``."""

    low: int | float | None = Field(None, description="the least; whole numbers are drawn where both ends are whole")
    high: int | float | None = Field(None, description="the greatest")
    log: bool = Field(False, description="draw evenly in the logarithm, as learning rates ask for")
    step: int | float | None = Field(None, gt=0, description="only numbers this far apart, from the least on")
    values: tuple[Any, ...] = Field((), description="anything that the recipe allows there; tables set several keys")

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, found: object) -> object:
        """Take a list for the values."""
        return {"values": found} if isinstance(found, list | tuple) else found

    @model_validator(mode="after")
    def _is_whole(self) -> Option:
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
    options: dict[str, Option] = Field(min_length=1, description="a key of the recipe to what it may be")

    @field_validator("options", mode="before")
    @classmethod
    def _flat(cls, found: object) -> object:
        """Let ``model.options.dropout = {...}`` stand without quotes, which TOML reads as tables inside each other."""
        return dict(_flattened(found)) if isinstance(found, Mapping) else found


class SearchRecipe(TrainRecipe):
    """A recipe of which some options are left open."""

    search: SearchConfig

    @property
    def base(self) -> TrainRecipe:
        """The recipe without the table ``[search]``."""
        return TrainRecipe.model_validate(self.model_dump(exclude={"search"}))


def draw_trials(search: SearchConfig, kept: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
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
    found = {json.dumps(values): values for values in kept}
    while len(found) < search.trials:
        for attempt in range(TRIES):
            study.sampler = optuna.samplers.RandomSampler(seed_of(search.seed, len(found), attempt) % SEEDS)
            drawn = study.ask(distributions).params
            values = {key: option.value(drawn[key]) for key, option in search.options.items()}
            if found.setdefault(json.dumps(values), values) is values:
                break
        else:
            break
    return list(found.values())


def recipes_of(recipe: SearchRecipe, draws: Sequence[dict[str, Any]]) -> list[TrainRecipe]:
    """Give the recipe of each trial, each one checked: hours are not to end at a key that does not exist.

    In their order.
    """
    found = []
    for number, options in enumerate(draws, 1):
        values = recipe.base.model_dump()
        for key, value in options.items():
            _put(values, key, value)
        values["name"] = f"{recipe.name}-{number:03}"
        said = ", ".join(f"{key} = {label(value)}" for key, value in options.items())
        found.append(TrainRecipe.parse(values, f"trial {number} of the search ({said})"))
    return found


def label(value: Any) -> str:  # noqa: ANN401 - whatever an option may be
    """Write the value of an option for a table or an axis.

    Text as it is, all else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value)


def _flattened(found: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Join the keys of tables inside each other by dots, down to what an option may be."""
    flat: list[tuple[str, Any]] = []
    for key, value in found.items():
        inside = isinstance(value, Mapping) and not Option.model_fields.keys() & value.keys()
        flat += _flattened(value, f"{before}{key}.") if inside else [(before + key, value)]
    return flat


def _put(values: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - whatever an option may be
    """Set a key such as ``model.options.dropout``; a table sets what it names and leaves the rest."""
    *places, name = key.split(".")
    for place in places:
        inside = values.setdefault(place, {})
        if not isinstance(inside, dict):
            raise ConfigError(f"[search.options] has '{key}', but '{place}' of the recipe is no table.")
        values = inside
    both = isinstance(value, Mapping) and isinstance(values.get(name), dict) and name != "options"
    values[name] = {**values[name], **value} if both else value
