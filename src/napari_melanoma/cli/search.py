"""``search``: random search over options of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, examples
from napari_melanoma.cli.session import CommandSession, command_session

HELP = examples(
    "napari-melanoma search recipe.toml --out searches/first",
    "napari-melanoma search recipe.toml --out searches/first --trials 40",
    "Try random draws of the options that the table [search] of a recipe leaves open. Each trial is a run folder in "
    "DIR/trials/; DIR also receives search.csv, search.png and best.toml, after each trial anew. Trials are judged by "
    "the tuning images alone. After a stop, the same command goes on where it was; with more --trials, it adds some.",
)


def search(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe with a table [search], a TOML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the search.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many draws; the recipe's own number by default.")
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search over options."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        _run_search(current, recipe, out, trials)


def _run_search(current: CommandSession, path: Path, out: Path, trials: int | None) -> None:
    """Run the search and say what was best."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.runs.search import BEST, FIGURE, TABLE, SearchRecipe
    from napari_melanoma.runs.search import search as run_search
    from napari_melanoma.training.monitor import monitor_for_recipe

    recipe = read_toml(path, SearchRecipe)
    if trials is not None:
        recipe = recipe.model_copy(update={"search": recipe.search.model_copy(update={"trials": trials})})
    found, monitor = run_search(recipe, out, run=current.run), monitor_for_recipe(recipe)
    for trial in found.trials:
        result = "" if trial.result is None else f"{trial.result:.4f}"
        text = f"{trial.folder.name}  {trial.state:<9} {result:<6}  {trial.summary}"
        facts = {
            "number": trial.number,
            "state": trial.state,
            monitor.name: trial.result,
            "options": trial.options,
        }
        current.report.emit_item("trial", text, run=str(trial.folder), **facts, **trial.facts)
    best = found.best
    states = [trial.state for trial in found.trials]
    done = states.count("finished")
    others = [f", {states.count(state)} {state}" for state in ("failed", "to do") if state in states]
    text = (
        f"{done} trials finished{''.join(others)}; the best is {best.folder.name}: "
        f"tuning {monitor.title} {best.result:.4f} with {best.summary}. Table {out / TABLE}, figure {out / FIGURE}; next: "
        f"napari-melanoma train --config {out / BEST} --out RUN"
    )
    chosen: dict[str, Any] = {monitor.name: best.result, "options": best.options, "recipe": str(out / BEST)}
    current.finish(text, some_failed=False, best=best.number, **chosen)
