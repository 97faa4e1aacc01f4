"""Pseudonyms of patients, lesions, images and studies.

The same patient always gets the same pseudonym, from which the patient cannot be found without the key. A pseudonym
is derived by HMAC-SHA256 (RFC 2104) from the patient's name or id in the hospital or data set, with a key of 256 bits
that is stored only in the user's configuration folder. Each project has its own key.
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

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.locks import hold_lock

PROJECT_VARIABLE = "NAPARI_MELANOMA_PROJECT"
DEFAULT_PROJECT = "default"
KEY_BYTES = 32
LOCK_TIMEOUT_S = 10.0  # to wait for another process that writes the key
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without I, L, O and U, which are easily misread
# Letters of 5 bits in each half of a pseudonym, of which the last two verify that this project created it. The other 50
# bits identify a patient: in one of 14,000 projects, two of 400,000 patients get the same pseudonym.
HALF, CHECK = 6, 2
PREFIXES = {"patient": "P", "lesion": "L", "image": "I", "study": "S"}
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.I)  # no valid file names on Windows, with any suffix
SHAPE = re.compile(rf"[A-Z]-[{LETTERS}]{{{HALF}}}-[{LETTERS}]{{{HALF}}}")


def pseudonym(text: str, kind: str = "patient", project: str | None = None) -> str:
    """Return the pseudonym of a patient, lesion, image or study, such as ``P-7F3K2Q-9XMAB4``.

    It is the same for the same text, kind and project. An empty text, and a pseudonym of this project, are returned
    unchanged.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or is_pseudonym(name, kind, project):
        return name
    key, prefix = _project_key(project), _find_prefix(kind)
    return _add_check_letters(key, prefix, _encode_letters(key, f"{kind}\n{name}", 2 * HALF - CHECK))


def is_pseudonym(text: str, kind: str = "patient", project: str | None = None) -> bool:
    """Return whether a text is a pseudonym of this project; False for pseudonyms of other projects."""
    prefix = _find_prefix(kind)
    if not (SHAPE.fullmatch(text) and text.startswith(prefix)):
        return False
    payload = text[2:].replace("-", "")[:-CHECK]
    return hmac.compare_digest(text, _add_check_letters(_project_key(project), prefix, payload))


def keyed_digest(text: str, project: str | None = None) -> bytes:
    """Return the HMAC-SHA256 (32 bytes) of a text with the key of the project, which is created if missing."""
    return hmac.digest(_project_key(project), text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def key_id(project: str | None = None, *, make: bool = True) -> str:
    """Return an id of the project's key, 16 hexadecimal digits, from which the key cannot be derived.

    A missing key is created; with ``make=False``, "" is returned instead.
    """
    if not make and not find_key_file(project).exists():
        return ""
    return keyed_digest("id of the key", project).hex()[:16]


def project_name() -> str:
    """Return the current project: the environment variable ``NAPARI_MELANOMA_PROJECT``, or ``default``."""
    return os.environ.get(PROJECT_VARIABLE, "").strip() or DEFAULT_PROJECT


def find_key_file(project: str | None = None) -> Path:
    """Return the key file of a project, in the user's configuration folder; it may not exist yet.

    Keep it secret: with the key, users can find out which pseudonym belongs to which patient.
    """
    from platformdirs import user_config_path

    name = project_name() if project is None else project
    if not re.fullmatch(r"\w[\w .-]{0,63}", name) or DEVICES.match(name):
        raise ConfigError(
            f"the project is called {name!r}: expected up to 64 letters, digits, spaces, dots, '-' or '_', and not the "
            f"name of a device such as CON. Choose another name in {PROJECT_VARIABLE}."
        )
    return user_config_path("napari-melanoma", appauthor=False) / "pseudonyms" / f"{name}.key"


def _find_prefix(kind: str) -> str:
    if kind not in PREFIXES:
        raise ConfigError(f"there is no pseudonym for {kind!r}. Expected one of: {', '.join(PREFIXES)}.")
    return PREFIXES[kind]


def _add_check_letters(key: bytes, prefix: str, payload: str) -> str:
    """Return the complete pseudonym for the identifying letters ``payload``."""
    letters = payload + _encode_letters(key, f"check\n{prefix}{payload}", CHECK)
    return f"{prefix}-{letters[:HALF]}-{letters[HALF:]}"


def _encode_letters(key: bytes, text: str, count: int) -> str:
    """Encode the first bits of the HMAC of a text as letters of 5 bits each."""
    number = int.from_bytes(hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256), "big")
    return "".join(LETTERS[number >> shift & 31] for shift in range(251, 251 - 5 * count, -5))


def _project_key(project: str | None) -> bytes:
    """Return the key of a project, created at first use."""
    return _read_key(find_key_file(project))


@cache  # the key is needed for each row of a table
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
    """Write a new key that only this user can read, unless another process has just written one."""
    with hold_lock(path.with_suffix(".lock"), LOCK_TIMEOUT_S):
        if not path.exists():
            with atomic_file(path) as temporary:
                temporary.touch(mode=0o600)
                temporary.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")


def _damaged_key_error(path: Path, fault: str) -> ConfigError:
    """Create the error for an invalid key, which is not replaced because a new key would change all pseudonyms."""
    return ConfigError(
        f"the key of the pseudonyms in {path} cannot be read: expected {2 * KEY_BYTES} hexadecimal digits, found: "
        f"{fault}. Restore a copy of it. Without a copy, remove the file: a new key is created, and all pseudonyms "
        "change."
    )
