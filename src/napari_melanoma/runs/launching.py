"""Launch training runs, list them, and read their state from run folders."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.files import remove_file, save_error
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.packages import require_training_packages
from napari_melanoma.core.paths import is_trusted
from napari_melanoma.core.processes import (
    OUTPUT_FILE,
    is_run_alive,
    python_command,
    reap_children,
    spawn_detached,
    wait_until_ended,
)
from napari_melanoma.core.run_folder import (
    EVENTS,
    PROCESS_FILE,
    TAIL_BYTES,
    RunFolder,
    RunState,
    RunStatus,
    event_time,
    last_state_event,
    read_start_and_last_events,
    run_state,
)
from napari_melanoma.core.run_queue import enqueue
from napari_melanoma.evaluation.comparison_results import Comparison, read_comparison
from napari_melanoma.runs.acceptance import activated_name, is_discarded, replacement_name
from napari_melanoma.training.data_selection import list_datasets
from napari_melanoma.training.monitor import Monitor, monitor_for_recipe, monitor_from_values
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import list_folds

RECIPE = "recipe.toml"
OUTPUT_LINES, OUTPUT_CHARACTERS = 3, 600  # of the output of a failed run, shown to users


def runs_folder() -> Path:
    """Return the folder of the runs started in napari; it may not exist yet."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "runs"


def create_run_folder(name: str, folder: Path | None = None) -> Path:
    """Create an empty run folder with an unused name."""
    parent = runs_folder() if folder is None else folder
    stem = re.sub(r"[^\w-]+", "-", name).strip("-")[:60] or "run"
    number = 1
    while True:
        path = parent / f"{stem}-{number:02}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise save_error(path, error) from error
        else:
            return path


def launch(recipe: TrainRecipe, out: Path, *, resume: bool = False) -> None:
    """Start a run in a separate process, which waits in the queue and continues if this process ends.

    Its output is written to ``output.txt`` in the run folder; ``read_run`` reads its state.
    """
    require_training_packages()
    folder, ended = RunFolder(out), wait_until_ended(out) if resume else not is_run_alive(out)
    if not ended or folder.is_owned:  # before anything is changed: it may be alive on another machine
        raise RunError(f"{out.name} is already running. Cancel it first, or choose another run.")
    resume = resume and (folder.config.exists() or bool(list_folds(out)))
    write_toml(out / RECIPE, recipe)
    folder.write_command("run")
    remove_file(out / PROCESS_FILE)  # stamp of the previous process
    folder.append_event("launched", resumed=resume)
    try:
        outside = any(map(is_trusted, list_datasets(recipe)))
        stamp = spawn_detached(build_command(out, resume=resume, allow_outside=outside), out / OUTPUT_FILE)
    except OSError as error:
        message = f"no process could be started: {error}"
        folder.append_event("failed", type="RunError", message=message)
        raise RunError(f"{message}. Reinstall napari-melanoma, or start the run with napari-melanoma train.") from error
    stamp.write(out / PROCESS_FILE)
    enqueue(out, stamp)  # here, because the child process takes seconds to start


def build_command(out: Path, *, resume: bool, allow_outside: bool = False) -> list[str]:
    folds = list_folds(out)
    config = out / ("config.toml" if resume and not folds else RECIPE)
    arguments = ["train", "--config", str(config), "--out", str(out), *["--resume"] * resume, "--queue"]
    arguments += ["--folds", str(len(folds))] if folds else []
    arguments += [*["--allow-outside"] * allow_outside, "--nice"]
    return python_command(*arguments)


