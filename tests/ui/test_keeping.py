"""Nothing that the user drew is lost, and every result says what made it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_melanoma.io.results import read_mask, read_table

PATIENCE_MS = 20_000


@pytest.fixture
def corrected(person):
    """Somebody who has drawn on the mask of an analysed photograph."""
    person.opens()
    person.analyses()
    strikes(person, "mole")
    return person


def strikes(person, name, points=((10, 100), (10, 140)), **brush):
    """Draw a stroke on the mask of a photograph, and wait until everything follows."""
    person.draws(person.layer("mask", name), list(points), **brush)
    person.waits()


def saves(person):
    person.clicks("save")
    person.waits()


def disk(row, column, radius):
    """Skin with one dark disk: uint8 (row, column, channel)."""
    rows, columns = np.mgrid[:120, :160]
    dark = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return np.where(dark[..., None], np.uint8((70, 45, 40)), np.uint8((215, 170, 150)))


def test_another_photograph_of_the_same_name_is_asked_about(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    saves(corrected)
    drawn = corrected.mask.copy()
    corrected.viewer.layers.clear()
    corrected.opens(rgb=disk(40, 40, 20))
    corrected.analyses()
    corrected.clicks("save")
    corrected.answers("replace_result", "Cancel")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), drawn)
    corrected.clicks("save")
    corrected.answers("replace_result", "Replace")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), corrected.mask)
    saves(corrected)  # its own result of a moment ago: no question


def test_a_renamed_photograph_is_saved_under_the_name_it_has_now(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    (tmp_path / "mole").mkdir()
    (tmp_path / "mole" / "note.txt").write_text("of another day")
    corrected.viewer.layers["mole"].name = "left arm"
    assert str(tmp_path / "left arm") in corrected.dock.save_bar.button.toolTip()
    saves(corrected)
    assert (tmp_path / "mole" / "note.txt").is_file()
    assert json.loads((tmp_path / "left arm" / "result.json").read_text())["image"] == "left arm"
    assert [row["image"] for row in read_table(tmp_path / "results.csv")] == ["left arm"]
