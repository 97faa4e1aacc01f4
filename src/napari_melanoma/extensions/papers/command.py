"""Command ``reproduce``: train and evaluate the rows of a paper's tables, and list published results beside ours."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Command, ConfigOptions, OptionValues, format_help
from napari_melanoma.cli.session import CommandSession

if TYPE_CHECKING:
    from napari_melanoma.extensions.papers.planning import PlannedRow
    from napari_melanoma.extensions.papers.run import Reproduction

LINE_LENGTH = 100  # of the list of starting models that --check prints
HELP = format_help(
    "napari-melanoma reproduce P4 --data D=datasets/isic2017 --data M=datasets/pad_ufes --budget small --out p4",
    "napari-melanoma reproduce P3 --budget small --out p3",
    "Train every row of a paper's tables on your data and list our results next to the published ones. Writes "
    "OUT/tables.md, tables.csv and tables.html, OUT/figures/, and a run folder for each row. The same command "
    "continues after any interruption. --budget small needs no GPU; the table states each reduction compared with the "
    "paper. A folder of data sets can be given, too; "
    "known names are recognized. P3 without --data runs on a phantom cohort, which is generated first and reported.",
)


def reproduce(
    current: Annotated[CommandSession, "allow_outside"],
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="P1, P2, P3 or P4.")],
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "extensions.papers.options:ReproduceOptions",
            without=("paper",),
            names={"data": "--data [ROLE=]FOLDER", "rows": "--rows NAME", "weights": "--weights NAME=FILE"},
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of tables and runs; reproduced-PAPER by default."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only report which rows would run, with how much training.")
    ] = False,
) -> None:
    """Reproduce a paper."""
    from napari_melanoma.extensions.papers import run as workflow
    from napari_melanoma.extensions.papers.options import ReproduceOptions
    from napari_melanoma.extensions.papers.papers import read_paper

    chosen = ReproduceOptions.parse({"paper": paper, **options}, "the command line")
    if check:
        _report_plan(workflow.check(chosen, run=current.run), current)
        return
    folder = out or Path(f"reproduced-{read_paper(paper).name}")
    done = workflow.reproduce(chosen, folder, run=current.run)
    for name, reason in {**done.plan.left_out, **done.failed}.items():
        current.report.emit("failed", f"not run: {name}: {reason}", row=name, error=reason)
    failed = len(done.failed)
    count = f"{len(done.results) or 'none'} of {len(done.plan.rows)} rows of {done.paper.name} evaluated"
    content = "results" if done.results else "reasons"
    values = {"rows": len(done.results), "failed": failed, "out": str(folder)}
    text = f"{count}; {content} in {folder / 'tables.html'} and tables.md"
    current.finish(text, some_failed=failed > 0 or not done.results, **values)


def _report_plan(reproduction: Reproduction, current: CommandSession) -> None:
    plan = reproduction.plan
    for notice in plan.notices:
        current.report.emit("notice", notice, message=notice)
    width = max((len(planned.name) for planned in plan.rows), default=0)
    for planned in plan.rows:
        values = planned.model_dump(exclude={"name"})
        text = f"{planned.name:<{width}}{_format_planned(planned)}"
        current.report.emit_item("row", text.rstrip(), row=planned.name, **values)
    for start in dict.fromkeys(planned.start for planned in plan.rows if planned.start):
        names = [planned.name for planned in plan.rows if planned.start == start]
        text = fill(f"from {start}: {', '.join(names)}", LINE_LENGTH, subsequent_indent="  ", break_on_hyphens=False)
        current.report.emit_item("start", text, start=start, rows=names)
    for name, reason in plan.left_out.items():
        current.report.emit("left out", f"{name} cannot run: {reason}", row=name, error=reason)
    current.finish(f"{len(plan.rows)} rows of {plan.paper} would run.", rows=len(plan.rows))


def _format_planned(planned: PlannedRow) -> str:
    """Format parameters, epochs and steps of a row as columns."""
    if planned.parameters is None:
        return ""
    epochs = f"{planned.epochs} epoch{'s' if planned.epochs > 1 else ''}" if planned.epochs else ""
    steps = f"{planned.steps} steps each" if planned.epochs else ""
    return f" {planned.parameters / 1e6:>7.2f}M {epochs:>10} {steps:>15}"


COMMAND = Command(reproduce, HELP)
