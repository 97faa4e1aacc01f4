"""No command ends with an unexpected error because of links to themselves, or because there is no home folder."""

from __future__ import annotations

import errno
import os
import pwd
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from napari_melanoma.cli import app, main
from napari_melanoma.cli.session import command_session
from napari_melanoma.core.paths import expand_user, provide_home
from napari_melanoma.io.results import read_table, write_rgb

HOME = "~/a.png"
OPEN_WINDOWS = {"open", "demo"}
COMPUTE = {"phantom cohort", "phantom slide"}  # for minutes, and read nothing


def list_commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the commands of the program with their names."""
    group = group or typer.main.get_command(app)
    for key in group.list_commands(None):
        command = group.get_command(None, key)
        if hasattr(command, "list_commands"):
            yield from list_commands(command, f"{name}{key} ")
        elif f"{name}{key}" not in OPEN_WINDOWS | COMPUTE:
            yield f"{name}{key}", command


COMMANDS = dict(list_commands())


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without an account and without HOME, as in containers."""

    def unknown(_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in list(os.environ):
        if name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME") or name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with two photographs, and links to themselves, to its parent, to nowhere, and twice to a photograph."""
    folder = tmp_path / "in"
    for name, color in (("A/one.png", 90), ("B/two.png", 180)):
        write_rgb(folder / name, np.full((60, 80, 3), color, np.uint8))
    for name, target in {
        "loop.png": "loop.png",
        "loop.tif": "loop.tif",
        "loop.csv": "loop.csv",
        "loop": "loop",
        "dataset.csv": "dataset.csv",
        "A/up": "..",
        "B/self": ".",
        "linked": "A",
        "B/again.png": "../A/one.png",
        "dead.png": "nowhere.png",
    }.items():
        (folder / name).symlink_to(target)
    return folder


def run(name: str, value: Path | str, tmp_path: Path) -> str:
    """Run a command with a value for everything that it requires; return what it printed."""
    command, words = COMMANDS[name], name.split()
    command.make_context(name, [], resilient_parsing=True)  # creates the parameters
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            words += [str(value)]
        elif "--out" in parameter.opts:
            words += ["--out", str(tmp_path / "out")]
        elif parameter.required:
            words += [parameter.opts[0], str(value)]
    if len(words) == len(name.split()) and value != HOME:
        pytest.skip("reads no file")
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), (name, repr(done.exception))
    assert "unexpected" not in done.output, (name, done.output)
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("surroundings", ["loops", "no home", "no such user"])
def test_no_command_ends_with_an_unexpected_error(
    name: str, surroundings: str, linked: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if surroundings == "no home":
        request.getfixturevalue("nameless")
        provide_home()
        run(name, HOME, tmp_path)
    elif surroundings == "no such user":
        run(name, "~nobody-here/a.png", tmp_path)
    else:
        run(name, linked, tmp_path)
        run(name, linked / "loop.png", tmp_path)


def test_no_module_resolves_paths_by_what_raises(repository: Path) -> None:
    """``core.paths`` has functions that do not."""
    raising = re.compile(r"(?<!self)(?<!view)\.resolve\(\)|\.expanduser\(\)|Path\.home\(\)")
    for path in (repository / "src" / "napari_melanoma").rglob("*.py"):
        assert not raising.search(path.read_text(encoding="utf-8")), path


def test_photographs_in_a_folder_with_looping_links(linked: Path, tmp_path: Path) -> None:
    (linked / "dataset.csv").unlink()
    done = CliRunner().invoke(
        app, ["data", "import", "folder", str(linked), "--no-patients", "--out", str(tmp_path / "set")]
    )
    assert "unexpected" not in done.output
    assert [row["image_id"] for row in read_table(tmp_path / "set" / "dataset.csv")] == ["again", "one", "two"]
    assert "loop.png: Too many levels of symbolic links" in done.output


def test_a_private_folder_replaces_the_profile_that_is_missing_on_windows(
    nameless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv("USERPROFILE", raising=False)
    folder = provide_home()
    assert folder is not None
    assert folder.is_dir()
    assert os.environ.pop("USERPROFILE") == str(folder)  # Windows has no HOME, and no number of the user


@pytest.fixture
def without_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system of which no usual folder for temporary files can be written."""

    def find_none() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", find_none)


def test_commands_run_without_home_and_temporary_folder(
    nameless: None, without_temporary_folder: None, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = provide_home()
    assert folder is not None
    assert not folder.exists()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(sys, "argv", ["napari-melanoma", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    found = capsys.readouterr()
    assert not ended.value.code
    assert found.out.startswith("napari-melanoma ")
    assert "HOME is not set: settings, models and temporary files cannot be stored. Set HOME and TMPDIR" in found.err
    monkeypatch.delenv("HOME")


def test_a_command_that_needs_a_temporary_folder_states_it(without_temporary_folder: None) -> None:
    with pytest.raises(typer.Exit) as ended, command_session(False, False):
        tempfile.mkdtemp()
    assert ended.value.exit_code == 2


def test_a_private_folder_replaces_the_home_folder_that_is_missing(
    nameless: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expand_user("~") == Path("~")
    (tmp_path / f"napari-melanoma-{os.getuid()}").mkdir(0o777)
    (tmp_path / f"napari-melanoma-{os.getuid()}").chmod(0o777)
    folder = provide_home()
    assert folder is not None
    assert folder.stat().st_mode & 0o077 == 0, "not a folder that another user made"
    assert expand_user("~") == folder
    assert provide_home() is None
    monkeypatch.delenv("HOME")
