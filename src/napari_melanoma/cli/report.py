"""Command ``report``: write the report of cases and results as one HTML file, and as PDF if requested."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError, MelanomaError, describe_error

HELP = format_help(
    "napari-melanoma report P-0042 --out report.html --pdf",
    "napari-melanoma report P-0042 slide-results/section --out report.html --personal",
    "Write the report of a case and of results: patient, body map, photographs with contour and scale bar, "
    "measurements, predictions, slides with lesions, readings and their agreement, and the origin of each result, as "
    "one HTML file for screens and printers. Specify case folders and result folders of photographs and slides; a "
    "slide of a case is joined with its results. The report contains no dates, file names, names of readers and ages "
    "above 89 unless --personal is given. Parts that are missing, moved or damaged are named in the report and on "
    "standard error (exit code 1), as is the reason why a PDF file cannot be written.",
)


def report(
    current: CommandSession,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="CASE|RESULT...", help="Case folders, result folders, or folders that contain them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The report, a file that ends with .html.")],
    case: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Case that is not reported, but whose lesions its slides are shown with."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write it as PDF, beside the HTML file.")] = False,
    personal: Annotated[
        bool, typer.Option("--personal", help="Include dates, file names, names of readers and all ages.")
    ] = False,
    strokes: Annotated[
        bool, typer.Option("--strokes", help="List the strokes painted on slides, by class and reader.")
    ] = False,
) -> None:
    """Write the report of a case and of results."""
    from napari_melanoma.figures.page import write_report
    from napari_melanoma.reports.case_report import collect_report
    from napari_melanoma.reports.pdf import write_pdf

    current.after_stop = "Nothing was written."
    _check_output(out, pdf=pdf)
    collected = collect_report(paths, case=case, personal=personal, strokes=strokes, run=current.run)
    current.run.check()
    write_report(out, collected.report)
    written, failures = [out], [(problem.about, problem.detail) for problem in collected.problems]
    if pdf:
        try:
            write_pdf(collected.report, out.with_suffix(".pdf"))
            written.append(out.with_suffix(".pdf"))
        except MelanomaError as error:  # the HTML file is complete, and can be printed
            failures.append(("PDF", describe_error(error)))
    current.report_failures(failures, "about")
    privacy = "It contains personal data. " if personal else ""
    text = f"{' and '.join(map(str, written))} written. {privacy}Research use only; not for diagnosis."
    current.finish(text, some_failed=bool(failures), out=str(out), files=[str(path) for path in written])


def _check_output(out: Path, *, pdf: bool) -> None:
    """Raise if an existing file that is not a report of this program would be replaced."""
    from napari_melanoma.figures.page import is_report
    from napari_melanoma.reports.pdf import is_pdf_report

    if out.suffix.lower() not in (".html", ".htm"):
        advice = "expected a file that ends with .html (--pdf also writes a PDF file)"
        raise InputError(f"--out {out} has another ending: {advice}.")
    files = [(out, is_report), *([(out.with_suffix(".pdf"), is_pdf_report)] if pdf else [])]
    for path, is_ours in files:
        if path.exists() and not (path.is_file() and is_ours(path)):
            raise InputError(f"{path} exists, and is not a report of napari-melanoma. Choose another name, or move it.")
