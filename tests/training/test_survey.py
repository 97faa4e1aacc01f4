"""Which images a run learns from: nobody who is held out, no two data sets of one name, and quickly for many."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.splits import Parts
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.training.cache_index import Facts
from napari_melanoma.training.prepare import check_data
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.same_pictures import as_one
from napari_melanoma.training.survey import Chosen, choose, without_leaks

pytestmark = pytest.mark.usefixtures("user_folders")


def edit(folder: Path, values: Callable[[int, dict[str, str]], dict[str, str]]) -> Path:
    """Change cells of a data set."""
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [row | values(number, row) for number, row in enumerate(rows)])
    return folder


def test_many_images_are_looked_through_in_a_moment() -> None:
    """A search of the whole list for each image would take minutes here."""
    samples = [Sample(f"i{n}", Path(f"i{n}"), Path("m"), f"g{n}", "", "a") for n in range(20_000)]
    facts = {sample.image: Facts(1, 1, 0.0, sample.image_id) for sample in samples}
    facts[samples[-1].image] = facts[samples[0].image]
    start = time.perf_counter()
    chosen, notices = without_leaks(Chosen(Parts(samples[:-2], samples[-2:-1], samples[-1:])), facts)
    assert time.perf_counter() - start < 1.0
    assert len(chosen.parts.learn) == 19_997
    assert notices == [
        "Not learnt from, as the same picture is held out or tuned on under another name: i0.",
    ]


def test_a_patient_who_is_held_out_in_part_is_not_learnt(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    """The second image of patient 0 is to be judged on; the other one would have been learnt from."""
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "val"} if number == 1 else {})
    found = check_data(change(recipe, data={"datasets": (str(data),)}), RunContext())
    assert (found.counts["learn"] + found.counts["tuning"], found.counts["held_out"]) == (18, 5)
    assert found.warnings[0].startswith("1 of the images are not learnt from, as others of their patient or lesion")
    assert "clinic/p0" in found.warnings[0]


def test_base_data_do_not_teach_who_is_held_out(recipe: TrainRecipe, change: Any) -> None:
    """The base is the same folder: its patients are those of the run."""
    same = change(recipe, data={"base": recipe.data.datasets, "split": "val", "held_out_split": "train"})
    chosen = choose(same)
    assert not {s.group for s in chosen.read} & {s.group for s in chosen.judged}


def test_a_name_that_is_held_out_here_and_learnt_there_is_said(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    """Patients 10 and 11 of one data set judge; the other data set has patients of these names to learn from."""
    other = edit(draw(tmp_path / "other", seed=1), lambda *_: {"split": "train"})
    found = check_data(change(recipe, data={"datasets": (*recipe.data.datasets, str(other))}), RunContext())
    assert any(
        said.startswith("2 of the patients, lesions or images are held out in one data set, and learnt from in another")
        and "p10, p11" in said
        for said in found.warnings
    )


def test_two_data_sets_of_one_name_are_refused(recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path) -> None:
    folders = [str(draw(tmp_path / clinic / "data")) for clinic in ("north", "south")]
    for data in ({"datasets": folders}, {"datasets": folders[:1], "base": folders[1:]}):
        with pytest.raises(DataSetError, match=r"two data sets have the name 'data': .*north.*south.*rename one"):
            choose(change(recipe, data=data))


def test_left_out_is_remembered_when_copies_are_found() -> None:
    left = Sample("x", Path("x"), Path("m"), "g", "train", "a")
    chosen = replace(Chosen(Parts([], [], [])), left_out=(left,))
    assert without_leaks(chosen, {})[0].left_out == (left,)


def test_a_picture_in_another_size_and_tint_counts_as_the_same(draw, tmp_path: Path, user_folders: Path) -> None:
    folder = draw(tmp_path / "blobs", count=6)
    samples = read_dataset(folder)
    rgb = np.asarray(Image.open(samples[0].image).resize((60, 40))) * (1.0, 0.9, 0.8)
    Image.fromarray(rgb.astype(np.uint8)).save(samples[-1].image)
    facts = {sample.image: Facts(48, 48, 0.0, sample.image_id) for sample in samples}
    chosen = Chosen(Parts(samples[:-2], samples[-2:-1], samples[-1:]))
    unified = as_one(chosen, facts, RunContext(), keep=False)
    assert [unified[sample.image].pixels for sample in samples] == ["b00", "b01", "b02", "b03", "b04", "b00"]
    kept, notices = without_leaks(chosen, unified)
    assert [sample.image_id for sample in kept.parts.learn] == ["b01", "b02", "b03"]
    assert notices == ["Not learnt from, as the same picture is held out or tuned on under another name: b00."]
