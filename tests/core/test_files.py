"""Atomic writing: no partial file is ever visible, neither after an error nor while replacing."""

from __future__ import annotations

import ast
import errno
import json
import math
import os
import re
import sys
from pathlib import Path

import pytest

from napari_melanoma.core import files
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import (
    atomic_file,
    atomic_folder,
    back_up_file,
    save_error,
    write_json,
    write_text,
)

REFUSALS = [
    (errno.ENOSPC, "the disk is full. Free some space"),
    (errno.EDQUOT, "the disk is full. Free some space"),
    (errno.EACCES, "no permission to write there. Choose a folder of your own"),
    (errno.EPERM, "no permission to write there. Choose a folder of your own"),
    (errno.EROFS, "no permission to write there. Choose a folder of your own"),
    (errno.EIO, "Choose another folder"),
]


def refusal(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def refuse(code: int):
    def fail(*_arguments: object, **_options: object) -> None:
        raise refusal(code)

    return fail


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "mask.png"
    with atomic_file(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == target.parent
        temporary.write_bytes(b"pixels")
        assert not target.exists()
    assert target.read_bytes() == b"pixels"
    assert everything_in(target.parent) == ["mask.png"]


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert everything_in(tmp_path) == ["result.json"]


@pytest.mark.parametrize(("code", "advice"), REFUSALS, ids=lambda value: errno.errorcode.get(value, ""))
def test_a_refusal_of_the_file_system_becomes_advice(tmp_path: Path, code: int, advice: str) -> None:
    target = tmp_path / "mask.png"
    target.write_text("old")
    with pytest.raises(SaveError) as caught, atomic_file(target) as temporary:
        temporary.write_text("half")
        raise refusal(code)
    assert str(target) in str(caught.value)
    assert advice in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert target.read_text() == "old"
    assert everything_in(tmp_path) == ["mask.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full (Linux)")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="disk is full"), atomic_file(tmp_path / "mask.png") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)
    assert everything_in(tmp_path) == []


def test_a_folder_without_access_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", refuse(errno.EACCES))
    monkeypatch.setattr(Path, "unlink", refuse(errno.EACCES))
    with pytest.raises(SaveError, match="no permission"):
        write_text(tmp_path / "closed" / "note.txt", "words")


def test_an_error_without_a_number_keeps_its_message(tmp_path: Path) -> None:
    assert "encoder error -2" in str(save_error(tmp_path / "mask.png", OSError("encoder error -2")))


def test_a_path_that_is_too_long_for_windows_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    monkeypatch.setattr(sys, "platform", "win32")
    assert "the path is too long. It has 220 characters, and about" in str(save_error(Path("/" + 219 * "a"), missing))
    assert "No such file" in str(save_error(Path("/" + 19 * "a"), missing))
    assert "No such file" in str(save_error(Path("/missing/" + 219 * "a"), missing))


@pytest.mark.parametrize(("number", "windows_number"), [(errno.ENAMETOOLONG, None), (errno.ENOENT, 206)])
def test_a_path_that_the_system_calls_too_long(number: int, windows_number: int | None) -> None:
    error = OSError(number, "refused")
    error.winerror = windows_number  # type: ignore[attr-defined, unused-ignore]
    message = str(save_error(Path(f"/a/{300 * 'b'}"), error))
    assert "the path is too long. It has 303 characters, 300 of them in one name" in message
    assert message.endswith("Choose a folder with a shorter path.")


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_deleted_working_folder_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "getcwd", refuse(errno.ENOENT))
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert "cannot write note.txt: No such file" in str(save_error(Path("note.txt"), missing))


