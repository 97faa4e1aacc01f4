"""Audit files and folders for information that identifies a person."""

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
from napari_melanoma.extensions.privacy_audit.documents import (
    extract_pictures,
    inspect_table,
    is_workbook,
    read_html_entries,
    read_json_entries,
    read_sheet_entries,
    read_toml_entries,
    read_xml_entries,
)
from napari_melanoma.extensions.privacy_audit.entries import (
    MetadataEntry,
    PrivacyFinding,
    create_finding,
    find_in_entry,
    find_in_name,
)
from napari_melanoma.extensions.privacy_audit.images import read_dicom_entries, read_picture_entries, read_tiff_entries
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, Format, identify_format
from napari_melanoma.privacy.personal_data import find_in_text

FILES_PER_REPORT = 20  # files between two reports of the progress
# Files of operating systems that show what is or was in a folder
SYSTEM_FILES = {
    "thumbs.db": "thumbnails of images in the folder",
    ".ds_store": "names of files in the folder",
}


@dataclass
class AuditResult:
    """The result of an audit.

    ``counts`` are the numbers of findings by type; ``skipped`` maps files and folders that were not inspected to the
    reason.
    """

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file was inspected."""
        return not self.counts and not self.skipped


def audit(paths: Iterable[Path], on_finding: Callable[[PrivacyFinding], None], *, run: RunContext) -> AuditResult:
    """Inspect files and folders for information that identifies a person, without writing anything.

    ``on_finding`` is called with each finding.
    """
    result = AuditResult()
    for top in paths:
        if not top.exists():
            raise InputError(f"{top} does not exist. Name a file or folder that you want to share.")
        for path in _walk(top, result):
            run.check()
            name = path.name if path == top else path.relative_to(top).as_posix()
            for finding in _inspect_path(path, name, result):
                result.counts[finding.kind] += 1
                on_finding(finding)
            if path.is_dir():
                continue
            result.files += 1
            if result.files % FILES_PER_REPORT == 0:
                run.report(Progress(result.files, None, "Reading files"))
    return result


def _walk(top: Path, result: AuditResult) -> Iterator[Path]:
    """Yield a file, or a folder and everything in it, sorted by name; unreadable folders are added to the result."""
    if not top.is_dir():
        yield top
        return

    def skip(error: OSError) -> None:
        folder = Path(error.filename)
        name = top.name if folder == top else folder.relative_to(top).as_posix()
        result.skipped[name] = _describe_unreadable(error)

    for parent, folders, names in os.walk(top, onerror=skip):
        folders.sort()
        yield Path(parent)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def _inspect_path(path: Path, name: str, result: AuditResult) -> Iterator[PrivacyFinding]:
    """Yield the findings in the name, link target and content of a file or folder."""
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
        result.skipped[name] = _describe_unreadable(error)


def _describe_unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror or error})"


TABLES = (".csv", ".tsv", ".tab")
# Suffixes of text files, and the functions that read entries from their text
DOCUMENTS: dict[str, Callable[[str], Iterable[MetadataEntry]]] = {
    **dict.fromkeys(
        (".json", ".jsonl", ".geojson", ".ipynb", ".zattrs", ".zarray", ".zgroup", ".zmetadata"), read_json_entries
    ),
    ".toml": read_toml_entries,
    **dict.fromkeys((".xml", ".svg", ".rels"), read_xml_entries),
    ".xmp": partial(read_xml_entries, source="picture", before="XMP "),
    **dict.fromkeys((".html", ".htm"), read_html_entries),
}
# Suffixes of files that cannot be inspected, and why
UNSUPPORTED = {
    **dict.fromkeys((".pdf", ".mp4", ".mov", ".avi", ".mkv", ".heics"), "its format is not supported"),
    **dict.fromkeys((".gif", ".jp2", ".j2k", ".jxl", ".avif", ".psd", ".raf", ".cr3"), "its format is not supported"),
    **dict.fromkeys(
        (".parquet", ".feather", ".arrow", ".sqlite", ".sqlite3", ".mdb", ".accdb", ".sav", ".dta", ".rds", ".rdata"),
        "tables of this format are not supported: convert it to CSV, and audit that",
    ),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".sas7bdat", ".xlsb"), "its format is not supported"),
    **dict.fromkeys((".7z", ".rar", ".gz", ".bz2", ".xz", ".tar", ".tgz", ".zst"), "it is compressed"),
    **dict.fromkeys((".doc", ".xls", ".ppt", ".mrxs", ".czi", ".vsi", ".scn", ".bif"), "its format is not supported"),
}
DOCUMENT_BYTES = 32 << 20  # larger documents are read as text, in chunks
CHUNK_BYTES, CHUNK_OVERLAP = 1 << 20, 512  # of files that are searched in chunks
MEMBER_BYTES = 64 << 20  # of an unpacked file in an archive; larger ones are not inspected
TEXT_HEAD_BYTES = 8192  # by which the encoding of a text is detected
# Paths in home folders, in binary files
_HOME = re.compile(rb"(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[\x21-\x7e]{2,200}")
MAX_DEPTH = 3  # of archives inside archives


class NotInspected(Exception):  # noqa: N818 - a result of the audit, not an error
    """The reason why a file could not be inspected."""


def inspect_file(file: IO[bytes], name: str, depth: int = 0) -> Iterator[PrivacyFinding]:
    """Yield the findings in an open file, in their order; ``depth`` counts the archives around it."""
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
            yield from _inspect_by_content(file, name, depth)
    except (*DAMAGE_ERRORS, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise NotInspected(f"it is damaged ({error})") from error


def _read_picture(file: IO[bytes], kind: Format) -> Iterable[MetadataEntry]:
    if kind == "DICOM":
        return read_dicom_entries(file)
    return read_tiff_entries(file) if kind == "TIFF" else read_picture_entries(file, kind)


def _inspect_by_content(file: IO[bytes], name: str, depth: int) -> Iterator[PrivacyFinding]:
    """Inspect a file that is neither image nor archive: a table, a document, other text, or a binary file."""
    encoding = detect_encoding(_read_head(file))
    suffix = PurePosixPath(name.lower()).suffix or PurePosixPath(name.lower()).name
    if encoding is None:
        yield from _inspect_binary(file, name)
    elif suffix in TABLES:
        with _open_as_text(file, encoding) as reader:
            yield from inspect_table(reader, name)
    else:
        size = file.seek(0, 2)
        file.seek(0)
        if suffix in DOCUMENTS and size <= DOCUMENT_BYTES:
            text = file.read().decode(encoding, "replace")
            yield from _find_in_entries(DOCUMENTS[suffix](text), name)
            for number, picture in enumerate(extract_pictures(text), start=1):
                yield from inspect_file(BytesIO(picture), f"{name} > image {number}", depth)
        else:
            with _open_as_text(file, encoding) as reader:
                yield from _inspect_text(reader, name)


def detect_encoding(head: bytes) -> str | None:
    """Detect the encoding of a text: ``utf-8-sig``, ``utf-16`` or ``latin-1``; None for other files."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head or sum(byte < 9 or 13 < byte < 32 for byte in head) > len(head) // 100:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # an incomplete last character is not an error
    except UnicodeDecodeError:
        return "latin-1" if sum(byte > 126 for byte in head) < len(head) // 5 else None
    return "utf-8-sig"


