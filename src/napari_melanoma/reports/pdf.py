"""Reports as PDF files, printed by WeasyPrint; no browser is needed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.figures.page import GENERATOR, Report, render_report

INSTALL_LIBRARIES = (
    "Install Pango with the libraries that it needs, which are no Python packages. "
    "Debian and Ubuntu: sudo apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0. "
    "macOS: brew install pango. Windows: install MSYS2, then pacman -S mingw-w64-ucrt-x86_64-pango"
)
INSTALL_WEASYPRINT = "Reinstall it: pip install --force-reinstall weasyprint cffi"
LIBRARIES = {"gobject": "GLib", "pango": "Pango", "harfbuzz": "HarfBuzz", "fontconfig": "Fontconfig"}
PRINT_IN_BROWSER = "Print the HTML report to PDF from the browser."


class WeasyPrintError(MelanomaError):
    """WeasyPrint cannot be used: ``missing`` states what cannot be loaded, ``advice`` how to install it."""

    def __init__(self, missing: str, advice: str, reason: str = "") -> None:
        detail = f" ({reason})" if reason else ""
        super().__init__(f"PDF files need WeasyPrint: {missing}. {PRINT_IN_BROWSER} Or: {advice}{detail}.")
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


def write_pdf(report: Report, pdf: Path) -> None:
    """Print a report with its pictures, and without its light or dark screen colors, as a tagged PDF file (PDF/UA-1).

    Nothing outside the report is read, neither files nor addresses. A few pages take about 5 s.

    Raises WeasyPrintError if WeasyPrint cannot be loaded, SaveError if ``pdf`` cannot be written.
    """
    content = print_page(render_report(report))
    with atomic_file(pdf) as temporary:
        temporary.write_bytes(content)


def print_page(html: str) -> bytes:
    """Return a self-contained page as PDF on A4; raise WeasyPrintError if WeasyPrint cannot be loaded."""
    weasyprint = load_weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    document = weasyprint.HTML(string=html, base_url="about:blank", url_fetcher=fetcher)
    size = weasyprint.CSS(string="@page { size: a4 }")
    pages: bytes = document.write_pdf(finisher=_keep_metadata_readable, stylesheets=[size], pdf_variant="pdf/ua-1")
    return pages


def _keep_metadata_readable(document: Any, pdf: Any) -> None:  # noqa: ANN401 - weasyprint's Document, pydyf's PDF
    """Store the metadata uncompressed, so that ``is_pdf_report`` can find them without parsing the file."""
    for one in pdf.objects:
        if getattr(one, "extra", {}).get("Type") == "/Metadata":
            one.compress = False


def is_pdf_report(path: Path) -> bool:
    """Return whether a PDF file is a report that was written by this program, by the creator in its metadata."""
    content = path.read_bytes()
    return any(f"CreatorTool{text}".encode() in content for text in (f">{GENERATOR}<", f'="{GENERATOR}"'))


def load_weasyprint() -> ModuleType:
    """Import WeasyPrint, which takes some seconds; raise WeasyPrintError if it cannot be loaded."""
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
    """Return the versions of WeasyPrint and Pango; raise WeasyPrintError if they cannot be loaded."""
    weasyprint = load_weasyprint()
    pango = weasyprint.text.ffi.pango.pango_version()  # 15206 is 1.52.6
    return {"weasyprint": weasyprint.__version__, "pango": f"{pango // 10000}.{pango // 100 % 100}.{pango % 100}"}


if __name__ == "__main__":  # as a program for `doctor`
    try:
        found = layout_versions()
    except WeasyPrintError as error:
        found = {"missing": error.missing, "fix": error.advice}
    sys.stdout.write(json.dumps(found) + "\n")
