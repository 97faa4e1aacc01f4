"""Parse JSON and TOML files within limits; every fault of a file raises ``MalformedFile``.

Python's parsers raise ``RecursionError`` on deep nesting and ``ValueError`` on long integers, accept NaN, duplicate
keys and lone surrogates, and return nesting on which our own recursive functions fail later. A test checks that no
other module calls them.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from napari_melanoma.core.errors import MalformedFile
from napari_melanoma.core.garbage_collection import paused_garbage_collection

MAX_JSON_BYTES = 256 * 1024**2
MAX_TOML_BYTES = 256 * 1024  # for a recipe or options; tomllib takes up to a second for it
MAX_DEPTH = 100  # nested levels; in QuPath's files each generation of child objects takes two
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
LARGEST_INTEGER = 2**64
# With each digit as a zero and without plus, so that literals find them: each search of 90 MB takes 0.1 s. Hexadecimal
# identifiers contain parts such as 4e123, too.
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789E", b"0" * 9 + b"e")
_LONG_INTEGER, _DIGITS = b"0" * 19, re.compile(rb"0*")
_NOT_BEFORE_INTEGER = b'."abcdefABCDF'  # but before decimals, and in texts
_LONG_EXPONENT = b"0e000"
_REST_OF_EXPONENT = re.compile(rb"0*(?=[\s,\]}]|$)")
_SUSPECT_TEXT = re.compile(r"\\u[dD][89a-fA-F]")
_QUOTED = re.compile(r"\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"|'[^'\n]*'")
_KEY = re.compile(r"[ \t]*[\w-]+[ \t]*")
_LONGEST_REASON = 200
Shape = TypeVar("Shape")
Conversion = Callable[[dict[str, Any]], None]
CONTAINERS = (dict, list)  # of which a tuple is tested four times as fast as a union


def read_json(
    path: Path, max_bytes: int = MAX_JSON_BYTES, *, allow_nan: bool = False, convert: Conversion | None = None
) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file, with a byte order mark or without; the arguments are those of ``parse_json``."""
    return parse_json(read_limited(path, max_bytes), str(path), allow_nan=allow_nan, convert=convert)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise _malformed(str(path), f"it contains a {type(content).__name__}, expected an object with keys and values")
    return content


