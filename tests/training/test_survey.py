"""Selection of the training images: no patient of the test set, no two data sets of one name, no copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.duplicates import Duplicate
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_preparation import check_data
from napari_melanoma.training.data_selection import (
    SelectedSamples,
    find_copied_slides,
    find_same_pictures,
    remove_leaks,
    select_samples,
)
from napari_melanoma.training.pixel_store import DecodedFacts
from napari_melanoma.training.recipe import TrainRecipe

REMOVED = (
    "Removed from the training data, because the same picture, or another one of the same patient or lesion, is in the "
    "test or validation set under another name:"
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def edit(folder: Path, values: Callable[[int, dict[str, str]], dict[str, str]]) -> Path:
    """Change cells of a data set."""
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [row | values(number, row) for number, row in enumerate(rows)])
    return folder


class CountedGroup(str):
    """A group that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedGroup.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_excluding_images_compares_each_group_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 400,000 images that would take hours; images are compared by their groups."""
    monkeypatch.setattr(Sample, "__eq__", lambda one, other: one.group == other.group)
    monkeypatch.setattr(CountedGroup, "compared", 0)
    samples = [Sample(f"i{n}", Path(f"i{n}"), Path("m"), CountedGroup(f"g{n}"), "", "a") for n in range(2_000)]
    chosen, notices = remove_leaks(
        SelectedSamples(TrainingSplit(samples[:-2], samples[-2:-1], samples[-1:])),
        [Duplicate(samples[0], samples[-1], 1.0)],
    )
    assert CountedGroup.compared < 5 * len(samples)
    assert len(chosen.parts.training) == 1_997
    assert notices == [f"{REMOVED} 1 image, a/i0. The same picture: a/i0 and a/i1999 (similarity 1.00)."]


def test_other_images_of_a_test_patient_are_excluded(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    """The second image of patient 0 is a test image; the other one is excluded from training."""
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "test"} if number == 1 else {})
    found = check_data(change(recipe, data={"datasets": (str(data),)}), RunContext())
    assert (found.counts["train"] + found.counts["validation"], found.counts["test"]) == (18, 5)
    assert found.warnings[1].startswith("Excluded: 1 image, because other images of the same patient")
    assert "clinic/p0" in found.warnings[1]


def test_all_images_of_test_patients_is_the_reason_for_no_training_image(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    data = edit(
        draw(tmp_path / "clinic", count=8),
        lambda number, row: {"patient_id": f"p{number // 2}", "split": ("train", "test")[number % 2]},
    )
    with pytest.raises(
        DataSetError, match=r"split 'train': all 4 are of patients .* also in the test or val.*clinic/p0"
    ):
        check_data(change(recipe, data={"datasets": (str(data),)}), RunContext())


def test_val_is_the_validation_set_and_test_the_test_set(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "val"} if number < 6 else {})
    requested = change(recipe, data={"datasets": (str(data),)})
    found = check_data(requested, RunContext())
    assert (found.counts["validation"], found.counts["test"]) == (6, 4)
    assert not any(warning.startswith(("Not used", "No image")) for warning in found.warnings)
    found = check_data(change(requested, data={"test_split": "val"}), RunContext())
    assert found.counts["test"] == 6
    assert found.warnings[0].startswith(
        "Not used: the split 'test' (4 images). The recipe trains on 'train', validates on 'train' and tests on 'val'."
    )
    assert not any("has the split 'val'" in warning for warning in found.warnings), "these are the test images"


@pytest.mark.parametrize("name", ["validation_split", "test_split"])
def test_a_model_is_not_evaluated_on_the_split_that_it_is_trained_on(
    recipe: TrainRecipe, change: Any, name: str
) -> None:
    with pytest.raises(DataSetError, match=rf"data\.split and data\.{name} are both 'mine'"):
        check_data(change(recipe, data={"split": "mine", name: "mine"}), RunContext())


def test_warnings_without_a_share_for_validation(recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path) -> None:
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "val" if number < 2 else "train"})
    values = {"datasets": (str(data),), "validation_fraction": 0}
    of_table = change(recipe, keep="last", threshold_rule="half", data=values)
    found = check_data(of_table, RunContext())
    assert (found.counts["validation"], found.counts["test"]) == (2, 0)
    assert found.warnings[0].startswith("No image is in the test set")
    assert "imprecise: 2 validation images" in found.warnings[1]
    edit(data, lambda number, row: {"split": "test" if number < 2 else "train"})
    assert not check_data(of_table, RunContext()).warnings, "the test images are monitored, nothing is selected on them"
    parts = select_samples(of_table).parts
    assert data_checks.monitors_test(parts, of_table)


def test_images_of_any_split_are_replayed_if_the_column_is_not_used(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    data, replay = draw(tmp_path / "clinic"), draw(tmp_path / "replay")
    edit(replay, lambda number, row: {"split": "val"})
    values = {"datasets": (str(data),), "replay": (str(replay),), "split": "all"}
    chosen = select_samples(change(recipe, data=values))
    assert len(chosen.replay) == len(read_dataset(replay))


def test_validation_images_taken_from_the_training_split_are_reported(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    """Of four patients with several images, one is the validation set: that is few, and said before the training."""
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "train", "patient_id": f"p{number // 6}"})
    found = check_data(change(recipe, data={"datasets": (str(data),)}), RunContext())
    assert (found.counts["validation"], found.counts["test"]) == (6, 0)
    assert found.warnings[0] == (
        "No image of clinic has the split 'val', so the validation set is 6 images of 1 patient or lesion: 25 % of "
        "those to train on."
    )
    assert any("imprecise: 6 validation images of 1 patient or lesion." in warning for warning in found.warnings)
    assert any(warning.startswith("No image is in the test set") for warning in found.warnings)


def test_a_validation_patient_is_not_trained_on(recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path) -> None:
    """The other image of the patient is left out, and keeps no validation image from being used."""
    data = edit(draw(tmp_path / "clinic"), lambda number, row: {"split": "val"} if number in (1, 4, 5) else {})
    chosen = select_samples(change(recipe, data={"datasets": (str(data),)}))
    assert [sample.group for sample in chosen.left_out] == ["clinic/p0"]
    kept, notices = remove_leaks(chosen, [])
    assert (kept.parts.validation, notices) == (chosen.parts.validation, [])


def test_unlabeled_copies_of_test_pictures_are_removed(recipe: TrainRecipe, draw: Any, tmp_path: Path) -> None:
    """Pictures of the target domain of an adaptation, re-encoded and smaller, with other names and patients."""
    samples = read_dataset(draw(tmp_path / "clinic"))
    tested, validated, trained = samples[20:], samples[16:20], samples[:16]
    target = tmp_path / "target"
    target.mkdir()
    unlabelled = []
    for number, sample in enumerate((tested[1], validated[2], *read_dataset(draw(tmp_path / "other", seed=5))[:3])):
        image = target / f"u{number}.jpg"
        Image.open(sample.image).resize((44, 44)).save(image, quality=90)
        unlabelled.append(Sample(f"u{number}", image, None, f"target/owner {number % 4}", "", "target"))
    chosen = SelectedSamples(TrainingSplit(trained, validated, tested), unlabelled=tuple(unlabelled))
    same = find_same_pictures(chosen, {}, RunContext(), keep=False)
    assert {(pair.first.image_id, pair.second.image_id) for pair in same} == {
        (unlabelled[0].image_id, tested[1].image_id),
        (unlabelled[1].image_id, validated[2].image_id),
    }
    kept, notices = remove_leaks(chosen, same)
    # The fifth picture is no copy, but of the patient of the first one
    assert [sample.image_id for sample in kept.unlabelled] == ["u2", "u3"]
    assert kept.parts == chosen.parts
    assert notices[0].startswith(f"{REMOVED} 3 images, target/u0, target/u1, target/u4.")
    with pytest.raises(DataSetError, match=r"adaptation\.to: all of its usable images \(2 images\) show the same"):
        remove_leaks(replace(chosen, unlabelled=tuple(unlabelled[:2])), same)


def test_probable_patients_in_training_and_test_set_are_refused(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    data = draw(tmp_path / "clinic")
    rows = read_table(data / "dataset.csv")
    for number, row in enumerate(rows):  # two images of each patient, who is named in the file name alone
        name = f"case{number // 2:02}_{'ab'[number % 2]}"
        for kind in ("images", "masks"):
            (data / kind / f"{row['image_id']}.png").rename(data / kind / f"{name}.png")
        row |= {"image_id": name, "patient_id": "", "split": ("train", "test")[number % 12 == 0]}
    write_table(data / "dataset.csv", rows)
    leaking = change(recipe, data={"datasets": (str(data),)})
    with pytest.raises(DataSetError, match=r"clinic: probable patient leak: .*case00, case06.*data.accept_leaks"):
        check_data(leaking, RunContext())
    found = check_data(change(leaking, data={"accept_leaks": True}), RunContext())
    assert any("probable patient leak" in warning for warning in found.warnings)


def test_replay_data_exclude_test_patients(recipe: TrainRecipe, change: Any) -> None:
    """The replay data are in the same folder: their patients are those of the run."""
    same = change(recipe, data={"replay": recipe.data.datasets, "split": "test", "test_split": "train"})
    chosen = select_samples(same)
    assert not {s.group for s in chosen.for_training} & {s.group for s in chosen.for_test}


def test_a_name_in_test_and_training_data_is_reported(
    recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path
) -> None:
    """Patients 10 and 11 are in the test set of one data set; the other has training patients of these names."""
    other = edit(draw(tmp_path / "other", seed=1), lambda *_: {"split": "train"})
    found = check_data(change(recipe, data={"datasets": (*recipe.data.datasets, str(other))}), RunContext())
    assert any(
        expected_start.startswith(
            "The test set of one data set and the training data of another have patients, lesions or images of the "
            "same name (2)"
        )
        and "p10, p11" in expected_start
        for expected_start in found.warnings
    )


def test_two_data_sets_of_one_name_are_refused(recipe: TrainRecipe, draw: Any, change: Any, tmp_path: Path) -> None:
    folders = [str(draw(tmp_path / clinic / "data")) for clinic in ("north", "south")]
    for data in ({"datasets": folders}, {"datasets": folders[:1], "replay": folders[1:]}):
        with pytest.raises(DataSetError, match=r"two data sets have the name 'data': .*north.*south.*rename one"):
            select_samples(change(recipe, data=data))


def test_excluded_images_count_when_copies_are_found() -> None:
    left = Sample("x", Path("x"), Path("m"), "g", "train", "a")
    chosen = replace(SelectedSamples(TrainingSplit([], [], [])), left_out=(left,))
    assert remove_leaks(chosen, [])[0].left_out == (left,)


def test_a_picture_in_another_size_and_tint_counts_as_the_same(draw, tmp_path: Path, user_folders: Path) -> None:
    folder = draw(tmp_path / "blobs", count=6)
    samples = read_dataset(folder)
    rgb = np.asarray(Image.open(samples[0].image).resize((60, 40))) * (1.0, 0.9, 0.8)
    Image.fromarray(rgb.astype(np.uint8)).save(samples[-1].image)
    found = find(SelectedSamples(TrainingSplit(samples[:-2], samples[-2:-1], samples[-1:])))
    kept, notices = remove_leaks(*found)
    assert [sample.image_id for sample in kept.parts.training] == ["b02", "b03"]  # b01 is of the patient of b00
    expected_start = "2 images, blobs/b00, blobs/b01. The same picture: blobs/b00 and blobs/b05 (similarity 0.9"
    assert notices[0].startswith(f"{REMOVED} {expected_start}")


def find(chosen: SelectedSamples) -> tuple[SelectedSamples, list[Duplicate]]:
    """Look for the same pictures among images whose pixels all differ."""
    facts = {
        sample.image: DecodedFacts(48, 48, 0.0, str(sample.image))
        for sample in (*chosen.for_training, *chosen.for_test)
    }
    return chosen, find_same_pictures(chosen, facts, RunContext(), keep=False)


def copied(sample: Sample, path: Path) -> Path:
    """Resize a picture to be slightly smaller."""
    Image.open(sample.image).resize((40, 40)).save(path)
    return path


@pytest.fixture
def two_sets(draw: Any, tmp_path: Path) -> tuple[list[Sample], list[Sample]]:
    """Two data sets: images 0 and 1 of the first, of one lesion, are 0 and 1 of the second, which names no lesion."""
    first = read_dataset(draw(tmp_path / "first", count=6))
    second = read_dataset(draw(tmp_path / "second", count=6, seed=3))
    second = [replace(sample, group=f"second/{sample.image_id}") for sample in second]
    for one, other in zip(first[:2], second, strict=False):
        copied(one, other.image)
    return first, second


@pytest.mark.parametrize("left_out", [False, True])
def test_a_lesion_in_the_test_set_of_another_data_set_is_excluded(
    two_sets: tuple[list[Sample], list[Sample]], left_out: bool
) -> None:
    """Image 0 of the second set is a test image; its image 1 shows the lesion of image 1 of the first set."""
    first, second = two_sets
    if left_out:  # image 0 of the first set is a test image too, and its image 1 is excluded
        chosen = SelectedSamples(TrainingSplit(second[1:5], second[5:], first[:1]), left_out=(first[1],))
    else:
        chosen = SelectedSamples(TrainingSplit([*first[:4], *second[1:4]], second[4:], second[:1]), replay=(first[4],))
    kept, (notice,) = remove_leaks(*find(chosen))
    expected = second[2:5] if left_out else [*first[2:4], *second[2:4]]
    assert kept.parts.training == expected
    assert kept.replay == chosen.replay
    assert notice.startswith(f"{REMOVED} {'1 image' if left_out else '3 images'}, ")


def test_replay_and_validation_data_exclude_such_a_lesion_too(two_sets: tuple[list[Sample], list[Sample]]) -> None:
    first, second = two_sets
    chosen = SelectedSamples(TrainingSplit(second[2:], [first[1], first[2]], second[:1]), replay=(first[0], first[4]))
    kept, notices = remove_leaks(*find(chosen))
    assert (kept.parts.validation, kept.replay) == ([first[2]], (first[4],))
    assert [notice.split(",")[0] for notice in notices] == [
        "Removed from the training data",
        "Removed from the validation set",
    ]


@dataclass(frozen=True)
class Pixels:
    """Facts of an image, of which only the pixels are compared."""

    pixels: str


@pytest.mark.parametrize(("shared", "expected"), [(1, 0), (3, 3), (4, 4)])
def test_only_slides_that_share_half_of_their_tiles_are_copies(shared, expected):
    first = [Sample(f"a{n}", Path(f"a{n}"), None, "a", "", "d") for n in range(4)]
    second = [Sample(f"b{n}", Path(f"b{n}"), None, "b", "", "d") for n in range(4)]
    facts = {sample.image: Pixels(sample.image_id) for sample in first}
    facts |= {sample.image: Pixels(f"a{n}" if n < shared else sample.image_id) for n, sample in enumerate(second)}
    glass = [Sample(f"{g}{n}", Path(f"{g}{n}"), None, g, "", "d") for g in "ab" for n in (10, 11)]
    facts |= {sample.image: Pixels("glass") for sample in glass}
    first, second = [*first, *glass[:2]], [*second, *glass[2:]]
    chosen = SelectedSamples(TrainingSplit(first, [], second))
    assert len(find_copied_slides(chosen, facts)) == expected