@dataclass(frozen=True)
class RunReport(RunStatus):
    """The content of a run folder at one moment.

    ``recipe``: None if another version of this program wrote it. ``epoch``, ``epochs``: number of finished
    epochs, and of all; of a cross-validation, of folds, as ``unit`` states.
    ``few_validation``: why the figures of the validation set are imprecise; "" if they are not.
    ``metrics``: rows of ``metrics.csv``, whose column ``epoch`` counts from 0. ``step``: the last step event; empty
    without. ``final``: validation figure of the finished model, and the threshold at which it was measured.
    ``started``, ``ended``: seconds since 1970. ``best``: best value of the ``monitor`` so far. ``bundle``: folder of
    the finished model. ``replaced_by``: the model that is used again instead of the activated one.
    """

    recipe: TrainRecipe | None = None
    epoch: int = 0
    epochs: int = 0
    unit: str = "epoch"
    metrics: list[dict[str, float]] = field(default_factory=list)
    step: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    best: float | None = None
    few_validation: str = ""
    bundle: Path | None = None
    comparison: Comparison | None = None
    activated_as: str | None = None
    replaced_by: str | None = None
    discarded: bool = False

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def validation_result(self) -> float | None:
        """Value of the ``monitor`` on the validation set: of the finished model, else the best so far."""
        value = self.final.get(self.monitor.name)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else self.best

    @property
    def may_change(self) -> bool:
        """Whether the run may still change; the process of a finished run may still write the comparison."""
        return self.state.active or (self.bundle is not None and self.comparison is None and self.ended is None)

    @property
    def monitor(self) -> Monitor:
        """The measure that selects the best epoch."""
        return _find_monitor(self.recipe, self.metrics)


def list_runs(folder: Path | None = None) -> list[RunReport]:
    """Read every run in a folder (``runs_folder()`` by default), the newest first; ignore other folders."""
    parent = runs_folder() if folder is None else folder
    try:
        paths = [path for path in parent.iterdir() if is_run(path)]
    except OSError:
        return []
    reports = [read_run(path) for path in paths]
    return sorted(reports, key=lambda report: (report.started or 0.0, report.name), reverse=True)


def read_run(path: Path) -> RunReport:
    """Read the state of a run from its folder, without changing anything.

    The state is ``lost`` if the folder is missing or contains no run.
    """
    reap_children()
    folder, recipe = RunFolder(path), _read_recipe(path)
    first, events = read_start_and_last_events(path / EVENTS)
    is_alive = is_run_alive(path)
    state = run_state(path, events, is_alive)
    metrics = folder.read_metrics()
    step: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "step"), {})
    monitor = _find_monitor(recipe, metrics)
    monitored = [row[monitor.name] for row in metrics if not math.isnan(row.get(monitor.name, math.nan))]
    final: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "finished"), {})
    done = int(metrics[-1].get("epoch", -1)) + 1 if metrics else 0
    epochs, unit = recipe.epochs if recipe else 0, "epoch"
    if folds := _list_readable_folds(path):
        done, epochs, unit = sum(map(_has_model, folds)), len(folds), "fold"
    return RunReport(
        path=path,
        recipe=recipe,
        state=state,
        message=_describe_state(path, state, events, (done, epochs), unit),
        epoch=done,
        epochs=epochs,
        unit=unit,
        metrics=metrics,
        step=step,
        final=final,
        started=first,
        ended=None if is_alive or not events else event_time(events[-1]),
        best=max(monitored, key=monitor.score, default=None),
        few_validation=next((str(e.get("few_validation", "")) for e in reversed(events) if e["kind"] == "epoch"), ""),
        bundle=folder.bundle if _has_model(folder) else None,
        comparison=_read_comparison(path),
        activated_as=activated_name(path),
        replaced_by=replacement_name(path),
        discarded=is_discarded(path),
    )


def _find_monitor(recipe: TrainRecipe | None, metrics: list[dict[str, float]]) -> Monitor:
    """Return the measure that selects the best epoch; without a recipe, the measure in the metrics."""
    return monitor_for_recipe(recipe) if recipe else monitor_from_values(metrics[-1] if metrics else {})


def is_run(path: Path) -> bool:
    """Return whether a folder contains a run, even one that never began."""
    return any((path / name).is_file() for name in ("config.toml", RECIPE, EVENTS, PROCESS_FILE))


