"""The audit of folders: skipped files are reported, nothing is changed, errors do not stop it."""

from __future__ import annotations

import os
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.extensions.privacy_audit.audit import AuditResult, PrivacyFinding, audit

HOME = "/".join(("", "home", "amiller"))


def looked(path: Path) -> tuple[AuditResult, list[PrivacyFinding]]:
    """Return result and findings of an audit."""
    findings: list[PrivacyFinding] = []
    return audit([path], findings.append, run=RunContext()), findings


def test_all_files_are_inspected_in_order_and_unchanged(tmp_path: Path) -> None:
    for name in ("b/deep/.hidden.txt", "a.txt", "b/z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("to anna@clinic.example")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.txt")}
    result, findings = looked(tmp_path)
    assert [finding.file for finding in findings] == ["a.txt", "b/z.txt", "b/deep/.hidden.txt"]
    assert (result.files, result.counts, result.clean) == (3, {"contact": 3}, False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.txt")} == before


def test_names_of_folders_are_inspected(tmp_path: Path) -> None:
    (tmp_path / "visit 2021-03-04").mkdir()
    expected = [("visit 2021-03-04", "date", "2***-0*-0*")]
    for path in (tmp_path, tmp_path / "visit 2021-03-04"):
        assert [(f.file, f.kind, f.example) for f in looked(path)[1]] == expected


@pytest.mark.parametrize("folder", ["", "locked"])
def test_a_folder_that_cannot_be_listed_is_reported(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "shared"
    (top / "locked").mkdir(parents=True)
    scan = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path) == top / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result, _ = looked(top)
    assert result.skipped == {folder or "shared": "it cannot be read (Permission denied)"}
    assert not result.clean


def test_an_empty_folder_is_clean(tmp_path: Path) -> None:
    assert looked(tmp_path)[0].clean


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_the_target_of_a_link_is_inspected_but_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(f"{HOME}/scans")
    result, findings = looked(tmp_path)
    assert {finding.kind for finding in findings} == {"path", "user"}
    assert result.files == 1


DAMAGED = {
    "cut.zip": b"PK\x03\x04 and no more",
    "cut.tif": b"II*\0\xff\xff\xff\xff",
    "cut.dcm": b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04",
    "film.mp4": b"\0\0\0\x18ftypmp42",
    "table.csv.gz": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_files_that_cannot_be_inspected_are_reported(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    (tmp_path / "later.txt").write_text("to anna@clinic.example")
    result, findings = looked(tmp_path)
    assert list(result.skipped) == [name]
    assert len(findings) == 1
    assert not result.clean


def nested(depth: int) -> bytes:
    """Archives in archives."""
    content = b"to anna@clinic.example"
    for level in range(depth):
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("inner.zip" if level else "inner.txt", content)
        content = file.getvalue()
    return content


@pytest.mark.parametrize(("depth", "seen"), [(2, True), (5, False)])
def test_nested_archives_have_a_limit(depth: int, seen: bool, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(nested(depth))
    result, findings = looked(tmp_path)
    assert bool(findings) == seen
    assert bool(result.skipped) != seen


def test_the_line_of_a_finding_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("nine char\n" * 1000 + f"at {HOME}/a\n" + "nine char\n")
    found = looked(tmp_path)[1]
    assert {(finding.kind, finding.where) for finding in found} == {(kind, "line 1001") for kind in ("path", "user")}


def test_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,dob\n" + "1,1970-01-02\n2,\n" * 6_000)
    assert [(f.where, f.kind, f.count) for f in looked(tmp_path)[1]] == [("column 'dob'", "birth", 6_000)]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        looked(tmp_path / "missing")


def test_an_audit_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        audit([tmp_path], lambda finding: None, run=run)
