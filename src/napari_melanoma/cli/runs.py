"""``runs``: list training runs and their state; pause, continue or cancel one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.options import Debug, Json, add_verb, examples
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.runs.runs import RunReport

LIST_HELP = examples(
    "napari-melanoma runs list",
    "napari-melanoma runs list runs --json",
    "List training runs, the newest first. Without FOLDER: the runs started in napari.",
)
CONTROL_HELP = {
    "pause": "Pause a run at the next batch; it keeps its memory. Continue it with napari-melanoma runs unpause.",
    "unpause": "Continue a paused run.",
    "cancel": "End a run after the current batch. The weights of its last finished epoch are kept, and "
    "napari-melanoma train --resume continues from there.",
}
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
app = typer.Typer(help="List training runs; pause or cancel one.", no_args_is_help=True, rich_markup_mode=None)


def list_(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Folder that contains run folders.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs of a folder."""
    with command_session(json, debug) as current:
        from napari_melanoma.runs.runs import list_runs, runs_folder

        reports = list_runs(folder)
        for report in reports:
            current.report.emit_item("run", _format_run(report), **_run_values(report))
        where = folder or runs_folder()
        current.finish(f"{len(reports)} run{'' if len(reports) == 1 else 's'} in {where}", count=len(reports))


def pause(run: Run, json: Json = False, debug: Debug = False) -> None:
    """Pause a run."""
    _send_command(run, "pause", "will pause at the next batch", json, debug)


def unpause(run: Run, json: Json = False, debug: Debug = False) -> None:
    """Continue a run."""
    _send_command(run, "run", "continues", json, debug)


def cancel(run: Run, json: Json = False, debug: Debug = False) -> None:
    """End a run."""
    _send_command(
        run, "cancel", "will end after the current batch; continue it with: napari-melanoma train --resume", json, debug
    )


def _send_command(
    path: Path, command: Literal["run", "pause", "cancel"], message: str, json: bool, debug: bool
) -> None:
    with command_session(json, debug) as current:
        from napari_melanoma.core.errors import RunError
        from napari_melanoma.core.processes import send_command_or_stop
        from napari_melanoma.runs.runs import read_run

        report = read_run(path)
        if not report.state.active:
            raise RunError(f"{path} is {report.state}, not active. {report.message}")
        send_command_or_stop(path, command)
        current.finish(f"{path.name} {message}", path=str(path), wish=command)


def _format_run(report: RunReport) -> str:
    best = "" if report.best is None else f"{report.best:.3f}"
    return f"{report.name:<28} {report.state:<10} {best:<6} {' '.join(report.message.split())}"


def _run_values(report: RunReport) -> dict[str, object]:
    comparison = report.comparison
    return {
        "name": report.name,
        "path": str(report.path),
        "state": str(report.state),
        "message": report.message,
        "epoch": report.epoch,
        "epochs": report.epochs,
        report.monitor.name.replace("tuning", "best"): report.best,
        "eta_s": report.step.get("eta_s"),
        "advice": comparison.advice if comparison else None,
        "adopted": report.activated_as,
    }


def _control_help(verb: str) -> str:
    return examples(
        f"napari-melanoma runs {verb} runs/first", f"napari-melanoma runs {verb} runs/first --json", CONTROL_HELP[verb]
    )


add_verb(app, "list", list_, LIST_HELP)
add_verb(app, "pause", pause, _control_help("pause"))
add_verb(app, "unpause", unpause, _control_help("unpause"))
add_verb(app, "cancel", cancel, _control_help("cancel"))
