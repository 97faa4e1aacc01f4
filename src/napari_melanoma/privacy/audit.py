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
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, Format, identify_format
from napari_melanoma.privacy.documents import (
    extract_pictures,
    inspect_table,
    read_html_entries,
    read_json_entries,
    read_sheet_entries,
    read_toml_entries,
    read_xml_entries,
)
from napari_melanoma.privacy.images import read_dicom_entries, read_picture_entries, read_tiff_entries
from napari_melanoma.privacy.rules import (
    MetadataEntry,
    PrivacyFinding,
    create_finding,
    find_in_entry,
    find_in_name,
    find_in_text,
)

PROGRESS_EVERY = 20  # files between two reports of the progress
SYSTEM_FILES = {
    "thumbs.db": "thumbnails of the pictures that were in the folder",
    ".ds_store": "names of files that were in the folder",
}


@dataclass
class AuditResult:
    """What an audit came to: ``files`` looked at, ``counts`` of findings by kind, files that were not looked into.

    ``passed_over`` names each of those and why; of these files nothing is known.
    """

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file could be looked into."""
        return not self.counts and not self.skipped


def audit(paths: Iterable[Path], on_finding: Callable[[PrivacyFinding], None], *, run: RunContext) -> AuditResult:
    """Look through files and folders for what tells who somebody is; nothing is written.

    Counts, and what could not be looked into.
    """
    result = AuditResult()
    for top in paths:
        if not top.exists():
            raise InputError(f"{top} does not exist. Name a file or folder that is to be handed on.")
        for path in _walk(top):
            run.check()
            name = path.name if path == top else path.relative_to(top).as_posix()
            for finding in _inspect_path(path, name, result):
                result.counts[finding.kind] += 1
                on_finding(finding)
            if path.is_dir():
                continue
            result.files += 1
            if result.files % PROGRESS_EVERY == 0:
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


def _inspect_path(path: Path, name: str, result: AuditResult) -> Iterator[PrivacyFinding]:
    """What a file or folder gives away, by its name, as a link, and inside."""
    for kind, value in find_in_name(path.name):
        yield create_finding(name, MetadataEntry("name", "name", "", value), kind, value)
    if path.name.lower() in SYSTEM_FILES:
        yield create_finding(
            name, MetadataEntry("name", "system file", "", ""), "picture", SYSTEM_FILES[path.name.lower()]
        )
    if path.is_symlink():
        target = os.fspath(path.readlink())
        yield from (
            create_finding(name, MetadataEntry("name", "link", "", target), kind, value)
            for kind, value in find_in_text(target)
        )
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            yield from inspect_file(file, name)
    except NotInspected as reason:
        result.skipped[name] = str(reason)
    except OSError as error:
        result.skipped[name] = f"it cannot be read ({error.strerror or error})"


TABLES = (".csv", ".tsv", ".tab")
DOCUMENTS: dict[str, Callable[[str], Iterable[MetadataEntry]]] = {
    **dict.fromkeys(
        (".json", ".jsonl", ".geojson", ".ipynb", ".zattrs", ".zarray", ".zgroup", ".zmetadata"), read_json_entries
    ),
    ".toml": read_toml_entries,
    **dict.fromkeys((".xml", ".svg", ".rels"), read_xml_entries),
    ".xmp": partial(read_xml_entries, place="picture", before="XMP "),
    **dict.fromkeys((".html", ".htm"), read_html_entries),
}
UNSUPPORTED = {
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
CHUNK_BYTES, CHUNK_OVERLAP = 1 << 20, 512
MEMBER_BYTES = 64 << 20  # of a file in an archive, unpacked
TEXT_HEAD_BYTES = 8192
_HOME = re.compile(rb"(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[\x21-\x7e]{2,200}")
MAX_DEPTH = 3  # archives in archives


class NotInspected(Exception):  # noqa: N818 - an outcome that the audit tells, not an error of ours
    """A file could not be looked into, and why."""


def inspect_file(file: IO[bytes], name: str, depth: int = 0) -> Iterator[PrivacyFinding]:
    """Look into one file.

    In the order in which they stand in the file.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind, suffix = identify_format(head), PurePosixPath(name.lower()).suffix
    try:
        if kind:
            yield from _find_in_entries(_read_picture(file, kind), name)
        elif head.startswith(b"PK\x03\x04"):
            yield from _inspect_archive(file, name, depth)
        elif suffix in UNSUPPORTED:
            raise NotInspected(UNSUPPORTED[suffix])
        else:
            yield from _inspect_other(file, name, depth)
    except (*DAMAGE_ERRORS, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise NotInspected(f"it is damaged ({error})") from error


def _read_picture(file: IO[bytes], kind: Format) -> Iterable[MetadataEntry]:
    """What a picture says besides its pixels."""
    if kind == "DICOM":
        return read_dicom_entries(file)
    return read_tiff_entries(file) if kind == "TIFF" else read_picture_entries(file, kind)


def _inspect_other(file: IO[bytes], name: str, depth: int) -> Iterator[PrivacyFinding]:
    """Tables, documents, other text, and files of which only places and accounts are looked for."""
    encoding = detect_encoding(_read_head(file))
    suffix = PurePosixPath(name.lower()).suffix or PurePosixPath(name.lower()).name
    if encoding is None:
        yield from _inspect_binary(file, name)
    elif suffix in TABLES:
        with _as_text(file, encoding) as reader:
            yield from inspect_table(reader, name)
    else:
        size = file.seek(0, 2)
        file.seek(0)
        if suffix in DOCUMENTS and size <= DOCUMENT_BYTES:
            text = file.read().decode(encoding, "replace")
            yield from _find_in_entries(DOCUMENTS[suffix](text), name)
            for number, picture in enumerate(extract_pictures(text), start=1):
                yield from inspect_file(BytesIO(picture), f"{name} > picture {number}", depth)
        else:
            with _as_text(file, encoding) as reader:
                yield from _inspect_text(reader, name)


def detect_encoding(head: bytes) -> str | None:
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


def _read_head(file: IO[bytes]) -> bytes:
    """The first piece of a file, by which a text is told from other things."""
    head = file.read(TEXT_HEAD_BYTES)
    file.seek(0)
    return head


def _find_in_entries(entries: Iterable[MetadataEntry], name: str) -> Iterator[PrivacyFinding]:
    """Findings of entries, each place and kind once, the others counted."""
    first: dict[tuple[str, str], tuple[MetadataEntry, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        for kind, value in find_in_entry(entry):
            at = entry if entry.key or not entry.where.endswith("text") else _with_line_number(entry, value)
            key = (at.where, kind)
            first.setdefault(key, (at, value))
            counts[key] = counts.get(key, 0) + 1
    yield from (create_finding(name, entry, key[1], value, counts[key]) for key, (entry, value) in first.items())


def _with_line_number(entry: MetadataEntry, value: str) -> MetadataEntry:
    """The entry of a text, with the line on which something stands."""
    line = entry.value.count("\n", 0, max(0, entry.value.find(value))) + 1
    return MetadataEntry(entry.place, f"{entry.where.removesuffix('text')}line {line}", entry.key, entry.value)


def _inspect_text(file: IO[str], name: str) -> Iterator[PrivacyFinding]:
    """Look through a text of any length, a piece after the other; the first of each kind is told."""
    known: set[str] = set()
    lines, before = 1, ""
    while piece := file.read(CHUNK_BYTES):
        text = before + piece
        for kind, value in find_in_text(text):
            if kind not in known:
                known.add(kind)
                line = lines + text.count("\n", 0, text.find(value))
                yield create_finding(name, MetadataEntry("text", f"line {line}", "", value), kind, value)
        before = text[-CHUNK_OVERLAP:]
        lines += text.count("\n", 0, len(text) - len(before))


def _inspect_binary(file: IO[bytes], name: str) -> Iterator[PrivacyFinding]:
    """Look for folders of users in a file of another kind, such as weights or a database; the first is told."""
    before = b""
    while piece := file.read(CHUNK_BYTES):
        homes = _HOME.findall(before + piece)
        if homes:
            for kind, value in find_in_text("\n".join(hit.decode("ascii") for hit in homes)):
                yield create_finding(name, MetadataEntry("text", "inside", "", value), kind, value)
            return
        before = piece[-CHUNK_OVERLAP:]


def _inspect_archive(file: IO[bytes], name: str, depth: int) -> Iterator[PrivacyFinding]:
    """Look into each file of a ZIP archive, which office documents and checkpoints are too."""
    if depth >= MAX_DEPTH:
        raise NotInspected("it lies in archives within archives")
    missed: list[str] = []
    with zipfile.ZipFile(file) as archive:
        if archive.comment:
            yield from _find_in_entries(
                [MetadataEntry("text", "comment", "comment", archive.comment.decode("latin-1"))], name
            )
        try:
            yield from _find_in_entries(read_sheet_entries(archive), name)
        except (*DAMAGE_ERRORS, zipfile.BadZipFile) as error:
            missed.append(f"its sheets are damaged ({error})")
        for member in archive.infolist():
            inside = f"{name} > {member.filename}"
            for kind, value in find_in_name(PurePosixPath(member.filename).name):
                yield create_finding(inside, MetadataEntry("name", "name", "", value), kind, value)
            if member.is_dir():
                continue
            if member.flag_bits & 1 or member.file_size > MEMBER_BYTES:
                missed.append(f"{member.filename} inside is encrypted or larger than {MEMBER_BYTES >> 20} MB")
                continue
            try:
                yield from inspect_file(BytesIO(archive.read(member)), inside, depth + 1)
            except NotInspected as reason:
                missed.append(f"{member.filename} inside: {reason}")
            except (*DAMAGE_ERRORS, zipfile.BadZipFile) as error:
                missed.append(f"{member.filename} inside is damaged ({error})")
    if missed:  # told once the others were looked into
        more = f", and {len(missed) - 1} more like it" if len(missed) > 1 else ""
        raise NotInspected(missed[0] + more)
