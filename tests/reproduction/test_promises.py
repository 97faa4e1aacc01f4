"""What --check promises is what runs, for data sets that lack masks, ages, a class or labels, and for tiles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.source_import import import_source
from napari_melanoma.data.sources import find_source
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.reproduction import paper_rows, tables
from napari_melanoma.reproduction.options import ReproduceOptions, fill_roles, read_begun_plan
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.planning import PlannedRow, ReproductionFolder, ReproductionPlan
from napari_melanoma.reproduction.run import Reproduction, check, reproduce
from napari_melanoma.runs.train import check_recipe, train
from napari_melanoma.training.recipe import TrainRecipe

Patched = Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]
COUNT = 30
P1_ROWS = ("b-only", "adapt-pseudo-labels", "table-alone")
P2_ROWS = ("constant-negative", "cls-lite0")


def without(folder: Path, *columns: str) -> None:
    """Empty columns of a data set's table."""
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, **dict.fromkeys(columns, "")} for row in rows])


def no_masks(folder: Path) -> None:
    for mask in (folder / "masks").iterdir():
        mask.unlink()


def one_class(folder: Path) -> None:
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "melanoma": "0", "diagnosis": "nevus"} for row in rows])


def tiles(folder: Path) -> None:
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "modality": "tbp_tile"} for row in rows])


LACKING: dict[str, Callable[[Path], None]] = {
    "nothing": lambda folder: None,
    "masks": no_masks,
    "ages": lambda folder: without(folder, "age"),
    "melanomas": one_class,
    "labels": lambda folder: without(folder, "melanoma", "diagnosis"),
    "other modalities": tiles,
}


def options_of(paper: str, folder: Path, moles: Callable[..., Path], lacking: str) -> ReproduceOptions:
    """Mock data sets for the roles of a paper; the last one lacks something."""
    roles, rows = {"P1": (("A", "B"), P1_ROWS), "P2": (("HAM10000",), P2_ROWS)}[paper]
    for seed, role in enumerate(roles):
        moles(folder / role.lower(), COUNT, seed=seed)
    LACKING[lacking](folder / roles[-1].lower())
    data = tuple(f"{role}={folder / role.lower()}" for role in roles)
    return ReproduceOptions(paper=paper, budget="small", minutes=1e6, rows=rows, data=data)


