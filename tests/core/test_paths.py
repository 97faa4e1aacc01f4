"""A path in a file does not lead out of the folder of that file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.paths import (
    PathResolver,
    UnsafePath,
    allow_folders,
    allow_outside_files,
    is_inside,
)

REFUSED = (
    *("/etc/passwd", "//server/share/a.png", "\\\\server\\share\\a.png", "\\a.png", "images\\a.png", "C:\\a.png"),
    *("C:/a.png", "c:a.png", "../a.png", "images/../../a.png", "images/..", "..", "a/../images/a.png", "..\\a.png"),
    *("images/a.png\0.txt", "images/\na.png", "link/a.png", "images/link.png", "images/linked.png/a.png", "\ud800"),
)
INSIDE = (
    "images/a.png",
    "./images/a.png",
    "images//a.png",
    "images/inner.png",
    "new/b.png",
    "~/a",
    "loop/a",
    "a" * 300,
)
parts = st.sampled_from(
    ["..", ".", "", "images", "a.png", "link", "link.png", "C:", "\\\\x", "\\", "~", "x", "é", "loop"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    folder, victim = top / "data", top / "victim"
    (folder / "images").mkdir(parents=True)
    victim.mkdir()
    for path in (folder / "images" / "a.png", victim / "a.png", top / "a.png"):
        path.write_bytes(b"x")
    try:
        (folder / "link").symlink_to(victim, target_is_directory=True)
        (folder / "images" / "link.png").symlink_to(victim / "a.png")
        (folder / "images" / "linked.png").symlink_to(victim, target_is_directory=True)
        (folder / "images" / "inner.png").symlink_to("a.png")
        (folder / "loop").symlink_to("loop")
    except OSError:
        pytest.skip("links cannot be made here")
    return folder


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_a_path_out_of_the_folder_is_rejected(folder: Path, text: str) -> None:
    with pytest.raises(UnsafePath):
        PathResolver(folder).resolve(text)


@pytest.mark.parametrize("text", INSIDE, ids=ascii)
def test_a_path_inside_is_followed(folder: Path, text: str) -> None:
    assert PathResolver(folder).resolve(text) == folder / text


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    assert PathResolver(linked).resolve("images/a.png").is_file()
    assert is_inside(linked / "images" / "a.png", linked)


@settings(max_examples=50)
@given(st.lists(parts, min_size=1, max_size=5).map("/".join) | st.text(max_size=12))
def test_resolved_paths_are_inside_the_folder(folder: Path, text: str) -> None:
    try:
        found = PathResolver(folder).resolve(text)
    except UnsafePath:
        return
    real = Path(os.path.realpath(found))
    assert real.is_relative_to(os.path.realpath(folder))


def test_allowed_files_outside_are_listed(folder: Path) -> None:
    reported: list[str] = []
    with allow_outside_files(lambda outside: reported.append(str(outside))):
        paths = PathResolver(folder)
        assert paths.resolve("../a.png").is_file()
        assert paths.resolve(str(folder / "images" / "a.png")).is_file()  # absolute, and inside
        for _ in range(4):
            paths.resolve("images/link.png")
        with pytest.raises(UnsafePath):
            paths.resolve("a\0b")
        paths.report_outside()
    assert len(reported) == 1
    assert reported[0].startswith(f"5 files lie outside {folder}: ")
    assert reported[0].endswith(" and 2 more")
    with pytest.raises(UnsafePath):
        PathResolver(folder).resolve("../a.png")


def test_other_folders_that_the_user_named_are_open_and_nothing_else(folder: Path) -> None:
    with allow_folders([folder.parent / "victim"]):
        paths = PathResolver(folder)
        assert paths.resolve("../victim/a.png").is_file()
        assert paths.resolve("images/link.png").is_file()
        with pytest.raises(UnsafePath):
            paths.resolve("../a.png")
