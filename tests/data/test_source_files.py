"""Downloaded files: archives, folders of any name, masks next to images."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.source_files import close_archives

PICTURE = b"picture"


def laid_out(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_images_of_one_name_in_two_folders_keep_their_own_masks(tmp_path: Path) -> None:
    names = ("a/images/x.jpg", "a/masks/x.png", "b/images/x.jpg", "b/images/lesion.jpg")
    files = dict.fromkeys((*names, "a/images/nu\u0308.jpg", "a/masks/n\u00fc.png"), PICTURE)  # macOS decomposes letters
    files["metadata.csv"] = "image_id,patient_id\nnu\u0308,P1\n".encode()
    records = find_source("folder").read_folder(laid_out(files, tmp_path)).records
    found = {record.image_id: record.mask and record.mask.name for record in records}
    assert [(record.image_id, record.values["patient_id"]) for record in records if record.values] == [("nu", "P1")]
    assert found == {"a_x": "a/masks/x.png", "b_x": None, "lesion": None, "nu": "a/masks/n\u00fc.png"}


EQUAL_NAMES = {
    "a photograph with a word for masks": {"images/a_label.png": "masks/a_label.png"},
    "beside one of the name without it": {"images/a.png": "masks/a.png", "images/a_label.png": "masks/a_label.png"},
    "in other folders": {"photos/p1/a_seg.png": "masks/a_seg.png", "photos/p1/b.png": "masks/b_seg.png"},
    "with a word that is left out": {"images/a.png": "masks/a_label.png", "images/b.png": "masks/b.png"},
    "beside each other": {"a.png": "a_mask.png", "b_lesion.png": "b_lesion_mask.png"},
    "two words": {"images/a_lesion.jpg": "masks/a_lesion_mask.png"},
    "folders of joined or German words": {"Bilder/a.jpg": "Masken/a.png", "two/b.jpg": "LesionMasks/b.png"},
    "masked images": {"masked/a.jpg": "masked masks/a.png"},
}


@pytest.mark.parametrize("pairs", EQUAL_NAMES.values(), ids=list(EQUAL_NAMES))
def test_equal_names_match_first(pairs: Mapping[str, str], tmp_path: Path) -> None:
    files = dict.fromkeys([*pairs, *pairs.values()], PICTURE)
    records = find_source("folder").read_folder(laid_out(files, tmp_path)).records
    assert {one.image.name: one.mask and one.mask.name for one in records if one.image} == dict(pairs)


INNERMOST = {
    "images and masks": ("images/x.jpg", "masks/x.png"),
    "photographs": ("photos/x.jpg", "ground truth/x.png"),
    "beside each other": ("x.jpg", "x_mask.png"),
    "a folder of any name": ("moles/x.jpg", "moles masks/x.png"),
}


@pytest.mark.parametrize("outer", ["skin segmentation", "masks of skin/2020"])
@pytest.mark.parametrize("names", INNERMOST.values(), ids=list(INNERMOST))
def test_an_outer_folder_does_not_make_everything_a_mask(names: tuple[str, str], outer: str, tmp_path: Path) -> None:
    files = {f"{outer}/{name}": PICTURE for name in names}
    (record,) = find_source("folder").read_folder(laid_out(files, tmp_path)).records
    assert (record.image and record.image.name, record.mask and record.mask.name) == tuple(files)


def test_masks_alone_are_no_images(tmp_path: Path) -> None:
    folder = laid_out(dict.fromkeys(("masks/x.png", "masks/y.png"), PICTURE), tmp_path)
    with pytest.raises(DataSetError, match="does not contain"):
        find_source("folder").read_folder(folder)


def patched(path: Path, local: int, central: int, value: int) -> None:
    """Change a field of 16 bits in the heads of the only member of an archive."""
    content = bytearray(path.read_bytes())
    for start, offset in ((0, local), (content.index(b"PK\1\2"), central)):
        content[start + offset : start + offset + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(("fields", "message"), [((6, 8, 1), "encrypted"), ((8, 10, 9), "compression")])
def test_an_unsupported_archive_is_an_error(fields: tuple[int, int, int], message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("x.jpg", PICTURE)
    patched(tmp_path / "images.zip", *fields)
    (record,) = find_source("folder").read_folder(tmp_path).records
    assert record.image is not None
    with pytest.raises(InputError, match=rf"images\.zip cannot be read here: .*{message}.*Unpack it into a folder"):
        record.image.read()


def test_archives_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[zipfile.ZipFile] = []

    class Noted(zipfile.ZipFile):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("x.jpg", PICTURE)
        archive.writestr("labels.csv", "image,dx\nx.jpg,nv\n")
    monkeypatch.setattr(zipfile, "ZipFile", Noted)
    (record,) = find_source("folder").read_folder(tmp_path).records
    assert [archive.fp for archive in opened] == [None, None]  # the list of members, the table
    assert record.image is not None
    assert record.image.read() == record.image.read() == PICTURE
    close_archives([record.image])
    assert [archive.fp for archive in opened] == [None] * 3
