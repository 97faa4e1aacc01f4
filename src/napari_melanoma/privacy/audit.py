"""Audit files and folders for what identifies a person."""

from __future__ import annotations

import codecs
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import IO, cast

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.formats import DAMAGE, HEAD_BYTES, Format, identify
from napari_melanoma.privacy.documents import (
    html_entries,
    json_entries,
    pictures_inside,
    sheet_entries,
    table_findings,
    toml_entries,
    xml_entries,
)
from napari_melanoma.privacy.images import dicom_entries, picture_entries, tiff_entries
from napari_melanoma.privacy.rules import Entry, Finding, found, in_name, in_text, judge

TOLD_EVERY = 20  # files between two reports of the progress
SYSTEM_FILES = {
    "thumbs.db": "thumbnails of the pictures that were in the folder",
    ".ds_store": "names of files that were in the folder",
}


@dataclass
class Audited:
    """What an audit came to: ``files`` looked at, ``counts`` of findings by kind, files that were not looked into.

    ``passed_over`` names each of those and why; of these files nothing is known.
    """

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    passed_over: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file could be looked into."""
        return not self.counts and not self.passed_over


def audit(paths: Iterable[Path], tell: Callable[[Finding], None], *, run: RunContext) -> Audited:
    """Look through files and folders for what tells who somebody is; nothing is written.

    Counts, and what could not be looked into.
    """
    result = Audited()
    for top in paths:
        if not top.exists():
            raise InputError(f"{top} does not exist. Name a file or folder that is to be handed on.")
        for path in _walk(top):
            run.check()
            name = path.name if path == top else path.relative_to(top).as_posix()
            for finding in _of_path(path, name, result):
                result.counts[finding.kind] += 1
                tell(finding)
            if path.is_dir():
                continue
            result.files += 1
            if result.files % TOLD_EVERY == 0:
                run.report(Progress(result.files, None, "Looking into files"))
    return result


def _walk(top: Path) -> Iterator[Path]:
    """A file itself; of a folder, it and all that is in it, in the order of the names."""
    if not top.is_dir():
        yield top
        return
    for parent, folders, names in os.walk(top):
        folders.sort()
        if Path(parent) != top:
            yield Path(parent)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def _of_path(path: Path, name: str, result: Audited) -> Iterator[Finding]:
    """What a file or folder gives away, by its name, as a link, and inside."""
    for kind, value in in_name(path.name):
        yield found(name, Entry("name", "name", "", value), kind, value)
    if path.name.lower() in SYSTEM_FILES:
        yield found(name, Entry("name", "system file", "", ""), "picture", SYSTEM_FILES[path.name.lower()])
    if path.is_symlink():
        target = os.fspath(path.readlink())
        yield from (found(name, Entry("name", "link", "", target), kind, value) for kind, value in in_text(target))
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            yield from file_findings(file, name)
    except NotLookedInto as reason:
        result.passed_over[name] = str(reason)
    except OSError as error:
        result.passed_over[name] = f"it cannot be read ({error.strerror or error})"


TABLES = (".csv", ".tsv", ".tab")
DOCUMENTS: dict[str, Callable[[str], Iterable[Entry]]] = {
    **dict.fromkeys(
        (".json", ".jsonl", ".geojson", ".ipynb", ".zattrs", ".zarray", ".zgroup", ".zmetadata"), json_entries
    ),
    ".toml": toml_entries,
    **dict.fromkeys((".xml", ".svg", ".rels"), xml_entries),
    ".xmp": partial(xml_entries, place="picture", before="XMP "),
    **dict.fromkeys((".html", ".htm"), html_entries),
}
NOT_UNDERSTOOD = {
    **dict.fromkeys((".pdf", ".mp4", ".mov", ".avi", ".mkv", ".heics"), "its kind is not understood here"),
    **dict.fromkeys(
        (".gif", ".jp2", ".j2k", ".jxl", ".avif", ".psd", ".raf", ".cr3"), "its kind is not understood here"
    ),
    **dict.fromkeys(
        (".parquet", ".feather", ".arrow", ".sqlite", ".sqlite3", ".mdb", ".accdb", ".sav", ".dta", ".rds", ".rdata"),
        "tables of this kind are not understood here: write it as CSV, and audit that",
    ),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".sas7bdat", ".xlsb"), "its kind is not understood here"),
    **dict.fromkeys((".7z", ".rar", ".gz", ".bz2", ".xz", ".tar", ".tgz", ".zst"), "it is packed"),
    **dict.fromkeys(
        (".doc", ".xls", ".ppt", ".mrxs", ".czi", ".vsi", ".scn", ".bif"), "its kind is not understood here"
    ),
}
DOCUMENT_BYTES = 32 << 20  # a larger one is read as text, a piece after the other
PIECE, OVERLAP = 1 << 20, 512
MEMBER_BYTES = 64 << 20  # of a file in an archive, unpacked
TEXT_HEAD_BYTES = 8192
_HOME = re.compile(rb"(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[\x21-\x7e]{2,200}")
DEEPEST = 3  # archives in archives


class NotLookedInto(Exception):  # noqa: N818 - an outcome that the audit tells, not an error of ours
    """A file could not be looked into, and why."""


def file_findings(file: IO[bytes], name: str, depth: int = 0) -> Iterator[Finding]:
    """Look into one file.

    In the order in which they stand in the file.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind, suffix = identify(head), PurePosixPath(name.lower()).suffix
    try:
        if kind:
            yield from _judged(_picture(file, kind), name)
        elif head.startswith(b"PK\x03\x04"):
            yield from _archive(file, name, depth)
        elif suffix in NOT_UNDERSTOOD:
            raise NotLookedInto(NOT_UNDERSTOOD[suffix])
        else:
            yield from _others(file, name, depth)
    except (*DAMAGE, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise NotLookedInto(f"it is damaged ({error})") from error


def _picture(file: IO[bytes], kind: Format) -> Iterable[Entry]:
    """What a picture says besides its pixels."""
    if kind == "DICOM":
        return dicom_entries(file)
    return tiff_entries(file) if kind == "TIFF" else picture_entries(file, kind)


def _others(file: IO[bytes], name: str, depth: int) -> Iterator[Finding]:
    """Tables, documents, other text, and files of which only places and accounts are looked for."""
    encoding = encoding_of(_start(file))
    suffix = PurePosixPath(name.lower()).suffix or PurePosixPath(name.lower()).name
    if encoding is None:
        yield from _binary(file, name)
    elif suffix in TABLES:
        with _as_text(file, encoding) as reader:
            yield from table_findings(reader, name)
    else:
        size = file.seek(0, 2)
        file.seek(0)
        if suffix in DOCUMENTS and size <= DOCUMENT_BYTES:
            text = file.read().decode(encoding, "replace")
            yield from _judged(DOCUMENTS[suffix](text), name)
            for number, picture in enumerate(pictures_inside(text), start=1):
                yield from file_findings(BytesIO(picture), f"{name} > picture {number}", depth)
        else:
            with _as_text(file, encoding) as reader:
                yield from _text(reader, name)


def encoding_of(head: bytes) -> str | None:
    """Tell the encoding of a text by its first bytes.

    Returns ``utf-8-sig``, ``utf-16`` or ``latin-1``; None where it is no text.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head or sum(byte < 9 or 13 < byte < 32 for byte in head) > len(head) // 100:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a letter that is cut off at the end is no fault
    except UnicodeDecodeError:
        return "latin-1" if sum(byte > 126 for byte in head) < len(head) // 5 else None
    return "utf-8-sig"


@contextmanager
def _as_text(file: IO[bytes], encoding: str) -> Iterator[TextIOWrapper]:
    """Read a file as text, and leave it open."""
    text = TextIOWrapper(cast(BytesIO, file), encoding, "replace", newline="")
    try:
        yield text
    finally:
        text.detach()


def _start(file: IO[bytes]) -> bytes:
    """The first piece of a file, by which a text is told from other things."""
    head = file.read(TEXT_HEAD_BYTES)
    file.seek(0)
    return head


def _judged(entries: Iterable[Entry], name: str) -> Iterator[Finding]:
    """Findings of entries, each place and kind once, the others counted."""
    first: dict[tuple[str, str], tuple[Entry, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        for kind, value in judge(entry):
            at = entry if entry.key or not entry.where.endswith("text") else _on_line(entry, value)
            key = (at.where, kind)
            first.setdefault(key, (at, value))
            counts[key] = counts.get(key, 0) + 1
    yield from (found(name, entry, key[1], value, counts[key]) for key, (entry, value) in first.items())


def _on_line(entry: Entry, value: str) -> Entry:
    """The entry of a text, with the line on which something stands."""
    line = entry.value.count("\n", 0, max(0, entry.value.find(value))) + 1
    return Entry(entry.place, f"{entry.where.removesuffix('text')}line {line}", entry.key, entry.value)


def _text(file: IO[str], name: str) -> Iterator[Finding]:
    """Look through a text of any length, a piece after the other; the first of each kind is told."""
    known: set[str] = set()
    lines, before = 1, ""
    while piece := file.read(PIECE):
        text = before + piece
        for kind, value in in_text(text):
            if kind not in known:
                known.add(kind)
                line = lines + text.count("\n", 0, text.find(value))
                yield found(name, Entry("text", f"line {line}", "", value), kind, value)
        before = text[-OVERLAP:]
        lines += text.count("\n", 0, len(text) - len(before))


def _binary(file: IO[bytes], name: str) -> Iterator[Finding]:
    """Look for folders of users in a file of another kind, such as weights or a database; the first is told."""
    before = b""
    while piece := file.read(PIECE):
        homes = _HOME.findall(before + piece)
        if homes:
            for kind, value in in_text("\n".join(hit.decode("ascii") for hit in homes)):
                yield found(name, Entry("text", "inside", "", value), kind, value)
            return
        before = piece[-OVERLAP:]


def _archive(file: IO[bytes], name: str, depth: int) -> Iterator[Finding]:
    """Look into each file of a ZIP archive, which office documents and checkpoints are too."""
    if depth >= DEEPEST:
        raise NotLookedInto("it lies in archives within archives")
    missed: list[str] = []
    with zipfile.ZipFile(file) as archive:
        if archive.comment:
            yield from _judged([Entry("text", "comment", "comment", archive.comment.decode("latin-1"))], name)
        try:
            yield from _judged(sheet_entries(archive), name)
        except (*DAMAGE, zipfile.BadZipFile) as error:
            missed.append(f"its sheets are damaged ({error})")
        for member in archive.infolist():
            inside = f"{name} > {member.filename}"
            for kind, value in in_name(PurePosixPath(member.filename).name):
                yield found(inside, Entry("name", "name", "", value), kind, value)
            if member.is_dir():
                continue
            if member.flag_bits & 1 or member.file_size > MEMBER_BYTES:
                missed.append(f"{member.filename} inside is encrypted or larger than {MEMBER_BYTES >> 20} MB")
                continue
            try:
                yield from file_findings(BytesIO(archive.read(member)), inside, depth + 1)
            except NotLookedInto as reason:
                missed.append(f"{member.filename} inside: {reason}")
            except (*DAMAGE, zipfile.BadZipFile) as error:
                missed.append(f"{member.filename} inside is damaged ({error})")
    if missed:  # told once the others were looked into
        more = f", and {len(missed) - 1} more like it" if len(missed) > 1 else ""
        raise NotLookedInto(missed[0] + more)
