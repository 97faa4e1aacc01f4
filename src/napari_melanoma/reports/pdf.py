"""Reports as PDF files, printed by WeasyPrint, or by Qt if WeasyPrint cannot be loaded; no browser is needed."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.processes import NO_CONSOLE, python_command
from napari_melanoma.reports.page import GENERATOR, Report, render_report

if TYPE_CHECKING:
    from napari_melanoma.reports.printed_page import PrintJob

Paper = Literal["a4", "letter"]
PAPERS: tuple[Paper, ...] = get_args(Paper)
INSTALL_LIBRARIES = (
    "Install Pango with the libraries that it needs, which are no Python packages. "
    "Debian and Ubuntu: sudo apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0. "
    "macOS: brew install pango. Windows: install MSYS2, then pacman -S mingw-w64-ucrt-x86_64-pango"
)
INSTALL_WEASYPRINT = "Reinstall it: pip install --force-reinstall weasyprint cffi"
LIBRARIES = {"gobject": "GLib", "pango": "Pango", "harfbuzz": "HarfBuzz", "fontconfig": "Fontconfig"}
UNTAGGED = "printed by Qt, without tags for screen readers."
PRINTER = "napari_melanoma.ui.printing"  # a process of its own: Qt may abort it
PRINT_S = 300.0


class WeasyPrintError(MelanomaError):
    """WeasyPrint cannot be used: ``missing`` states what cannot be loaded, ``advice`` how to install it."""

    def __init__(self, missing: str, advice: str, reason: str = "") -> None:
        detail = f" ({reason})" if reason else ""
        super().__init__(
            f"Tagged PDF files, which screen readers can read, need WeasyPrint: {missing}. {advice}{detail}."
        )
        self.missing, self.advice = missing, advice

    @classmethod
    def from_error(cls, error: ImportError | OSError) -> Self:
        """Name the package or the library that cannot be loaded."""
        reason = " ".join(str(error).split())
        if isinstance(error, ImportError):
            return cls(f"the Python package cannot be imported ({reason})", INSTALL_WEASYPRINT)
        found = re.search(r"cannot load library '([^']+)'", reason)
        if found is None:
            return cls(f"it cannot be loaded ({reason})", INSTALL_WEASYPRINT)
        library = found[1]
        project = next((title for part, title in LIBRARIES.items() if part in library), "")
        named = f"{library} ({project})" if project else library
        return cls(f"the library {named} cannot be loaded", INSTALL_LIBRARIES, reason)


def write_pdf(report: Report, pdf: Path, paper: Paper = "a4") -> str:
    """Print a report with its pictures, and without its light or dark screen colors.

    WeasyPrint makes a tagged PDF file (PDF/UA-1); where it cannot be loaded, Qt prints the same content without tags.
    The metadata of the file name the producer. Nothing outside the report is read, neither files nor addresses. A few
    pages take about 5 s.

    Returns a sentence why the file has no tags; "" if it has them.

    Raises InputError for an unknown paper size, MelanomaError if neither program can print, SaveError if ``pdf`` cannot
    be written.
    """
    if paper not in PAPERS:
        raise InputError(f"expected a paper size of {' or '.join(PAPERS)}, found '{paper}'.")
    note = ""
    try:
        content = print_with_weasyprint(render_report(report), paper)
    except WeasyPrintError as missing:
        note = f"{UNTAGGED} {missing}"
        try:
            content = print_with_qt(report, paper)
        except MelanomaError as error:
            raise MelanomaError(
                f"the PDF file cannot be printed: {error} Open the HTML report in a browser and print it. {missing}"
            ) from error
    with atomic_file(pdf) as temporary:
        temporary.write_bytes(content)
    return note


def print_with_weasyprint(html: str, paper: Paper) -> bytes:
    """Lay out a self-contained page; raise WeasyPrintError where it cannot be used."""
    weasyprint = load_weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    document = weasyprint.HTML(string=html, base_url="about:blank", url_fetcher=fetcher)
    size = weasyprint.CSS(string=f"@page {{ size: {paper} }}")
    pages: bytes = document.write_pdf(finisher=_keep_metadata_readable, stylesheets=[size], pdf_variant="pdf/ua-1")
    return pages


def print_with_qt(report: Report, paper: Paper) -> bytes:
    """Lay out a report with Qt."""
    from napari_melanoma.reports.printed_page import prepare_print

    return run_printer(prepare_print(report, paper))


def run_printer(job: PrintJob) -> bytes:
    """Print with Qt in a separate process, with the binding that this process uses; raise MelanomaError on failure.

    No display is needed on Linux. On macOS without a window server, Qt aborts the process, which is then started again
    with the platform ``offscreen``.
    """
    environment = dict(os.environ)
    if "qtpy" in sys.modules:  # not imported here: only the viewer needs Qt
        environment["QT_API"] = sys.modules["qtpy"].API
    try:
        done = _start_printer(job, environment)
        if done.returncode < 0 and sys.platform == "darwin":
            done = _start_printer(job, {**environment, "QT_QPA_PLATFORM": "offscreen"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MelanomaError(f"Qt's printer gave no result ({error}).") from error
    if done.returncode or not done.stdout.startswith(b"%PDF"):
        lines = done.stderr.decode("utf-8", "replace").split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), f"code {done.returncode}")
        raise MelanomaError(f"Qt's printer failed ({reason}).")
    return done.stdout


def _start_printer(job: PrintJob, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run the printer until it ends."""
    return subprocess.run(
        python_command(module=PRINTER),
        input=json.dumps(asdict(job)).encode("utf-8"),
        env=environment,
        capture_output=True,
        timeout=PRINT_S,
        creationflags=NO_CONSOLE,
        check=False,
    )


