"""Names instead of names: the same patient always has the same one, and nobody without the key can tell whose it is.

A pseudonym is an HMAC-SHA256 (RFC 2104) of what the hospital or the data set calls somebody, with a key of 256 bits
that lies in the user's configuration folder and is never written anywhere else. It is a module of ``core`` because
cases, importers and writers of results have to give the same one.
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
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O, U: they are misread when somebody copies them by hand
HALF = 6  # letters in each half, 5 bits each: 50 tell people apart (400,000 of them collide once in 14,000 projects)
CHECK = 2  # the last letters say that this project gave the name
PREFIXES = {"patient": "P", "lesion": "L", "image": "I", "study": "S"}
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.I)  # no names of files on Windows, with any suffix
SHAPE = re.compile(rf"[A-Z]-[{LETTERS}]{{{HALF}}}-[{LETTERS}]{{{HALF}}}")


def pseudonym(text: str, kind: str = "patient", project: str | None = None) -> str:
    """Give what somebody, or something of theirs, is called outside: the same for the same text, kind and project.

    Such as ``P-7F3K2Q-9XMAB4``; empty where the text is. One that this project gave before stays as it is.
    """
    said = unicodedata.normalize("NFC", text).strip()
    if not said or is_pseudonym(said, kind, project):
        return said
    key, prefix = _project_key(project), _prefix(kind)
    return _with_check_letter(key, prefix, _encode_letters(key, f"{kind}\n{said}", 2 * HALF - CHECK))


def is_pseudonym(text: str, kind: str = "patient", project: str | None = None) -> bool:
    """Say whether this project gave a name, so that nothing is renamed twice.

    False for the pseudonyms of other projects, and for ids that only look like one.
    """
    prefix = _prefix(kind)
    if not (SHAPE.fullmatch(text) and text.startswith(prefix)):
        return False
    payload = text[2:].replace("-", "")[:-CHECK]
    return hmac.compare_digest(text, _with_check_letter(_project_key(project), prefix, payload))


def keyed_digest(text: str, project: str | None = None) -> bytes:
    """Give an HMAC-SHA256 of a text with the key of the project, which is made where there is none.

    32 bytes.
    """
    return hmac.digest(_project_key(project), text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def key_id(project: str | None = None, *, make: bool = True) -> str:
    """Name the key of the project, without a way back to it.

    16 hexadecimal digits; empty where there is no key and none is made.
    """
    if not make and not find_key_file(project).exists():
        return ""
    return keyed_digest("id of the key", project).hex()[:16]


def project_name() -> str:
    """Name of the project at hand: the environment variable ``NAPARI_MELANOMA_PROJECT``, or ``default``."""
    return os.environ.get(PROJECT_VARIABLE, "").strip() or DEFAULT_PROJECT


def find_key_file(project: str | None = None) -> Path:
    """File that holds the key of a project; whoever has it can tell which patient a pseudonym is.

    In the user's configuration folder; it need not exist yet.
    """
    from platformdirs import user_config_path

    name = project_name() if project is None else project
    if not re.fullmatch(r"\w[\w .-]{0,63}", name) or DEVICES.match(name):
        raise ConfigError(
            f"the project is called {name!r}: expected up to 64 letters, digits, spaces, dots, '-' or '_', and no name "
            f"of a device such as CON. Choose another name in {PROJECT_VARIABLE}."
        )
    return user_config_path("napari-melanoma", appauthor=False) / "pseudonyms" / f"{name}.key"


def _prefix(kind: str) -> str:
    """Letter before the dash."""
    if kind not in PREFIXES:
        raise ConfigError(f"there is no pseudonym for {kind!r}. Expected one of: {', '.join(PREFIXES)}.")
    return PREFIXES[kind]


def _with_check_letter(key: bytes, prefix: str, payload: str) -> str:
    """The whole name from the letters that tell people apart."""
    letters = payload + _encode_letters(key, f"check\n{prefix}{payload}", CHECK)
    return f"{prefix}-{letters[:HALF]}-{letters[HALF:]}"


def _encode_letters(key: bytes, text: str, count: int) -> str:
    """The first bits of the HMAC of a text, as letters of 5 bits each."""
    number = int.from_bytes(hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256), "big")
    return "".join(LETTERS[number >> shift & 31] for shift in range(251, 251 - 5 * count, -5))


def _project_key(project: str | None) -> bytes:
    """The key of a project, made when it is first asked for."""
    return _read_key(find_key_file(project))


@cache  # by its path: a table of 400,000 rows asks for it as many times
def _read_key(path: Path) -> bytes:
    """Read the key in a file, or write a new one."""
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
    """Write a new key that only this user may read, unless another process does so at the same moment."""
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
    """Say that a key is none, and that a new one would give everybody another name."""
    return ConfigError(
        f"the key of the pseudonyms in {path} cannot be read: expected {2 * KEY_BYTES} hexadecimal digits, found: "
        f"{found}. Put back a copy of it. Without one, remove the file: a new key is made, and everybody gets another "
        "pseudonym."
    )
