"""A data set being gathered belongs to one command until it is complete or discarded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_melanoma.core.locks import is_locked
from napari_melanoma.data.dataset import assemble_folder


def test_a_discarded_folder_is_removed_before_its_lock_is_released(tmp_path: Path, monkeypatch) -> None:
    seen = []

    def removed(place: Path, **how: object) -> None:
        seen.append(is_locked(tmp_path / ".new.gathering.lock"))
        real(place, **how)

    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", removed)
    with pytest.raises(KeyError), assemble_folder(tmp_path / "new", discard_on=KeyError) as place:
        (place / "images" / "a.png").touch()
        raise KeyError
    assert seen == [True]
    assert list(tmp_path.iterdir()) == []


def test_files_of_an_earlier_attempt_are_kept(tmp_path: Path) -> None:
    for error in (ValueError, KeyError):
        with pytest.raises(error), assemble_folder(tmp_path / "new", discard_on=KeyError) as place:
            (place / "images" / "a.png").touch()
            raise error
    assert (place / "images" / "a.png").exists()
