"""The one place where an id, or any other text out of a file, becomes the name of a file or folder.

What it gives is a file name on every system: no device of Windows, no separator, no hidden file, no option of a command
line, no formula, not too long, and told apart where file systems do not tell case or composed letters apart.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container, Iterable

from napari_melanoma.core.files import plain_name

LONGEST = 64
LONGEST_KEPT_BYTES = 150  # of UTF-8: file systems allow 255, and suffixes and temporary names come on top
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])\s*(\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('<>:"/\\|?*')
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control and bidi characters, surrogates, private, unassigned
_DIGITS = 24  # of a digest: nobody finds two texts with one
_DIGEST = re.compile(rf"~[0-9a-f]{{{_DIGITS}}}")


def unfit_for_id(text: str) -> str:
    """Say why a text cannot be the id of an image or the like, which may only be of one line and name no path.

    Such as ``"has a '/'"``; "" where it can. Other ids that are no file names are fine: ``file_name`` maps them.
    """
    if not text.strip(" ."):
        return "is empty or consists of dots"
    found = next((character for character in text if character in "/\\"), "")
    if found:
        return f"has a '{found}'"
    unseen = "" if text.isprintable() else next(filter(_is_unseen, text), "")
    if unseen:
        return f"has a character that is not shown (U+{ord(unseen):04X})"
    if len(text.encode("utf-8", "surrogatepass")) > 255:
        return "is longer than 255 bytes"
    return ""


def is_device(name: str) -> bool:
    """Say whether Windows takes the name of a file for a device, such as ``con`` or ``LPT1.png``."""
    return _RESERVED.fullmatch(name) is not None


def is_file_name(text: str) -> bool:
    """Say whether a text is a file name as it stands, without a suffix, on every system."""
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= LONGEST_KEPT_BYTES
        and text[0] not in " .-~"
        and text[-1] not in " ."
        and not is_device(text)
        and not any(character in _FORBIDDEN for character in text)
        and (text.isprintable() or not any(map(_is_unseen, text)))
        and (text.isascii() or unicodedata.normalize("NFC", text) == text)
    )


def file_name(text: str) -> str:
    """Turn an id into a file name without suffix; different ids have different names.

    Returns the same where it is a file name already, else what can be read of it with a digest of the whole. Names that
    differ in case alone are one file on Windows and macOS: use ``file_names`` for the ids of a data set.
    """
    return text if is_file_name(text) and not _DIGEST.fullmatch(text[-_DIGITS - 1 :]) else _digested(text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Turn the ids of one set into file names of which no two are the same file anywhere.

    Id to name, as ``file_name`` gives it; of several that a file system may not tell apart, the first keeps it.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        if text not in names:
            name = file_name(text)
            names[text] = name = name if plain_name(name) not in taken else _digested(text)
            taken.add(plain_name(name))
    return names


def safe_name(name: str) -> str:
    """Turn a name into one that is a file name on every system; different names may become the same.

    1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``; no hidden file, no option, no device and no formula.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:LONGEST].strip("._-")
    return f"image-{plain}".rstrip("-") if not plain or is_device(plain) else plain


def free_name(name: str, taken: Container[str]) -> str:
    """Number a name until it is free.

    Returns ``name``, or ``name-2``, ``name-3`` ...
    """
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _is_unseen(character: str) -> bool:
    """Whether nothing is shown for a character, or it changes how others are shown."""
    return unicodedata.category(character) in _UNSEEN


def _digested(text: str) -> str:
    """What can be read of a text, and a digest of all of it; no other name ends so."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{safe_name(text)}~{digest}"
