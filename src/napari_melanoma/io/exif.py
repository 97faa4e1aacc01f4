"""What the EXIF of a photograph says that helps to file it: day and camera; no owner, no place, no serial number."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.io.formats import DAMAGE, HEAD_BYTES, identify

if TYPE_CHECKING:
    from PIL.Image import Exif

_MAKE, _MODEL, _SOFTWARE, _CHANGED = 0x010F, 0x0110, 0x0131, 0x0132
_DETAILS, _TAKEN, _LENS = 0x8769, 0x9003, 0xA434
_DAY = re.compile(r"((?:19|20)\d\d)[:-](\d\d)[:-](\d\d)")


@dataclass(frozen=True)
class ExifHints:
    """``camera`` is maker, model, lens and program in lower case, ``taken_on`` a day (YYYY-MM-DD); "" for not said."""

    camera: str = ""
    taken_on: str = ""


def read_exif(path: Path) -> ExifHints:
    """Read the day and the camera of a photograph; its pixels are not decoded.

    Empty where there is no EXIF, or it cannot be read.
    """
    from napari_melanoma.io.pillow_images import open_lazily

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF is none
            kind = identify(file.read(HEAD_BYTES))
            if kind not in ("JPEG", "PNG", "WebP", "HEIC"):
                return ExifHints()
            file.seek(0)
            with open_lazily(file, kind) as image:
                return _hints(image.getexif())
    except DAMAGE:
        return ExifHints()


def _hints(exif: Exif) -> ExifHints:
    """Take from the tags what helps."""
    details = exif.get_ifd(_DETAILS)
    said = (exif.get(_MAKE), exif.get(_MODEL), details.get(_LENS), exif.get(_SOFTWARE))
    day = _DAY.match(str(details.get(_TAKEN) or exif.get(_CHANGED) or ""))
    camera = " ".join(text.strip("\0 ").lower() for text in said if isinstance(text, str))
    return ExifHints(camera, "-".join(day.groups()) if day else "")
