"""``reproduce``: train and evaluate the rows of a paper's tables on the user's data, next to the published results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import AllowOutside, ConfigOptions, Debug, Given, Json, examples
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.cli.session import CommandSession
    from napari_melanoma.reproduction.run import Reproduction

HELP = examples(
    "napari-melanoma reproduce P4 --data D=datasets/isic2017 --data M=datasets/pad_ufes --budget small --out p4",
    "napari-melanoma reproduce P3 --budget small --out p3",
    "Train every row of a paper's tables on your data and list our results next to the published ones. Writes "
    "OUT/tables.md, tables.csv and tables.html, OUT/figures/, and a run folder for each row. The same command "
    "continues after any interruption. --budget small takes at most 40 minutes on two cores, more for "
    "classifiers; the table states each reduction compared with the paper. A folder of data sets can be given, too; "
    "known names are recognized. P3 without --data runs on a phantom cohort, which is generated first and reported.",
)


def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="P1, P2, P3 or P4.")],
    options: Annotated[
        Given,
        ConfigOptions(
            "reproduction.options:ReproduceOptions",
            without=("paper",),
            names={"data": "--data [ROLE=]FOLDER", "rows": "--rows NAME", "weights": "--weights NAME=FILE"},
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of tables and runs; reproduced-PAPER by default."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only report what would run and the estimated time.")] = False,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Reproduce a paper."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.reproduction import run as workflow
        from napari_melanoma.reproduction.options import ReproduceOptions
        from napari_melanoma.reproduction.papers import read_paper

        chosen = ReproduceOptions.parse({"paper": paper, **options}, "the command line")
        if check:
            _report_plan(workflow.check(chosen, run=current.run), current)
            return
        folder = out or Path(f"reproduced-{read_paper(paper).name}")
        done = workflow.reproduce(chosen, folder, run=current.run)
        for name, why in {**done.plan.left_out, **done.missing.all}.items():
            current.report.emit("failed", f"not run: {name}: {why}", row=name, error=why)
        failed, late = len(done.missing.failed), len(done.missing.late)
        skipped = f" ({late} not run for lack of time)" if late else ""
        count = f"{len(done.results) or 'none'} of {len(done.plan.rows)} rows of {done.paper.name} evaluated{skipped}"
        content = "results" if done.results else "reasons"
        values = {"rows": len(done.results), "failed": failed, "late": late, "out": str(folder)}
        text = f"{count}; {content} in {folder / 'tables.html'} and tables.md"
        current.finish(text, some_failed=failed > 0 or not done.results, **values)


def _report_plan(done: Reproduction, current: CommandSession) -> None:
    plan = done.plan
    for notice in (*plan.notices, *plan.late):
        current.report.emit("notice", notice, message=notice)
    for planned in plan.rows:
        size = f"{planned.parameters / 1e6:.2f}M" if planned.parameters is not None else ""
        epochs = f"{planned.epochs} epochs" if planned.epochs else ""
        each = f"{planned.image_ms:.0f} ms/image" if planned.image_ms else ""
        time = f"{planned.seconds:.0f} s" if planned.seconds is not None else ""
        time += ", waits" if planned.waits else ""
        start = f"from {planned.start}" if planned.start else ""
        text = f"{planned.name:<28} {size:>8}  {epochs:<10} {each:<16} {time:<14} {start}"
        values = planned.model_dump(exclude={"name"})
        current.report.emit_item("row", text.rstrip(), row=planned.name, **values, seconds=planned.seconds)
    for name, why in plan.left_out.items():
        current.report.emit("left out", f"{name} cannot run: {why}", row=name, error=why)
    whole = "" if plan.seconds is None else f", about {plan.seconds / 60:.0f} min on this machine"
    waiting = sum(row.waits for row in plan.rows)
    over = f"; {waiting} more only if time is left" if waiting else ""
    current.finish(
        f"{len(plan.rows) - waiting} rows of {plan.paper} would run{whole}{over}.",
        rows=len(plan.rows),
        seconds=plan.seconds,
    )
