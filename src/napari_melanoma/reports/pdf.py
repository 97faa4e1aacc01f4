"""HTML reports as PDF files, laid out by WeasyPrint: no browser is needed."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.reports.page import GENERATOR

Paper = Literal["a4", "letter"]
PAPERS: tuple[Paper, ...] = get_args(Paper)
INSTALL_PANGO = (
    "PDF files need the library Pango, which is not a Python package. "
    "Debian and Ubuntu: sudo apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0. "
    "macOS: brew install pango. Windows: install MSYS2, then pacman -S mingw-w64-ucrt-x86_64-pango. "
    "Until then, open the HTML report in a browser and print it to a PDF file"
)


def write_pdf(html: Path, pdf: Path, paper: Paper = "a4") -> Path:
    """Print a report as a tagged PDF file (PDF/UA-1), with its pictures and without its light or dark screen colors.

    ``html``: a self-contained page; nothing that it refers to outside itself is read, neither files nor addresses.
    Returns ``pdf``. Takes about 5 s for a few pages.

    Raises InputError if ``html`` cannot be read, MelanomaError if Pango is missing, SaveError if ``pdf`` cannot be
    written.
    """
    if paper not in PAPERS:
        raise InputError(f"expected a paper size of {' or '.join(PAPERS)}, found '{paper}'.")
    try:
        text = html.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{html}' cannot be read as an HTML page: {error}.") from error
    weasyprint = load_weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"})
    document = weasyprint.HTML(string=text, base_url="about:blank", url_fetcher=fetcher)
    size = weasyprint.CSS(string=f"@page {{ size: {paper} }}")
    with atomic_file(pdf) as temporary:
        document.write_pdf(temporary, finisher=_keep_metadata_readable, stylesheets=[size], pdf_variant="pdf/ua-1")
    return pdf


def _keep_metadata_readable(document: Any, pdf: Any) -> None:  # noqa: ANN401 - weasyprint's Document, pydyf's PDF
    """Store the metadata uncompressed, so that ``is_pdf_report`` and other programs need not parse the file."""
    for one in pdf.objects:
        if getattr(one, "extra", {}).get("Type") == "/Metadata":
            one.compress = False


def is_pdf_report(path: Path) -> bool:
    """Return whether a PDF file is a report that was written by this program, by the creator in its metadata."""
    return f"CreatorTool>{GENERATOR}<".encode() in path.read_bytes()


def load_weasyprint() -> ModuleType:
    """Import WeasyPrint, which takes some seconds; raise MelanomaError where the library that it needs is missing."""
    from PIL import ImageFile

    reads_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints, and warns of the future
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import weasyprint
            import weasyprint.text.ffi
            import weasyprint.urls
        except (ImportError, OSError) as error:
            raise MelanomaError(f"{INSTALL_PANGO} ({error}).") from error
        finally:  # it makes Pillow accept truncated images, photographs of patients included
            ImageFile.LOAD_TRUNCATED_IMAGES = reads_truncated
    return weasyprint


def layout_versions() -> dict[str, str]:
    """Return the versions of WeasyPrint and Pango; raise MelanomaError where they cannot be loaded."""
    weasyprint = load_weasyprint()
    pango = weasyprint.text.ffi.pango.pango_version()  # 15206 is 1.52.6
    return {"weasyprint": weasyprint.__version__, "pango": f"{pango // 10000}.{pango // 100 % 100}.{pango % 100}"}


if __name__ == "__main__":  # as a program for `doctor`
    sys.stdout.write(json.dumps(layout_versions()) + "\n")
