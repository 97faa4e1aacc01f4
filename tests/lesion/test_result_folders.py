"""Damaged results are kept, and the photograph is analyzed again into another folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.lesion.results import ResultFolders, read_result


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": "x"},
        {"provenance": {"batch": []}},
        {"provenance": {"batch": {"source": 3}}},
        {"model": []},
        {"image_shape": "x"},
        {"prediction": 1},
        {"prediction": {"verdict": "melanoma"}},
        {"prediction": {"warnings": "none"}},
        {"lesions_found": "2"},
        {"measurements": "none"},
    ],
)
def test_a_damaged_result_is_kept(change: dict[str, Any], tmp_path: Path) -> None:
    photograph, out = tmp_path / "photo.png", tmp_path / "out"
    photograph.write_bytes(b"x")
    (out / "photo").mkdir(parents=True)
    (out / "photo" / "result.json").write_text(json.dumps({"image": "photo", **change}))
    place = ResultFolders(out).assign(photograph)
    assert place.stored is None
    assert place.folder.name.startswith("photo-")


def test_a_result_that_is_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    folder = tmp_path / "out" / "photo"
    folder.mkdir(parents=True)
    (folder / "result.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="is a link to a file outside the folder"):
        read_result(folder)


def test_a_photograph_that_fails_is_not_named_as_another_one_of_the_run(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "photo.png" for folder in ("one", "two")]
    (tmp_path / "one").mkdir()
    paths[0].write_bytes(b"x")
    folders = ResultFolders(tmp_path / "out")
    assert folders.name_failed(paths[1]) == "photo"
    assert folders.assign(paths[0]).folder.name == "photo"
    with pytest.raises(InputError):
        folders.assign(paths[1])
    assert folders.name_failed(paths[1]).startswith("photo-")
    assert folders.name_failed(paths[1]) == folders.name_failed(paths[1])
