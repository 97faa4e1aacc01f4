"""Two processes never write to one folder: the second is rejected, or analyzes other photographs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.locks import hold_output_lock
from napari_melanoma.lesion.results import ResultFolders
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom, save_lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

pytestmark = pytest.mark.usefixtures("dark")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    save_lesion_phantom(lesion_phantom(LesionPhantomConfig(size=(96, 128))), folder, "lesion_0000")
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "a.png")
    (folder / "dataset.csv").write_text("image_id,path\na,a.png\n", encoding="utf-8")
    return folder


VERBS = [
    ("phantom", "lesion", "--count", "1", "--out", "{out}"),
    ("phantom", "slide", "--count", "1", "--out", "{out}"),
    ("evaluate", "--model", "{model}", "--data", "{dataset}", "--out", "{out}"),
    ("compare", "--model", "{model}", "--model", "{model}", "--data", "{dataset}", "--out", "{out}"),
    ("data", "report", "{dataset}", "--out", "{out}"),
]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: " ".join(words[:2]))
def test_the_second_process_is_rejected_and_changes_nothing(run, words, photographs, dataset, tiny, tmp_path) -> None:
    out = tmp_path / "results"
    named = {"photographs": photographs, "dataset": dataset, "model": tiny, "out": out}
    with hold_output_lock(out):
        before = sorted(out.iterdir())
        done = run(*(word.format(**named) for word in words))
        assert sorted(out.iterdir()) == before
    assert done.exit_code == 2, done.output
    assert "another process works in" in done.output
    assert f"process {os.getpid()} of" in done.output
    assert not out.exists()


def test_a_finished_command_releases_the_folder(run, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    for _ in range(2):
        assert run("data", "report", dataset, "--out", out).exit_code == 0
    assert not list(out.glob(".output.*"))


def test_a_photograph_of_another_process_is_stated(run, photographs: Path, tmp_path: Path) -> None:
    folders = ResultFolders(tmp_path / "results")
    assert folders.claim(folders.assign(photographs / "lesion_0000.png"))
    done = run("lesion", photographs, "--out", tmp_path / "results")
    assert done.exit_code == 0
    assert "1 left to another process that analyzes them" in done.stdout
