"""The data of a run: checked first, recorded in its folder, and found again when it is resumed."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError, MelanomaError, RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.io.results import write_mask
from napari_melanoma.runs.bundling import create_bundle_config
from napari_melanoma.runs.resolved_settings import ResolvedSettings
from napari_melanoma.runs.starting_weights import ParentModel
from napari_melanoma.training.data_preparation import PreparedData, check_data, prepare_data
from napari_melanoma.training.pixel_store import INDEX, user_store_folder
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
SIDE = 48


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    return draw(tmp_path / "blobs")


@pytest.fixture
def of_data(recipe: TrainRecipe, data: Path, change: Callable[..., TrainRecipe]) -> TrainRecipe:
    return change(recipe, data={"datasets": (str(data),)})


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def prepare(recipe: TrainRecipe, folder: RunFolder, resume: bool = False) -> PreparedData:
    return prepare_data(recipe, folder, resume=resume, run=RunContext())


def edit_table(data: Path, edit: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    """Change rows of a data set; None removes one."""
    rows = list(csv.DictReader((data / "dataset.csv").read_text().splitlines()))
    edited = [row for row in map(edit, rows) if row is not None]
    lines = [",".join(edited[0]), *(",".join(row.values()) for row in edited)]
    (data / "dataset.csv").write_text("\n".join(lines) + "\n")


def test_without_validation_images_the_test_images_are_monitored(
    of_data: TrainRecipe, tmp_path: Path, change: Callable[..., TrainRecipe]
) -> None:
    alone = change(of_data, keep="last", threshold_rule="half", data={"validation_fraction": 0})
    usual, prepared = prepare(of_data, RunFolder(tmp_path / "usual")), prepare(alone, RunFolder(tmp_path / "alone"))
    names = [
        {one.image_id for one in part}
        for part in (usual.samples.training, usual.samples.validation, usual.samples.test)
    ]
    assert all(names)
    assert {one.image_id for one in prepared.samples.training} == names[0] | names[1]
    assert {one.image_id for one in prepared.samples.validation} == names[2]
    assert prepared.samples.test == []
    resumed = prepare(alone, RunFolder(tmp_path / "alone"), resume=True)
    assert resumed.samples.validation == prepared.samples.validation


def pixels(prepared: PreparedData) -> list[np.ndarray]:
    caches = [cache for cache in (prepared.train, prepared.validation, prepared.replay) if cache]
    return [part for cache in caches for part in cache.read(range(len(cache)))]


def test_prepared_data_match_the_split_and_the_table(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    prepared = prepare(of_data, run_folder)
    parts = prepared.samples
    assert [len(prepared.train), len(prepared.validation)] == [len(parts.training), len(parts.validation)] == [16, 4]
    assert prepared.replay is None
    assert {sample.split for sample in parts.test} == {"test"}
    assert not {s.group for s in parts.training} & {s.group for s in [*parts.validation, *parts.test]}
    masks = [np.asarray(Image.open(sample.mask)) > 0 for sample in parts.training]
    assert prepared.lesion_share == pytest.approx(np.mean([mask.mean() for mask in masks]))
    rows = list(csv.DictReader(run_folder.data.read_text().splitlines()))
    assert [row["part"] for row in rows] == ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    assert [row["image_id"] for row in rows[:16]] == [sample.image_id for sample in parts.training]
    assert all(len(row["image_sha"]) == len(row["mask_sha"]) == 64 for row in rows)


def test_the_fingerprint_depends_on_content_and_parts_and_not_on_paths(
    of_data: TrainRecipe, data: Path, tmp_path: Path, change: Callable[..., TrainRecipe]
) -> None:
    first = prepare(of_data, RunFolder(tmp_path / "first")).fingerprint
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "blobs")
    elsewhere = change(of_data, data={"datasets": (str(moved),)})
    assert prepare(elsewhere, RunFolder(tmp_path / "second")).fingerprint == first
    other_parts = change(of_data, data={"validation_fraction": 0.4})
    assert prepare(other_parts, RunFolder(tmp_path / "third")).fingerprint != first
    write_mask(moved / "masks/b03.png", np.eye(SIDE, dtype=bool))
    assert prepare(elsewhere, RunFolder(tmp_path / "fourth")).fingerprint != first


def test_a_resumed_run_keeps_the_images_it_began_with(of_data: TrainRecipe, data: Path, run_folder: RunFolder) -> None:
    began = prepare(of_data, run_folder)
    table = run_folder.data.read_bytes()
    edit_table(data, lambda row: None if row["image_id"] == "b01" else row)
    (data / "images/b02.png").unlink()
    write_mask(data / "masks/b03.png", np.eye(SIDE, dtype=bool))
    resumed = prepare(of_data, run_folder, resume=True)
    assert resumed.samples == began.samples
    assert resumed.fingerprint == began.fingerprint
    assert resumed.lesion_share == began.lesion_share
    assert run_folder.data.read_bytes() == table
    for part, expected in zip(pixels(resumed), pixels(began), strict=True):
        assert np.array_equal(part, expected)


def test_missing_pixels_of_a_resumed_run_are_decoded_again(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    began = pixels(prepare(of_data, run_folder))
    for path in user_store_folder().rglob("*.npy"):
        path.unlink()
    for part, expected in zip(pixels(prepare(of_data, run_folder, resume=True)), began, strict=True):
        assert np.array_equal(part, expected)


def test_a_lost_index_of_the_pixels_is_filled_again(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    """It has the share of the lesion in each mask, which sets the weights of the loss."""
    began = prepare(of_data, run_folder)
    (user_store_folder() / INDEX).unlink()
    assert prepare(of_data, run_folder, resume=True).lesion_share == began.lesion_share > 0


def test_files_that_are_lost_are_named(of_data: TrainRecipe, data: Path, run_folder: RunFolder) -> None:
    learnt = prepare(of_data, run_folder).samples.training
    for path in user_store_folder().rglob("*.npy"):
        path.unlink()
    write_mask(learnt[0].mask, np.eye(SIDE, dtype=bool))
    learnt[1].image.unlink()
    with pytest.raises(RunError, match="have been changed or deleted") as fault:
        prepare(of_data, run_folder, resume=True)
    assert str(learnt[0].mask) in str(fault.value)
    assert str(learnt[1].image) in str(fault.value)


def test_a_run_without_its_table_is_prepared_again(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    assert len(prepare(of_data, run_folder, resume=True).train) == 16


def test_an_invalid_table_is_refused(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    run_folder.path.mkdir()
    run_folder.data.write_text("part,image_id\nlesson,b01\n")
    with pytest.raises(RunError, match=r"data\.csv.*is not readable"):
        prepare(of_data, run_folder, resume=True)


def spoil_size(data: Path) -> None:
    for name in ("b00", "b01", "b02", "b03"):
        write_mask(data / f"masks/{name}.png", np.ones((20, 30), dtype=bool))


def spoil_orientation(data: Path) -> None:
    """The image is stored rotated, and so is its mask, which has no EXIF orientation."""
    upright = np.full((SIDE, 32, 3), 200, np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(upright).save(data / "images/b00.png", exif=exif)
    write_mask(data / "masks/b00.png", np.ones((SIDE, 32), dtype=bool))


def spoil_image(data: Path) -> None:
    content = (data / "images/b05.png").read_bytes()
    (data / "images/b05.png").write_bytes(content[:200])


def spoil_test_set(data: Path) -> None:
    (data / "masks/b23.png").write_bytes(b"no image")


def leave_no_lesion(data: Path) -> None:
    for mask in (data / "masks").iterdir():
        write_mask(mask, np.zeros((SIDE, SIDE), dtype=bool))


def leave_no_skin(data: Path) -> None:
    for mask in (data / "masks").iterdir():
        write_mask(mask, np.ones((SIDE, SIDE), dtype=bool))


def leave_one_patient(data: Path) -> None:
    edit_table(data, lambda row: {**row, "patient_id": "somebody"} if row["split"] == "train" else row)


def leave_one_image(data: Path) -> None:
    edit_table(data, lambda row: row if row["image_id"] in ("b00", "b23") else None)


def leave_no_mask(data: Path) -> None:
    shutil.rmtree(data / "masks")


@pytest.mark.parametrize(
    ("spoil", "expected_message"),
    [
        (spoil_size, r"found 4 of another size: .*b00\.png \(30 x 20, image 48 x 48\).* and 1 more\. Export"),
        (spoil_orientation, r"found 1 of another size: .*b00\.png \(32 x 48, upright image 48 x 32\)"),
        (spoil_image, r"1 of the files cannot be used.*b05\.png is damaged.*Replace"),
        (spoil_test_set, r"b23\.png cannot be read as a mask"),
        (leave_no_lesion, "found no pixel of lesion in any of the 16 training masks"),
        (leave_no_skin, "found no pixel of skin in any of the 16 training masks"),
        (leave_one_patient, "all 20 images of the training and validation sets are of one patient"),
        (leave_one_image, "the training set has 1 image and the validation set 0"),
        (leave_no_mask, "the training set has 0 images"),
        (lambda data: (data / "images/b07.png").unlink(), "the image of 'b07' is missing"),
    ],
)
@pytest.mark.parametrize("step", ["check", "prepare"])
def test_faulty_data_is_reported_first(
    step: str,
    spoil: Callable[[Path], Any],
    expected_message: str,
    of_data: TrainRecipe,
    data: Path,
    run_folder: RunFolder,
) -> None:
    spoil(data)
    with pytest.raises(MelanomaError, match=expected_message):
        if step == "check":
            check_data(of_data, RunContext())
        else:
            prepare(of_data, run_folder)
    assert not run_folder.path.exists()


def test_missing_replay_data_are_reported(
    of_data: TrainRecipe, tmp_path: Path, change: Callable[..., TrainRecipe], draw: Callable[..., Path]
) -> None:
    with pytest.raises(DataSetError, match=r"data\.replay: .* is not a data set.*leave data\.replay empty"):
        check_data(change(of_data, data={"replay": (str(tmp_path / "nowhere"),)}), RunContext())
    edit_table(replay := draw(tmp_path / "replay", count=8), lambda row: {**row, "split": "test"})
    with pytest.raises(DataSetError, match=r"data\.replay: found no image with a mask in the split 'train'"):
        check_data(change(of_data, data={"replay": (str(replay),)}), RunContext())


@pytest.mark.parametrize("tested_by", ["the data", "the replay data"])
def test_a_test_image_under_another_name_is_not_trained_on(
    tested_by: str,
    of_data: TrainRecipe,
    data: Path,
    run_folder: RunFolder,
    change: Callable[..., TrainRecipe],
    draw: Callable[..., Path],
    tmp_path: Path,
    events: Callable[[Path], list[dict[str, Any]]],
) -> None:
    recipe, tested = of_data, data / "images/b22.png"
    if tested_by == "the replay data":
        replay = draw(tmp_path / "replay", count=12, seed=5)
        recipe, tested = change(of_data, data={"replay": (str(replay),)}), replay / "images/b10.png"
    learnt = prepare(of_data, RunFolder(tmp_path / "before")).samples.training[0]
    Image.open(tested).save(tmp_path / "again.png", compress_level=0)  # the same pixels in another file
    shutil.move(tmp_path / "again.png", learnt.image)
    prepared = prepare(recipe, run_folder)
    assert learnt not in prepared.samples.training
    assert len(prepared.samples.training) == len(prepared.train) == 14  # without the other image of the patient
    assert len(prepared.samples.test) == 4
    removed = next(event["message"] for event in events(run_folder.path) if event["message"].startswith("Removed"))
    assert removed.startswith("Removed from the training data, because the same picture, or")
    assert learnt.image_id in removed


def test_a_helper_and_a_resumed_run_do_not_compare_pictures_again(
    of_data: TrainRecipe, run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process has checked them, and stored the result."""
    first = prepare(of_data, run_folder)
    monkeypatch.setattr("napari_melanoma.training.data_selection.find_same_pictures", None)
    again = prepare_data(of_data, run_folder, resume=True, run=RunContext())
    assert again.samples == first.samples