def _read_recipe(path: Path) -> TrainRecipe | None:
    """Read the recipe of a run; None if another version of this program wrote it."""
    for name in ("config.toml", RECIPE):
        try:
            return read_toml(path / name, TrainRecipe)
        except ConfigError:
            continue
    return None


def _list_readable_folds(path: Path) -> list[RunFolder]:
    try:
        return list_folds(path)
    except RunError:
        return []


def _has_model(folder: RunFolder) -> bool:
    return (folder.bundle / "config.json").is_file()


def _read_comparison(path: Path) -> Comparison | None:
    try:
        return read_comparison(path / "comparison")
    except InputError:
        return None


def _describe_state(
    path: Path, state: RunState, events: list[dict[str, Any]], epochs: tuple[int, int], unit: str
) -> str:
    """Describe the state of a run for users; ``epochs``: number of finished epochs, or of another unit, and of all."""
    done, total = epochs
    last: dict[str, dict[str, Any]] = {event["kind"]: event for event in events}
    resume = f"Resume continues from {unit} {done + 1}." if done else "Resume restarts it."
    if state is RunState.queued:
        queued = last.get("queued", {})
        count, paused = queued.get("position", 1), queued.get("paused")
        advice = f" {paused} is paused: continue or cancel it." if paused else ""
        return f"Waiting for {count} other run{'' if count == 1 else 's'} to end.{advice}"
    if state is RunState.failed:
        output = (
            str(last["failed"].get("message", "")) if last_state_event(events) == "failed" else _read_output_tail(path)
        )
        return output or "The process ended at start-up without output."
    if state is RunState.lost:
        if not events:
            return "This folder contains no files of a run."
        output = _read_output_tail(path)
        last_line = f" Last output: {output.splitlines()[-1]}" if output else ""
        return f"The process ended unexpectedly: it was killed, or the machine shut down. {resume}{last_line}"
    if state is RunState.cancelled:
        return f"Canceled after {done} of {total} {unit}s. {resume}" if total else f"Canceled. {resume}"
    if state is RunState.finished:
        final = last.get("finished", {})
        threshold, jaccard = final.get("threshold"), final.get("validation_jaccard")
        threshold_text = f"; threshold {threshold:.3g}" if isinstance(threshold, int | float) else ""
        if threshold_text and isinstance(jaccard, int | float):
            threshold_text += f" (validation Jaccard {jaccard:.3f})"
        return f"Finished after {format_count(done, unit)}{threshold_text}."
    return _describe_progress(state, events, last, total)


def _describe_progress(
    state: RunState, events: list[dict[str, Any]], last: dict[str, dict[str, Any]], total: int
) -> str:
    """Describe the state of an active run for users.

    ``last``: the last event of each kind. ``total``: number of epochs; 0 if unknown.
    """
    if state is RunState.cancelling:
        return "Ends after the current step or image; all finished steps and a finished model are kept."
    if state is RunState.paused:
        return "Paused; it keeps its memory until it is continued or canceled."
    if state is RunState.starting:
        return "Starting."
    current = next((event for event in reversed(events) if event["kind"] in ("progress", "step")), None)
    if current is None:
        return "Running."
    if current["kind"] == "progress":
        count = f": {current['done']} of {current['total']}" if current.get("total") else ""
        return f"{current.get('message', 'Running')}{count}."
    return f"Epoch {int(current.get('epoch', 0)) + 1} of {total or '?'}."


def _read_output_tail(path: Path) -> str:
    """Return the last lines of output since the last launch."""
    try:
        with (path / OUTPUT_FILE).open("rb") as output:
            output.seek(max(0, output.seek(0, 2) - TAIL_BYTES))
            text = output.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines: list[str] = []
    for line in text.splitlines():
        lines = [] if line.startswith("--- ") else [*lines, line.strip()]
    return "\n".join([line for line in lines if line][-OUTPUT_LINES:])[-OUTPUT_CHARACTERS:]