def read_object_or_empty(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object; empty if it does not exist or cannot be read."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def parse_json(text: str | bytes, where: str, *, allow_nan: bool = False, convert: Conversion | None = None) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Parse JSON.

    ``text``: bytes are UTF-8. ``where``: origin of the text, for error messages. ``convert``: changes each object as
    soon as it is read, so that what it leaves out or compacts takes no memory.
    """
    text = _decode(text, where)
    parsers: dict[str, Any] = {"parse_constant": float if allow_nan else _reject_constant}
    if _may_overflow(text):
        parsers |= {"parse_int": _parse_integer, "parse_float": _parse_float}
    try:
        with paused_garbage_collection():
            content = json.loads(text, object_pairs_hook=partial(_build_object, convert=convert), **parsers)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(content)
        if _SUSPECT_TEXT.search(text):  # surrogates of file names that are not UTF-8 are valid, others are damage
            json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _malformed(where, "a text in it contains half of a surrogate pair, which is not a character") from None
    except RecursionError:
        raise _malformed(where, _TOO_DEEP) from None
    except ValueError as error:
        raise _malformed(where, _not_valid_reason("JSON", text, error)) from error
    return content


@cache
def shape_parser(shape: type[Shape]) -> Callable[[bytes], Shape]:
    """Return a parser of JSON in UTF-8 of one shape, which raises ``ValueError`` for all other JSON.

    ``shape``: a type of msgspec. The parser takes a tenth of the time of ``parse_json`` and the limits follow from the
    shape, but of a repeated key it returns the last value: count the quotation marks.
    """
    import msgspec

    decode = msgspec.json.Decoder(shape).decode

    def parse(text: bytes) -> Shape:
        try:
            return decode(text)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    return parse


def read_toml_table(path: Path) -> dict[str, Any]:
    """Read a TOML file, with a byte order mark or without."""
    return parse_toml(read_limited(path, MAX_TOML_BYTES), str(path))


def parse_toml(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse TOML.

    ``text``: bytes are UTF-8. ``where``: origin of the text, for error messages.
    """
    import tomllib

    text = _decode(text, where).replace("\r\n", "\n")
    if len(text) > MAX_TOML_BYTES:
        raise _malformed(where, _too_large(MAX_TOML_BYTES))
    try:
        _check_dots(text)
        content = tomllib.loads(text)
        _check_depth(content)
        _check_integers(content)
    except RecursionError:
        raise _malformed(where, _TOO_DEEP) from None
    except ValueError as error:
        raise _malformed(where, _not_valid_reason("TOML", text, error)) from error
    return content


def parse_error_reason(error: Exception) -> str:
    """Return why a file could not be read, for a message that names the file."""
    if isinstance(error, MalformedFile):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shorten(f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__)


def _malformed(where: str, reason: str) -> MalformedFile:
    return MalformedFile(f"cannot read {where}: {reason}. Restore the file from a backup, or create it again.", reason)


def read_limited(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Read a file, decompressing gzip, unless it is too large to be parsed."""
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            content = (gzip.GzipFile(fileobj=file) if is_compressed else file).read(max_bytes + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _malformed(str(path), f"its compressed content is damaged ({error})") from error
    if len(content) > max_bytes:
        raise _malformed(str(path), _too_large(max_bytes))
    return content


def _decode(text: str | bytes, where: str) -> str:
    try:
        return text.removeprefix("\ufeff") if isinstance(text, str) else text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(where, f"it is not text in UTF-8 (byte {error.start})") from error


def _may_overflow(text: str) -> bool:
    """Whether a text contains what may be a number of more than 64 bits."""
    zeros = text.encode("utf-8", "surrogatepass").translate(_DIGITS_AS_ZEROS, b"+")
    start = zeros.find(_LONG_INTEGER)
    while start >= 0:
        if not start or zeros[start - 1] not in _NOT_BEFORE_INTEGER:
            return True
        rest = _DIGITS.match(zeros, start)
        start = zeros.find(_LONG_INTEGER, rest.end() if rest else len(zeros))
    start = zeros.find(_LONG_EXPONENT)
    while start >= 0:
        end = start + len(_LONG_EXPONENT)
        if _REST_OF_EXPONENT.match(zeros, end):
            return True
        start = zeros.find(_LONG_EXPONENT, end)
    return False


def _build_object(pairs: list[tuple[str, Any]], convert: Conversion | None) -> dict[str, Any]:
    """Build an object from its keys and values; raise ``ValueError`` for a repeated key."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key '{shorten(repeated, 60)}' occurs more than once in an object")
    if convert:
        convert(values)
    return values


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _parse_integer(digits: str) -> int:
    integer = int(digits) if len(digits) <= 21 else LARGEST_INTEGER
    _check_integer(integer)
    return integer


def _parse_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {shorten(digits)} is too large")
    return value


def _check_integer(value: int) -> None:
    if abs(value) >= LARGEST_INTEGER:
        raise ValueError("an integer has more than 64 bits")


def _check_depth(content: Any) -> None:  # noqa: ANN401 - whatever JSON or TOML can hold
    """Raise ``RecursionError`` if values are nested too deeply; the check itself is not recursive."""
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH):
        parts = (part.values() if type(part) is dict else part for part in level)
        level = [item for item in chain.from_iterable(parts) if type(item) in CONTAINERS]
    if level:
        raise RecursionError


def _check_dots(text: str) -> None:
    """Raise ``RecursionError`` for a dotted key with too many parts: tomllib takes minutes for 400,000."""
    length = 0
    for part in _QUOTED.sub("q", text).split("."):
        length = length + 1 if _KEY.fullmatch(part) else 0
        if length > MAX_DEPTH:
            raise RecursionError


def _check_integers(content: Any) -> None:  # noqa: ANN401 - whatever TOML can hold
    if isinstance(content, int):
        _check_integer(content)
    elif isinstance(content, dict | list):
        for item in content.values() if isinstance(content, dict) else content:
            _check_integers(item)


def _too_large(max_bytes: int) -> str:
    return f"it has more than {max_bytes // 1024} KiB, which is too large for this type of file"


def _not_valid_reason(kind: str, text: str, error: ValueError) -> str:
    """Describe a parser's error, shortened; ``kind``: JSON or TOML."""
    message = "it is empty" if not text.strip() else shorten(str(error))
    if "integer string conversion" in message:  # Python's message names a function of sys
        message = "an integer has more than 64 bits"
    return f"it is not valid {kind}: {message}"


def shorten(text: str, max_length: int = _LONGEST_REASON) -> str:
    """Shorten a text from a file for a message; three dots mark the missing end."""
    return text if len(text) <= max_length else f"{text[:max_length]}..."