@contextmanager
def _open_as_text(file: IO[bytes], encoding: str) -> Iterator[TextIOWrapper]:
    text = TextIOWrapper(cast("BytesIO", file), encoding, "replace", newline="")
    try:
        yield text
    finally:
        text.detach()


def _read_head(file: IO[bytes]) -> bytes:
    head = file.read(TEXT_HEAD_BYTES)
    file.seek(0)
    return head


def _find_in_entries(entries: Iterable[MetadataEntry], name: str) -> Iterator[PrivacyFinding]:
    """Yield one finding for each location and type in some entries, with the number of occurrences."""
    first: dict[tuple[str, str], tuple[MetadataEntry, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        for kind, value in find_in_entry(entry):
            located = entry if entry.key or not entry.where.endswith("text") else _with_line_number(entry, value)
            key = (located.where, kind)
            first.setdefault(key, (located, value))
            counts[key] = counts.get(key, 0) + 1
    yield from (create_finding(name, entry, key[1], value, counts[key]) for key, (entry, value) in first.items())


def _with_line_number(entry: MetadataEntry, value: str) -> MetadataEntry:
    """Return the entry of a text with the line number of a value in its location."""
    line = entry.value.count("\n", 0, max(0, entry.value.find(value))) + 1
    return MetadataEntry(entry.source, f"{entry.where.removesuffix('text')}line {line}", entry.key, entry.value)


def _inspect_text(file: IO[str], name: str) -> Iterator[PrivacyFinding]:
    """Inspect a text of any length in chunks; yields the first finding of each type."""
    reported: set[str] = set()
    first_line, before = 1, ""
    while chunk := file.read(CHUNK_BYTES):
        text = before + chunk
        for kind, value in find_in_text(text):
            if kind not in reported:
                reported.add(kind)
                line = first_line + text.count("\n", 0, text.find(value))
                yield create_finding(name, MetadataEntry("text", f"line {line}", "", value), kind, value)
        before = text[-CHUNK_OVERLAP:]
        first_line += text.count("\n", 0, len(text) - len(before))


def _inspect_binary(file: IO[bytes], name: str) -> Iterator[PrivacyFinding]:
    """Search a binary file, such as weights or a database, for paths in home folders.

    Stops after the first chunk that contains any.
    """
    before = b""
    while chunk := file.read(CHUNK_BYTES):
        homes = _HOME.findall(before + chunk)
        if homes:
            for kind, value in find_in_text("\n".join(path.decode("ascii") for path in homes)):
                yield create_finding(name, MetadataEntry("text", "inside", "", value), kind, value)
            return
        before = chunk[-CHUNK_OVERLAP:]


def _inspect_archive(file: IO[bytes], name: str, depth: int) -> Iterator[PrivacyFinding]:
    """Inspect each file of a ZIP archive, such as an office document or a checkpoint."""
    if depth >= MAX_DEPTH:
        raise NotInspected("it is inside nested archives")
    not_inspected: list[str] = []
    with zipfile.ZipFile(file) as archive:
        if archive.comment:
            yield from _find_in_entries(
                [MetadataEntry("text", "comment", "comment", archive.comment.decode("latin-1"))], name
            )
        try:
            if is_workbook(archive):
                yield from _find_in_entries(read_sheet_entries(file), name)
        except (*DAMAGE_ERRORS, zipfile.BadZipFile) as error:
            not_inspected.append(f"its sheets are damaged ({error})")
        for member in archive.infolist():
            inside = f"{name} > {member.filename}"
            for kind, value in find_in_name(PurePosixPath(member.filename).name):
                yield create_finding(inside, MetadataEntry("name", "name", "", value), kind, value)
            if member.is_dir():
                continue
            if member.flag_bits & 1 or member.file_size > MEMBER_BYTES:
                not_inspected.append(f"{member.filename} inside is encrypted or larger than {MEMBER_BYTES >> 20} MB")
                continue
            try:
                yield from inspect_file(BytesIO(archive.read(member)), inside, depth + 1)
            except NotInspected as reason:
                not_inspected.append(f"{member.filename} inside: {reason}")
            except (*DAMAGE_ERRORS, zipfile.BadZipFile) as error:
                not_inspected.append(f"{member.filename} inside is damaged ({error})")
    if not_inspected:  # raised after all other files are inspected
        more = f", and {len(not_inspected) - 1} more" if len(not_inspected) > 1 else ""
        raise NotInspected(not_inspected[0] + more)