def find_dark(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Find the lesions of ``moles`` without a network."""
    return (rgb.mean(axis=2) < 130).astype(np.float32)


def run_checked(options: ReproduceOptions, out: Path, patched: Patched) -> Reproduction:
    """Reproduce with the data of each training really read and checked, networks written and lesions found by color."""
    with patched() as write, pytest.MonkeyPatch.context() as patch:

        def pretend(recipe: TrainRecipe, folder: Path, **more: Any) -> None:
            if recipe.classification is None:  # a baseline, which has nothing to train
                train(recipe, folder, **more)
                return
            untrained = recipe.model_copy(update={"model": recipe.model.model_copy(update={"start": "none"})})
            check_recipe(untrained, RunContext())
            write(recipe, folder)

        patch.setattr(Segmenter, "probability", find_dark)
        patch.setattr(paper_rows, "train", pretend)
        patch.setattr(tables, "draw_figures", lambda *of: [])
        return reproduce(options, out, run=RunContext())


@pytest.mark.parametrize(
    ("paper", "lacking"),
    [("P1", "nothing"), ("P1", "ages"), ("P1", "other modalities")] + [("P2", lacking) for lacking in LACKING],
)
def test_what_a_check_promises_is_what_runs(
    paper: str,
    lacking: str,
    tmp_path: Path,
    moles: Callable[..., Path],
    planned: None,
    patched: Patched,
) -> None:
    options = options_of(paper, tmp_path, moles, lacking)
    plan = check(options, run=RunContext()).plan
    done = run_checked(options, tmp_path / "out", patched)
    assert done.missing.all == {}
    assert {item.row.name for item in done.results} == set(plan.by_name)
    assert done.plan.left_out.keys() == plan.left_out.keys()
    assert set(plan.by_name).isdisjoint(plan.left_out)
    if lacking in ("nothing", "ages", "other modalities"):
        assert plan.left_out == {}


@pytest.mark.parametrize("lacking", ["melanomas", "labels"])
def test_what_no_row_can_use_is_rejected_alike_by_check_and_run(
    lacking: str, tmp_path: Path, moles: Callable[..., Path]
) -> None:
    options = options_of("P1", tmp_path, moles, lacking)
    with pytest.raises(InputError, match="--labels B=FILE"):
        check(options, run=RunContext())
    with pytest.raises(InputError, match="--labels B=FILE"):
        reproduce(options, tmp_path / "out", run=RunContext())


def published_sets(folder: Path) -> tuple[Path, Path]:
    """Mock-ups of ISIC 2024 and iToBoS 2024 with the columns of their publishers, imported."""
    noise = np.random.default_rng(0)
    isic, itobos = folder / "downloads/isic2024", folder / "downloads/itobos"
    tiles, regions = [], []
    for number in range(COUNT):
        name, melanoma = f"ISIC_{number:07d}", number % 3 == 0
        write_rgb(isic / f"train-image/image/{name}.png", noise.integers(0, 256, (40, 40, 3), np.uint8))
        (isic / f"train-image/image/{name}.png").rename(isic / f"train-image/image/{name}.jpg")
        finding = "Malignant::Malignant melanocytic proliferations (Melanoma)::Melanoma Invasive"
        about = {"isic_id": name, "target": int(melanoma), "patient_id": f"IP_{number}", "age_approx": "60.0"}
        place = {"anatom_site_general": "lower extremity", "image_type": "TBP tile: close-up"}
        tiles.append({**about, **place, "iddx_full": finding if melanoma else "Benign"})
        write_rgb(itobos / f"train/images/region_{number}.png", noise.integers(0, 256, (40, 40, 3), np.uint8))
        regions.append({"image_id": f"region_{number}", "age_at_baseline": "43", "body_part": "torso back"})
    write_table(isic / "train-metadata.csv", tiles)
    write_table(itobos / "train/metadata.csv", regions)
    for name, downloaded in (("isic2024", isic), ("itobos2024", itobos)):
        import_source(find_source(name), downloaded, folder / name, run=RunContext())
    return folder / "isic2024", folder / "itobos2024"


def test_the_data_sets_of_p1_are_recognized_and_take_labels(tmp_path: Path, planned: None) -> None:
    published_sets(tmp_path)
    options = ReproduceOptions(
        paper="P1", budget="small", minutes=1e6, rows=("a-only", "b-only"), data=(str(tmp_path),)
    )
    with pytest.raises(InputError, match=r"B: 0 melanomas and 0 others.*itobos2024.*--labels B=FILE"):
        check(options, run=RunContext())
    labels = tmp_path / "labels.csv"
    write_table(labels, [{"image_id": f"region_{number}", "melanoma": number % 2} for number in range(COUNT)])
    plan = check(options.model_copy(update={"labels": (f"B={labels}",)}), run=RunContext()).plan
    assert {role: [Path(path).name for path in paths] for role, paths in plan.data.items()} == {
        "A": ["isic2024"],
        "B": ["itobos2024"],
    }
    assert set(plan.by_name) == {"a-only", "b-only"}
    assert plan.labels == {"B": str(labels)}


def test_what_a_data_set_lacks_is_said_before_the_download() -> None:
    with pytest.raises(InputError, match=r"iToBoS 2024 from .* no labels of melanoma.*"):
        fill_roles(read_paper("P1"), [], ("A", "B"))


def test_labels_of_other_images_are_rejected(tmp_path: Path, moles: Callable[..., Path]) -> None:
    options = options_of("P1", tmp_path, moles, "nothing")
    labels = tmp_path / "labels.csv"
    write_table(labels, [{"image_id": "unknown", "melanoma": "1"}])
    with pytest.raises(InputError, match=r"labels none of 30 images: .*image_id.*'m0'"):
        check(options.model_copy(update={"labels": (f"B={labels}",)}), run=RunContext())
    with pytest.raises(ConfigError, match=r"belong to no data: expected ROLE=FILE, ROLE A or B"):
        check(options.model_copy(update={"labels": (f"X={labels}",)}), run=RunContext())


@pytest.mark.parametrize(
    ("rows", "sets", "message"),
    [
        ([("m0", "1"), ("m0", "0")], ("b",), "different labels for the image 'm0'"),
        ([("m0", "1")], ("b", "c"), "'m0', which is an image of several data sets"),
    ],
)
def test_labels_that_contradict_each_other_are_rejected(
    rows: list[tuple[str, str]], sets: tuple[str, ...], message: str, tmp_path: Path, moles: Callable[..., Path]
) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        moles(tmp_path / name, COUNT, seed=seed)
    write_table(tmp_path / "labels.csv", [{"image_id": name, "melanoma": label} for name, label in rows])
    data = (f"A={tmp_path / 'a'}", *(f"B={tmp_path / name}" for name in sets))
    labels = (f"B={tmp_path / 'labels.csv'}",)
    with pytest.raises(InputError, match=message):
        check(ReproduceOptions(paper="P1", rows=("b-only",), data=data, labels=labels), run=RunContext())


def test_labels_of_a_role_are_those_of_its_control_too(tmp_path: Path, moles: Callable[..., Path]) -> None:
    without(moles(tmp_path / "s", COUNT), "melanoma", "diagnosis")
    write_table(
        tmp_path / "s.csv", [{"image_id": f"m{number}", "metastasis": number // 2 % 2} for number in range(COUNT)]
    )
    options = ReproduceOptions(
        paper="P3", rows=("control",), data=(f"S={tmp_path / 's'}",), labels=(f"S={tmp_path / 's.csv'}",)
    )
    assert "control" in check(options, run=RunContext()).plan.by_name


def test_a_folder_that_was_begun_with_other_recipes_is_not_continued(tmp_path: Path) -> None:
    rows = read_paper("P2").select(("cls-lite0",))
    planned = tuple(PlannedRow(name=row.name, recipe=row.digest("small")) for row in rows)
    plan = ReproductionPlan(paper="P2", budget="small", minutes=40, data={}, rows=planned)
    options, place = ReproduceOptions(paper="P2", budget="small", rows=("cls-lite0",)), ReproductionFolder(tmp_path)
    write_json(place.plan, plan.model_dump(mode="json"))
    assert read_begun_plan(options, place) == plan
    before = plan.model_copy(update={"rows": tuple(row.model_copy(update={"recipe": ""}) for row in planned)})
    write_json(place.plan, before.model_dump(mode="json"))
    with pytest.raises(RunError, match=r"started with other recipes of .*cls-lite0, by another version"):
        read_begun_plan(options, place)
