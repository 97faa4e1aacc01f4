"""``data report``: what is in one or several data sets, as lines, as Markdown, or as a page with figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, add_verb, examples
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.data.domain_shift import DomainShift

REPORT_HELP = examples(
    "napari-melanoma data report dataset",
    "napari-melanoma data report isic2017 pad_ufes ph2 --out report",
    "Say what is in data sets: diagnoses, sites, ages, sizes, splits, what is missing, and the licence. With --out "
    "FOLDER a page with figures too: how the sources differ, how well a classifier tells them apart and by what, and "
    "pictures that occur twice. No photograph is on the page. With --out FILE.md the text alone is written.",
)


def report(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the page, or a Markdown file.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Images of each source that are looked at.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, other images.")] = None,
    no_look: Annotated[bool, typer.Option("--no-look", help="Do not look for the same pictures.")] = False,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is in data sets."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        if out is not None and out.suffix.lower() != ".md":
            given = {"images": images, "seed": seed, "duplicates": False if no_look else None}
            _write_page(current, datasets, out, {name: value for name, value in given.items() if value is not None})
        else:
            _write_text(current, datasets, out)


def _write_text(current: CommandSession, datasets: list[Path], out: Path | None) -> None:
    """Say it, and write it where a file is named."""
    from napari_melanoma.core.files import write_text
    from napari_melanoma.data.dataset_report import describe_dataset, format_markdown

    found = [describe_dataset(dataset, run=current.run) for dataset in datasets]
    texts = [format_markdown(one) for one in found]
    if out is not None:
        write_text(out, "\n".join(texts))
    for one, text in zip(found, texts, strict=True):
        current.report.emit_item("data", text, **vars(one))
    images = sum(one.images for one in found)
    named = ", ".join(map(str, datasets))
    current.finish(f"written to {out}" if out else f"{images} images in {named}", images=images)


def _write_page(current: CommandSession, datasets: list[Path], out: Path, given: dict[str, object]) -> None:
    """Write the page."""
    from napari_melanoma.data.report_page import DataReportOptions, make_data_report, write_report

    current.after_stop = "Nothing was written; what was read of the images is remembered."
    options = DataReportOptions.parse(given, "the command line")
    current.lock_folder(out)
    found = make_data_report(datasets, options, run=current.run)
    page = write_report(found, out)
    for shift in found.shifts:
        current.report.emit("shift", _format_shift(shift), **asdict(shift))
    rows, sources = found.whole.rows, len(found.sources)
    text = f"{rows} row{'' if rows == 1 else 's'} of {sources} source{'' if sources == 1 else 's'}: {page}"
    current.finish(text, out=str(out), rows=rows)


def _format_shift(shift: DomainShift) -> str:
    """How well two sources are told apart."""
    by = ", ".join(name for name, _ in shift.rests_on[:3])
    return f"{shift.first} and {shift.second}: AUC {shift.auc[shift.family]} by {shift.family}, mostly by {by}"


def add_commands(app: typer.Typer) -> None:
    """Add the verb to ``data``."""
    add_verb(app, "report", report, REPORT_HELP)
