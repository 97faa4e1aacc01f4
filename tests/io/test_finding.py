"""Files, folders and patterns become one list in natural order; empty ones are refused."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.discovery import SUFFIXES, find_images_and_tables, find_photographs, note_left_out
from napari_melanoma.slides.reading.detection import find_slides

FILES = [
    *("img10.jpg", "img2.JPG", "b/a.png", "b/c/deep.dcm", "b/notes.txt", "b/slide.ome.tif", "b/plain.tif"),
    *(".hidden.jpg", ".cache/x.jpg", "scan[1].png", "unknown.xyz"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with files of every kind, which is also where relative names start."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


CASES = [
    ("a file", ["img2.JPG"], ["img2.JPG"]),
    ("a file of unknown suffix is kept", ["unknown.xyz"], ["unknown.xyz"]),
    ("a folder, with its subfolders", ["b"], ["b/a.png", "b/c/deep.dcm", "b/plain.tif"]),
    ("numbers count as numbers", ["img10.jpg", "img2.JPG"], ["img2.JPG", "img10.jpg"]),
    ("a pattern", ["img*.jpg"], ["img10.jpg"]),
    ("a pattern for names of any kind", ["*"],
     ["b/a.png", "b/c/deep.dcm", "b/plain.tif", "img2.JPG", "img10.jpg", "scan[1].png"]),
    ("a pattern through subfolders", ["**/*.p?g"], ["b/a.png", "scan[1].png"]),
    ("a name that looks like a pattern", ["scan[1].png"], ["scan[1].png"]),
    ("each file once", ["b/a.png", "b", "./b/../b/*.png"], ["b/a.png", "b/c/deep.dcm", "b/plain.tif"]),
    ("paths as well as text", [Path("img10.jpg")], ["img10.jpg"]),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_find_photographs(inputs, expected, folder) -> None:
    found = [path.resolve().relative_to(folder.resolve()).as_posix() for path in find_photographs(inputs)]
    assert found == expected


@pytest.mark.parametrize("find", [find_photographs, find_images_and_tables, find_slides])
def test_an_empty_text_is_not_the_current_folder(find, folder) -> None:
    with pytest.raises(InputError, match="the path of an input is empty"):
        find([""])


JPEG, DICOM = b"\xff\xd8\xff\xe0", bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("find", "inputs", "left_out"),
    [
        (find_photographs, ["."], ["b/IM2", "b/IM10", "IM1"]),
        (find_photographs, ["b", "b/*"], ["b/IM2", "b/IM10"]),
        (find_photographs, ["b", "IM1", "b/IM2"], ["b/IM10"]),
        (find_images_and_tables, ["."], ["b/IM2", "IM1"]),
        (find_photographs, ["img2.JPG"], []),
    ],
)
def test_images_without_a_suffix_are_named(find, inputs, left_out, folder) -> None:
    for name, content in {"IM1": JPEG, "b/IM2": JPEG, "b/IM10": DICOM, "README": b"text", ".IM3": JPEG}.items():
        (folder / name).write_bytes(content)
    without_suffix: list[Path] = []
    found = find(inputs, without_suffix)
    assert not {*found} & {*without_suffix}
    notes = note_left_out(without_suffix)
    expected = ", ".join(Path(name).name for name in left_out)
    assert [text.partition(":")[0] for _, text in notes] == [expected] * bool(left_out)


@pytest.mark.parametrize("find", [find_photographs, find_images_and_tables])
def test_images_of_other_formats_are_named(find, folder) -> None:
    for name in ("b/raw.NEF", "anim.gif", ".hidden.gif", "notes.txt"):
        (folder / name).write_bytes(b"any")
    left_out: list[Path] = []
    find(["."], left_out)
    expected = "anim.gif, raw.NEF: images of formats that are not supported. Export them as PNG or JPEG."
    assert note_left_out(left_out) == [("left out", expected)]


def test_absolute_patterns(folder) -> None:
    assert find_photographs([str(folder / "b" / "*.png")]) == [folder / "b" / "a.png"]


def test_the_home_folder(folder, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert find_photographs(["~/img2.JPG"]) == [folder / "img2.JPG"]


def test_a_name_that_begins_with_a_tilde(folder) -> None:
    (folder / "~copy.png").touch()
    assert find_photographs(["~copy.png"]) == [Path("~copy.png")]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "no photograph was specified"),
        (["none.jpg"], "none.jpg does not exist"),
        (["none*.jpg"], "no photograph in"),
        (["*.txt"], "no photograph in"),
        ([".cache/none"], "does not exist"),
    ],
)
def test_inputs_without_result(inputs, message, folder) -> None:
    with pytest.raises(InputError, match=message):
        find_photographs(inputs)


def test_an_empty_folder_names_the_suffixes(tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        find_photographs([tmp_path])
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)
    assert str(caught.value).endswith("Check the folder.")
    with pytest.raises(InputError, match="expected at least one photograph, slide, DICOM file or table"):
        find_images_and_tables([tmp_path])
    with pytest.raises(InputError, match=r"^no image was specified\. Specify at least one photograph, slide, "):
        find_images_and_tables([])


@pytest.fixture
def unprivileged():
    """Return up the rights of root, who may read every folder."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no user ids")
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    yield
    os.seteuid(own)


def test_a_folder_that_cannot_be_read_is_not_passed_over(unprivileged) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "seen.jpg").touch()
        (folder / "locked").mkdir(mode=0o000)
        with pytest.raises(InputError, match="locked cannot be read: Permission denied"):
            find_photographs([folder])
    finally:
        (folder / "locked").chmod(0o700)
        shutil.rmtree(folder)
