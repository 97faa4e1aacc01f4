"""``audit``: what a folder would give away of a person before it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, examples
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.privacy.rules import PrivacyFinding

HELP = examples(
    "napari-melanoma audit results",
    "napari-melanoma audit dataset.zip --json",
    "List what files and folders would give away of a person: names, births, record numbers, addresses, dates, places, "
    "serial numbers, paths and accounts, in DICOM, EXIF, TIFF and slides, PNG, tables, JSON, pages, logs and archives; "
    "each with an example that is masked and what to do. Nothing is changed. Faces and text in the pixels are not "
    "looked for. The exit code is 1 where something was found or a file could not be looked into.",
)
MAX_SHOWN = 50  # files that could not be looked into, told one by one


def audit(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders that are to be handed on.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List what files would give away."""
    with command_session(json, debug) as current:
        from dataclasses import asdict

        from napari_melanoma import privacy as auditing

        current.after_stop = "Nothing was changed; not every file was looked into."
        advised: set[str] = set()

        def tell(finding: PrivacyFinding) -> None:
            values = asdict(finding)
            current.report.emit("finding", _format_finding(finding), what=values.pop("kind"), **values)
            if finding.what_to_do not in advised and not json:
                advised.add(finding.what_to_do)
                current.report.emit("advice", f"    {finding.what_to_do}")

        found = auditing.audit(paths, tell, run=current.run)
        for name, reason in list(found.skipped.items())[: None if json else MAX_SHOWN]:
            current.report.emit("passed_over", f"not looked into: {name}: {reason}", file=name, reason=reason)
        counts = ", ".join(f"{kind} {count}" for kind, count in found.counts.most_common())
        missed = f"; {len(found.skipped)} files could not be looked into" if found.skipped else ""
        text = f"Found in {found.files} files: {counts or 'nothing'}{missed}."
        values = {"files": found.files, "counts": dict(found.counts), "not_looked_into": len(found.skipped)}
        current.finish(text, some_failed=not found.clean, **values)


def _format_finding(finding: PrivacyFinding) -> str:
    """One line of a finding."""
    often = f" ({finding.count} times)" if finding.count > 1 else ""
    return f"{finding.file}: {finding.where}: {finding.title}{often}: {finding.example}"
