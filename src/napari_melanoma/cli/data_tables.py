"""``data harmonise``: a table of anybody's in our columns and words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, add_verb, examples
from napari_melanoma.cli.session import command_session

HARMONISE_HELP = examples(
    "napari-melanoma data harmonise HAM10000_metadata.csv --out harmonised.csv --source ham10000",
    "napari-melanoma data harmonise patients.csv --out harmonised.csv --map columns.toml",
    "Bring a table to the columns and words of the harmonised table: CSV with commas, semicolons or tabs, in UTF-8, "
    "UTF-16 or Windows-1252. No row is lost; what is not understood stays in a column of its own and is counted.",
)


def harmonise(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, also packed with gzip.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The new table; replaced where it exists.")],
    source: Annotated[
        str,
        typer.Option("--source", metavar="NAME", help="Which public set it is: napari-melanoma data sources."),
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML that says what its columns and words mean.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Harmonise a table."""
    with command_session(json, debug) as current:
        from napari_melanoma.data.harmonize import HarmonizeOptions, harmonize_table
        from napari_melanoma.data.sources import find_source
        from napari_melanoma.data.table_mapping import TableMapping, read_mapping

        current.after_stop = "Nothing was written."
        options = HarmonizeOptions(
            source=find_source(source).spec.name if source else "",
            mapping=read_mapping(mapping) if mapping else TableMapping(),
        )
        found = harmonize_table(table, out, options, run=current.run)
        for theirs, ours in found.columns.items():
            if (theirs,) != ours:
                current.report.emit_item("column", f"{theirs} -> {', '.join(ours)}", theirs=theirs, ours=list(ours))
        for about, said in [*found.describe_unrecognized(), *found.describe_findings()]:
            current.report.emit("note", f"note: {about}: {said}", about=about, said=said)
        text = f"{found.rows} rows, {len(found.columns)} columns understood, {len(found.own)} kept as they are: {out}"
        text += f"; next: napari-melanoma data check {out}"
        values = {name: value for name, value in vars(found).items() if name not in ("rows", "columns")}
        current.finish(text, out=str(out), rows=found.rows, **values)


def add_commands(app: typer.Typer) -> None:
    """Give ``data`` its verb about tables."""
    add_verb(app, "harmonise", harmonise, HARMONISE_HELP)