def _keep_metadata_readable(document: Any, pdf: Any) -> None:  # noqa: ANN401 - weasyprint's Document, pydyf's PDF
    """Store the metadata uncompressed, so that ``is_pdf_report`` can find them without parsing the file."""
    for one in pdf.objects:
        if getattr(one, "extra", {}).get("Type") == "/Metadata":
            one.compress = False


def is_pdf_report(path: Path) -> bool:
    """Return whether a PDF file is a report that was written by this program, by the creator in its metadata.

    Versions of Qt before 6.8 may write the creator only into the document information, in UTF-16.
    """
    content = path.read_bytes()
    in_xmp = (f"CreatorTool{text}".encode() for text in (f">{GENERATOR}<", f'="{GENERATOR}"'))
    in_information = b"/Creator (" + codecs.BOM_UTF16_BE + GENERATOR.encode("utf-16-be") + b")"
    return any(text in content for text in (*in_xmp, in_information))


def load_weasyprint() -> ModuleType:
    """Import WeasyPrint, which takes some seconds; raise WeasyPrintError where it cannot be used."""
    from PIL import ImageFile

    reads_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints, and warns of the future
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import weasyprint
            import weasyprint.text.ffi
            import weasyprint.urls
        except (ImportError, OSError) as error:
            raise WeasyPrintError.from_error(error) from error
        finally:  # it makes Pillow accept truncated images, photographs of patients included
            ImageFile.LOAD_TRUNCATED_IMAGES = reads_truncated
    return weasyprint


def layout_versions() -> dict[str, str]:
    """Return the versions of WeasyPrint and Pango; raise WeasyPrintError where they cannot be loaded."""
    weasyprint = load_weasyprint()
    pango = weasyprint.text.ffi.pango.pango_version()  # 15206 is 1.52.6
    return {"weasyprint": weasyprint.__version__, "pango": f"{pango // 10000}.{pango // 100 % 100}.{pango % 100}"}


if __name__ == "__main__":  # as a program for `doctor`
    try:
        found = layout_versions()
    except WeasyPrintError as error:
        found = {"missing": error.missing, "fix": error.advice}
    sys.stdout.write(json.dumps(found) + "\n")