def test_a_file_instead_of_a_parent_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SaveError, match="out"):
        write_text(tmp_path / "out" / "note.txt", "words")
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize("stem", ["läsion 12", "a.b.c", "🔬" * 40, "x" * 200])
def test_names_of_all_kinds(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.txt"
    write_text(target, stem)
    assert target.read_text(encoding="utf-8") == stem
    with atomic_folder(tmp_path / stem) as temporary:
        (temporary / "inside").touch()
    assert everything_in(tmp_path / stem) == ["inside"]


def test_text_has_the_same_line_ends_everywhere(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "one\ntwo µm\n")
    assert (tmp_path / "note.txt").read_bytes() == "one\ntwo µm\n".encode()


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "lesion12"
    with atomic_folder(target) as temporary:
        (temporary / "mask.png").write_bytes(b"pixels")
        assert not target.exists()
    assert everything_in(target) == ["mask.png"]
    assert everything_in(target.parent) == ["lesion12"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "lesion12"
    target.mkdir()
    (target / "of the old one").touch()
    with atomic_folder(target) as temporary:
        (temporary / "of the new one").touch()
        assert everything_in(target) == ["of the old one"]
    assert everything_in(target) == ["of the new one"]
    assert everything_in(tmp_path) == ["lesion12"]


@pytest.mark.parametrize("raised", [refusal(errno.ENOSPC), KeyboardInterrupt(), ValueError()], ids=repr)
def test_a_folder_that_fails_half_way_leaves_the_old_one(tmp_path: Path, raised: BaseException) -> None:
    target = tmp_path / "lesion12"
    target.mkdir()
    (target / "mask.png").write_text("old")
    expected = SaveError if isinstance(raised, OSError) else type(raised)
    with pytest.raises(expected), atomic_folder(target) as temporary:
        (temporary / "mask.png").write_text("half")
        raise raised
    assert (target / "mask.png").read_text() == "old"
    assert everything_in(tmp_path) == ["lesion12"]


def test_the_old_folder_is_restored_if_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "lesion12"
    target.mkdir()
    (target / "mask.png").write_text("old")
    rename, calls = Path.replace, []

    def refuse_the_second(path: Path, to: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise refusal(errno.EACCES)
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", refuse_the_second)
    with pytest.raises(SaveError, match="no permission"), atomic_folder(target) as temporary:
        (temporary / "mask.png").write_text("new")
    assert len(calls) == 3
    assert (target / "mask.png").read_text() == "old"
    assert everything_in(tmp_path) == ["lesion12"]


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    target = tmp_path / "lesion12"
    target.write_text("notes of the user")
    with pytest.raises(SaveError, match="a file of that name exists"), atomic_folder(target) as temporary:
        (temporary / "mask.png").touch()
    assert target.read_text() == "notes of the user"
    assert everything_in(tmp_path) == ["lesion12"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_replacing_a_link_keeps_its_target_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "lesion12").symlink_to("elsewhere")
    with atomic_folder(tmp_path / "lesion12") as temporary:
        (temporary / "mask.png").touch()
    assert everything_in(tmp_path) == ["elsewhere", "lesion12"]
    assert everything_in(tmp_path / "lesion12") == ["mask.png"]
    assert everything_in(tmp_path / "elsewhere") == ["kept"]


def test_json_replaces_infinity(tmp_path: Path) -> None:
    values = {"depth_mm": math.nan, "nested": [{"far": math.inf, "near": (-math.inf, 1.5)}], "true": True, "µm": "ü"}
    write_json(tmp_path / "result.json", values)
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    expected = {"depth_mm": None, "nested": [{"far": None, "near": [None, 1.5]}], "true": True, "µm": "ü"}
    assert json.loads(text) == expected
    assert "µm" in text
    assert text.endswith("}\n")


def in_use(number):
    """Windows error for a file that a reader has open; other systems have no such number."""
    error = PermissionError(errno.EACCES, "in use")
    error.winerror = number
    return error


def failing(method, monkeypatch, error, times):
    """Let a way to rename or remove fail some times; gives what it was called with."""
    right, calls = getattr(Path, method), []

    def rename(self, *target, **options):
        calls.append(target)
        if len(calls) <= times:
            raise error
        return right(self, *target, **options)

    monkeypatch.setattr(Path, method, rename)
    return calls


@pytest.mark.parametrize("number", [5, 32])
def test_a_file_in_use_is_replaced_later(tmp_path, monkeypatch, number):
    target = tmp_path / "control.json"
    target.write_text("old")
    calls = failing("replace", monkeypatch, in_use(number), 2)
    write_text(target, "new")
    assert (target.read_text(), len(calls)) == ("new", 3)
    calls.clear()
    assert back_up_file(target).read_text() == "new"
    assert len(calls) == 3


def test_a_file_in_use_is_removed_later(tmp_path, monkeypatch):
    target = tmp_path / "process.json"
    target.write_text("old")
    calls = failing("unlink", monkeypatch, in_use(32), 2)
    files.remove_file(target)
    assert (target.exists(), len(calls)) == (False, 3)


def test_no_other_module_renames_without_waiting_for_readers():
    package = Path(files.__file__).parents[1]
    found = [
        f"{path.relative_to(package).as_posix()}: {ast.unparse(node)}"
        for path in package.rglob("*.py")
        if re.search(r"\.(rename|renames|replace|move)\(", text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if renames_path(node)
    ]
    assert found == ["core/files.py: source.replace(target)"]


def renames_path(node: ast.AST) -> bool:
    """Whether a node calls a function or method that renames; that of texts, ``replace``, has two arguments."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    if owner in ("os", "shutil"):
        return node.func.attr in ("rename", "renames", "replace", "move")
    return node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == 1 and not node.keywords)


@pytest.mark.parametrize(
    ("number", "least", "reason"),
    [(5, 2, "may be open in another program: close it there"), (None, 1, "no permission to write there")],
)
def test_a_locked_file_is_an_error_with_a_reason(tmp_path, monkeypatch, number, least, reason):
    monkeypatch.setattr("napari_melanoma.core.files.IN_USE_TIMEOUT_S", 0.05)
    target = tmp_path / "control.json"
    target.write_text("old")
    calls = failing("replace", monkeypatch, in_use(number), 1000)
    with pytest.raises(SaveError, match=reason):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert len(calls) == 1 if least == 1 else len(calls) >= least
    assert [path.name for path in tmp_path.iterdir()] == ["control.json"]
