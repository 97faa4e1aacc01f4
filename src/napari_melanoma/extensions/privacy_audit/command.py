"""Command ``audit``: list the personal data in files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.extensions.privacy_audit.audit import PrivacyFinding

HELP = format_help(
    "napari-melanoma audit results",
    "napari-melanoma audit dataset.zip --json",
    "List personal data in files and folders: names, births, record numbers, addresses, dates, places, "
    "serial numbers, paths and accounts, in DICOM, EXIF, TIFF and slides, PNG, tables, JSON, pages, logs and archives; "
    "each with a masked example and a recommendation. Nothing is changed. Faces and text in the pixels are not "
    "detected. The exit code is 1 if something was found or a file could not be examined.",
)
MAX_LISTED_FILES = 50  # of those that ``audit`` could not examine; --json lists all of them


def audit(
    current: CommandSession,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders to be shared.")],
) -> None:
    """List personal data in files."""
    from dataclasses import asdict

    from napari_melanoma.extensions.privacy_audit.audit import KINDS
    from napari_melanoma.extensions.privacy_audit.audit import audit as audit_files

    current.after_stop = "Nothing was changed; not every file was examined."
    reported_advice: set[str] = set()

    def report_finding(finding: PrivacyFinding) -> None:
        values = asdict(finding)
        repeats = f" ({finding.count} times)" if finding.count > 1 else ""
        text = f"{finding.file}: {finding.where}: {KINDS[finding.kind]}{repeats}: {finding.example}"
        current.report.emit("finding", text, what=values.pop("kind"), **values)
        if finding.what_to_do not in reported_advice and not current.as_json:
            reported_advice.add(finding.what_to_do)
            current.report.emit("advice", f"    {finding.what_to_do}")

    result = audit_files(paths, report_finding, run=current.run)
    for name, reason in list(result.skipped.items())[: None if current.as_json else MAX_LISTED_FILES]:
        current.report.emit("passed_over", f"not examined: {name}: {reason}", file=name, reason=reason)
    counts = ", ".join(f"{kind} {count}" for kind, count in result.counts.most_common())
    skipped = format_count(len(result.skipped), "file")
    missed = f"; {skipped} could not be examined" if result.skipped else ""
    text = f"Found in {format_count(result.files, 'file')}: {counts or 'nothing'}{missed}."
    values = {"files": result.files, "counts": dict(result.counts), "not_looked_into": len(result.skipped)}
    current.finish(text, some_failed=not result.clean, **values)


COMMAND = Command(audit, HELP)