def test_a_check_counts_warns_and_writes_nothing(of_data: TrainRecipe, data: Path, tmp_path: Path) -> None:
    write_mask(data / "masks/b00.png", np.zeros((SIDE, SIDE), dtype=bool))
    before = sorted(tmp_path.rglob("*"))
    report = check_data(of_data, RunContext())
    assert report.counts == {"train": 16, "validation": 4, "test": 4, "replay": 0}
    assert report.groups == 10
    assert report.domains == {"blobs": 16}
    assert 0.1 < report.lesion_share < 0.3
    assert report.warnings == (
        "No image of blobs has the split 'val', so the validation set is 4 images of 2 patients or lesions: 20 % of "
        "those to train on.",
        "The test set has only 4 images: too few to decide whether the new model is better.",
        "Epoch, threshold and validation figures will be imprecise: 4 validation images of 2 patients or lesions. "
        "Assign more patients to the validation split, or increase data.validation_fraction.",
        "1 of the 16 training masks are empty: b00.",
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_check_reuses_decoded_images(
    of_data: TrainRecipe, run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(of_data, run_folder)
    before = {path: path.stat().st_mtime_ns for path in user_store_folder().iterdir()}
    monkeypatch.delattr("napari_melanoma.training.pixel_store.read_photograph")
    assert check_data(of_data, RunContext()).counts["train"] == 16
    assert {path: path.stat().st_mtime_ns for path in user_store_folder().iterdir()} == before


def test_a_cancelled_preparation_leaves_no_table(of_data: TrainRecipe, run_folder: RunFolder) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        prepare_data(of_data, run_folder, resume=False, run=run)
    assert not run_folder.data.exists()


@pytest.mark.parametrize(
    ("every", "share", "title"),
    [(1, 1.0, ": phantom-trained, demonstration"), (2, 0.5, ": partly phantom"), (0, 0, "")],
)
def test_search_options_are_recorded_in_the_model_after_a_resumed_run(
    of_data: TrainRecipe, data: Path, run_folder: RunFolder, every: int, share: float, title: str
) -> None:
    names = [row["image_id"] for row in csv.DictReader((data / "dataset.csv").read_text().splitlines())]
    drawn = {name for place, name in enumerate(names) if every and place % every == 0}
    edit_table(data, lambda row: {**row, "source": "phantom-cohort" if row["image_id"] in drawn else "clinic"})
    prepare(of_data, run_folder)
    resumed = prepare(of_data, run_folder, resume=True)
    config = create_bundle_config(of_data, resumed, ResolvedSettings(batch_size=2))
    assert config.synthetic_share == pytest.approx(share, abs=0.2 * (0 < share < 1))
    assert config.title.startswith(f"{of_data.title}{title}")
    assert ("hantom" in config.title) == bool(every)
    assert ("Phantom" in draft_card(config)) == bool(every)


PARENT = ParentModel(
    name="parent", fingerprint="", mean=(0.5,) * 3, std=(0.5,) * 3, threshold=0.6, closer_views=(1.4, 2.4)
)


@pytest.mark.parametrize(
    ("stated", "parent", "expected"),
    [
        (None, None, ()),
        (None, PARENT, (1.4, 2.4)),
        (None, PARENT.model_copy(update={"part": "encoder"}), ()),
        ((2.0,), PARENT, (2.0,)),
        ((), PARENT, ()),
    ],
)
def test_a_model_has_the_closer_views_of_its_recipe_or_of_its_start(
    of_data: TrainRecipe,
    run_folder: RunFolder,
    change: Callable[..., TrainRecipe],
    stated: tuple[float, ...] | None,
    parent: ParentModel | None,
    expected: tuple[float, ...],
) -> None:
    recipe = change(of_data, model={"closer_views": stated})
    config = create_bundle_config(recipe, prepare(recipe, run_folder), ResolvedSettings(batch_size=2, parent=parent))
    assert config.closer_views == expected
    assert ("Closer views" in draft_card(config)) == bool(expected)


@pytest.mark.parametrize(
    ("stated", "part", "expected"), [(None, "all", 4), (8, "all", 8), (None, "encoder", None), (4, "encoder", 4)]
)
def test_a_model_has_the_turned_views_of_its_recipe_or_of_its_start(
    of_data: TrainRecipe,
    run_folder: RunFolder,
    change: Callable[..., TrainRecipe],
    stated: int | None,
    part: str,
    expected: int | None,
) -> None:
    recipe = change(of_data, model={"turned_views": stated})
    parent = PARENT.model_copy(update={"part": part, "turned_views": 4})
    config = create_bundle_config(recipe, prepare(recipe, run_folder), ResolvedSettings(batch_size=2, parent=parent))
    assert config.turned_views == expected
    assert ("Turned views" in draft_card(config)) == bool(expected)
