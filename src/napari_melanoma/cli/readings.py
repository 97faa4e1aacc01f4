"""``readings``: what readers measured of the depth, as a table, and how two of them agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, Out, examples
from napari_melanoma.cli.session import command_session

HELP = examples(
    "napari-melanoma readings results --out agreement",
    'napari-melanoma readings reader-a reader-b --out agreement --reader "A. Meyer" --reader model',
    "Gather readings of the depth, and say how two readers agree. Takes result folders in which the Slide dock kept "
    "readings, or folders of such; readings of the same slide come together, also where each reader worked in a folder "
    "of their own. Writes readings.csv (a row a reading) and, of the two readers that are named, or of the only two "
    "that there are, agreement.json (Bland-Altman bias and limits of agreement, ICC(2,1), each with its 95 % interval) "
    "and figures/bland_altman.png. The reader 'model' stands for what the analysis says. What cannot be read is told "
    "and the rest goes on (exit code 1).",
)


def readings(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Result folders, or folders of such.")],
    out: Out,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", metavar="NAME", help="Given twice: the readers to compare.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Gather readings of the depth, and say how two readers agree."""
    with command_session(json, debug) as current:
        from napari_melanoma.slides.depth_readings import (
            agreement_to_json,
            collect_readings,
            compare_readers,
            describe_agreement,
            list_readers,
            write_readings,
        )

        current.after_stop = "Nothing was written."
        gathered = collect_readings(folders)
        for name, error in gathered.failed:
            current.report.emit("failed", f"failed: {name}: {error}", slide=name, error=error)
        known = list_readers(gathered)
        chosen = reader or (list(known) if len(known) == 2 else [])
        agreement = compare_readers(gathered, chosen) if chosen else None
        for note in (*gathered.notes, *(agreement.notes if agreement else ())):
            current.report.emit("warning", f"Warning: {note}", message=note)
        current.lock_folder(out)
        written = write_readings(gathered, agreement, out)
        if agreement is not None:
            current.report.emit_item("agreement", describe_agreement(agreement), **agreement_to_json(agreement))
        count = sum(len(slide.readings) for slide in gathered.slides)
        text = f"{count} readings of {len(gathered.slides)} slides by {', '.join(known) or 'nobody'} in {written[0]}."
        if agreement is None and len(known) != 1:
            text += " Name two readers with --reader to see how they agree."
        current.finish(f"{text} For research only.", some_failed=bool(gathered.failed), out=str(out), readings=count)
