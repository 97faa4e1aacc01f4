"""``data report``: what is in one or several data sets, as lines, as Markdown, or as a page with figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, add_verb, examples
from napari_melanoma.cli.session import Session, session

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
    with session(json, debug, allow_outside, accept_damaged) as current:
        if out is not None and out.suffix.lower() != ".md":
            given = {"images": images, "seed": seed, "duplicates": False if no_look else None}
            _page(current, datasets, out, {name: value for name, value in given.items() if value is not None})
        else:
            _text(current, datasets, out)


def _text(current: Session, datasets: list[Path], out: Path | None) -> None:
    """Say it, and write it where a file is named."""
    from napari_melanoma.core.files import write_text
    from napari_melanoma.data.report import describe, written

    found = [describe(dataset, run=current.run) for dataset in datasets]
    texts = [written(one) for one in found]
    if out is not None:
        write_text(out, "\n".join(texts))
    for one, text in zip(found, texts, strict=True):
        current.report.listing("data", text, **vars(one))
    images = sum(one.images for one in found)
    named = ", ".join(map(str, datasets))
    current.done(f"written to {out}" if out else f"{images} images in {named}", images=images)


def _page(current: Session, datasets: list[Path], out: Path, given: dict[str, object]) -> None:
    """Write the page."""
    from napari_melanoma.data.report_page import DataReportOptions, data_report, write_report

    current.after_stop = "Nothing was written; what was read of the images is remembered."
    options = DataReportOptions.parse(given, "the command line")
    current.own(out)
    found = data_report(datasets, options, run=current.run)
    page = write_report(found, out)
    for shift in found.shifts:
        current.report.tell("shift", _said(shift), **asdict(shift))
    rows, sources = found.whole.rows, len(found.sources)
    text = f"{rows} row{'' if rows == 1 else 's'} of {sources} source{'' if sources == 1 else 's'}: {page}"
    current.done(text, out=str(out), rows=rows)


def _said(shift: DomainShift) -> str:
    """How well two sources are told apart."""
    by = ", ".join(name for name, _ in shift.rests_on[:3])
    return f"{shift.first} and {shift.second}: AUC {shift.auc[shift.family]} by {shift.family}, mostly by {by}"


def add_to(app: typer.Typer) -> None:
    """Add the verb to ``data``."""
    add_verb(app, "report", report, REPORT_HELP)
