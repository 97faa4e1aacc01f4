"""Names of images that are names of files everywhere: on every file system, in a spreadsheet and on a command line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

LONGEST = 64
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices of Windows


def safe_name(name: str) -> str:
    """Turn a name into one that is a file name on every system.

    Parameters
    ----------
    name : str
        Such as the stem of a photograph's file.

    Returns
    -------
    str
        1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``; no hidden file, no option, no device and no formula.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:LONGEST].strip("._-")
    return f"image-{plain}".rstrip("-") if not plain or _RESERVED.fullmatch(plain) else plain


def free_name(name: str, taken: Container[str]) -> str:
    """Number a name until it is free.

    Parameters
    ----------
    name : str
        As ``safe_name`` gives it.
    taken : container of str
        Names in lower case that are not free; macOS and Windows do not tell case apart.

    Returns
    -------
    str
        ``name``, or ``name-2``, ``name-3`` ...
    """
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    return free
