"""Pseudonyms: the same patient always gets the same pseudonym, and without the key it cannot be reversed.

A pseudonym is an HMAC-SHA256 (RFC 2104) of the name of a patient in the hospital or data set, with a key of 256 bits
that is stored only in the user's configuration folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from functools import cache
from pathlib import Path

from napari_melanoma.core.errors import ConfigError, SaveError
from napari_melanoma.core.files import atomic_file, save_error

PROJECT_VARIABLE = "NAPARI_MELANOMA_PROJECT"
DEFAULT_PROJECT = "default"
KEY_BYTES = 32
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without I, L, O, U, which are easily misread
HALF = 6  # letters in each half, 5 bits each: 50 identify a patient (of 400,000, two collide in one of 14,000 projects)
CHECK = 2  # the last letters verify that this project created the pseudonym
PREFIXES = {"patient": "P", "lesion": "L", "image": "I", "study": "S"}
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.I)  # no valid file names on Windows, with any suffix
SHAPE = re.compile(rf"[A-Z]-[{LETTERS}]{{{HALF}}}-[{LETTERS}]{{{HALF}}}")


def pseudonym(text: str, kind: str = "patient", project: str | None = None) -> str:
    """Return the pseudonym of a patient, lesion, image or study: the same for the same text, kind and project.

    Such as ``P-7F3K2Q-9XMAB4``; empty for an empty text. A pseudonym of this project is returned unchanged.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or is_pseudonym(name, kind, project):
        return name
    key, prefix = _project_key(project), _prefix(kind)
    return _with_check_letter(key, prefix, _encode_letters(key, f"{kind}\n{name}", 2 * HALF - CHECK))


def is_pseudonym(text: str, kind: str = "patient", project: str | None = None) -> bool:
    """Return whether a text is a pseudonym of this project; False for those of other projects and similar ids."""
    prefix = _prefix(kind)
    if not (SHAPE.fullmatch(text) and text.startswith(prefix)):
        return False
    payload = text[2:].replace("-", "")[:-CHECK]
    return hmac.compare_digest(text, _with_check_letter(_project_key(project), prefix, payload))


def keyed_digest(text: str, project: str | None = None) -> bytes:
    """Return the HMAC-SHA256 (32 bytes) of a text with the key of the project, which is created if missing."""
    return hmac.digest(_project_key(project), text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def key_id(project: str | None = None, *, make: bool = True) -> str:
    """Return an id of the project's key, 16 hexadecimal digits, from which the key cannot be derived.

    Empty if there is no key and none is created.
    """
    if not make and not find_key_file(project).exists():
        return ""
    return keyed_digest("id of the key", project).hex()[:16]


def project_name() -> str:
    """Return the current project: the environment variable ``NAPARI_MELANOMA_PROJECT``, or ``default``."""
    return os.environ.get(PROJECT_VARIABLE, "").strip() or DEFAULT_PROJECT


def find_key_file(project: str | None = None) -> Path:
    """Return the key file of a project, in the user's configuration folder; it may not exist yet.

    With the key, pseudonyms can be linked to patients.
    """
    from platformdirs import user_config_path

    name = project_name() if project is None else project
    if not re.fullmatch(r"\w[\w .-]{0,63}", name) or DEVICES.match(name):
        raise ConfigError(
            f"the project is called {name!r}: expected up to 64 letters, digits, spaces, dots, '-' or '_', and not the "
            f"name of a device such as CON. Choose another name in {PROJECT_VARIABLE}."
        )
    return user_config_path("napari-melanoma", appauthor=False) / "pseudonyms" / f"{name}.key"


def _prefix(kind: str) -> str:
    """Return the letter before the hyphen."""
    if kind not in PREFIXES:
        raise ConfigError(f"there is no pseudonym for {kind!r}. Expected one of: {', '.join(PREFIXES)}.")
    return PREFIXES[kind]


def _with_check_letter(key: bytes, prefix: str, payload: str) -> str:
    """Return the complete pseudonym for its identifying letters."""
    letters = payload + _encode_letters(key, f"check\n{prefix}{payload}", CHECK)
    return f"{prefix}-{letters[:HALF]}-{letters[HALF:]}"


def _encode_letters(key: bytes, text: str, count: int) -> str:
    """Encode the first bits of the HMAC of a text as letters of 5 bits each."""
    number = int.from_bytes(hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256), "big")
    return "".join(LETTERS[number >> shift & 31] for shift in range(251, 251 - 5 * count, -5))


def _project_key(project: str | None) -> bytes:
    """Return the key of a project, created at first use."""
    return _read_key(find_key_file(project))


@cache  # by path: it is needed for each row of a table
def _read_key(path: Path) -> bytes:
    """Read a key file, or create it."""
    if not path.exists():
        _write_key(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise _damaged_key_error(path, str(error)) from error
    if len(key) != KEY_BYTES:
        raise _damaged_key_error(path, f"it has {len(key)} bytes")
    return key


def _write_key(path: Path) -> None:
    """Write a new key readable by this user only, unless another process has just done so."""
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=10):
            if not path.exists():
                with atomic_file(path) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")
    except Timeout:
        raise SaveError(f"cannot write {path}: another process holds {path.with_suffix('.lock')}.") from None
    except OSError as error:
        raise save_error(path, error) from error


def _damaged_key_error(path: Path, found: str) -> ConfigError:
    """Create the error for an invalid key; a new key would change all pseudonyms."""
    return ConfigError(
        f"the key of the pseudonyms in {path} cannot be read: expected {2 * KEY_BYTES} hexadecimal digits, found: "
        f"{found}. Restore a copy of it. Without a copy, remove the file: a new key is created, and all pseudonyms "
        "change."
    )
