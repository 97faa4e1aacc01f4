"""The rows planned by --check run, for data sets that lack masks, ages, a class or labels, and for tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset_import import import_source
from napari_melanoma.extensions.papers import image_features, paper_rows, tables
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproduceOptions,
    ReproductionFolder,
    ReproductionPlan,
    fill_roles,
    read_begun_plan,
)
from napari_melanoma.extensions.papers.run import Reproduction, check, reproduce
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import BundleConfig, write_bundle
from napari_melanoma.models.zoo import build_network, count_parameters
from napari_melanoma.runs.train import check_recipe, train
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import write_data

Patched = Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]
COUNT = 30
LATER_FOLDS = ("fold-2", "fold-3")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_folds")]
P1_ROWS = ("b-only", "adapt-pseudo-labels", "table-alone")
P2_ROWS = ("constant-negative", "cls-lite0")
P4_ROWS = ("transfer-d-then-m", "transfer-zero-shot")


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


def every_row(folder: Path, **values: str) -> None:
    """Set columns of a data set's table."""
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, **values} for row in rows])


def tiles(folder: Path) -> None:
    every_row(folder, modality="tbp_tile")


def only_first_masks(folder: Path) -> None:
    for mask in (folder / "masks").iterdir():
        if int(mask.stem[1:]) >= 8:
            mask.unlink()


LACKING: dict[str, Callable[[Path], None]] = {
    "nothing": lambda folder: None,
    "masks": no_masks,
    "ages": lambda folder: without(folder, "age"),
    "melanomas": one_class,
    "labels": lambda folder: without(folder, "melanoma", "diagnosis"),
    "other modalities": tiles,
    "ages, other modalities": lambda folder: (tiles(folder), without(folder, "age"))[0],
}


LACKING_P3: dict[str, Callable[[Path], None]] = {
    "nothing": lambda folder: None,
    "patient data": lambda folder: without(folder, "age", "sex", "site"),
    "depths": lambda folder: without(folder, "depth_mm"),
    "some depths": lambda folder: some_without(folder, "depth_mm", "clark"),
    "Clark levels": lambda folder: without(folder, "clark"),
    "necrosis": lambda folder: without(folder, "necrosis"),
    "any necrosis": lambda folder: every_row(folder, necrosis="0"),
    "slides": lambda folder: every_row(folder, modality="dermoscopic"),
}
P3_TABLES = ("breslow", "clark", "patient-alone")
P3_ROWS = {  # those that need what is lacking, and some that do not
    "nothing": (*P3_TABLES, "features", "biomarker"),
    "patient data": ("breslow", "patient-alone", "control"),
    "depths": (*P3_TABLES, "control"),
    "some depths": (*P3_TABLES, "control"),
    "necrosis": ("breslow", "biomarker"),
    "any necrosis": ("breslow", "biomarker"),
    "slides": ("features", "control"),
}
LEFT_OUT_P3 = {
    "depths": {"breslow": "depth_mm", "control": "depth_mm"},
    "Clark levels": {"clark": "clark"},
    "patient data": {"patient-alone": "age", "control": "age"},
    "necrosis": {"biomarker": "necrosis"},
    "any necrosis": {"biomarker": "necrosis"},
}
LACKING_P4: dict[str, Callable[[Path], None]] = {
    "some masks": only_first_masks,
    "masks": no_masks,
    "other modalities": tiles,
}


LEFT_OUT_P4 = {
    ("M", "masks"): {"deeplab-mobilenetv2-035", "transfer-m", "transfer-d-then-m", "transfer-zero-shot"},
    ("D", "masks"): {"transfer-d", "transfer-d-then-m", "transfer-zero-shot"},
}


def some_without(folder: Path, *columns: str) -> None:
    """Empty columns in every second row of a data set's table."""
    rows = read_table(folder / "dataset.csv")
    empty = dict.fromkeys(columns, "")
    write_table(folder / "dataset.csv", [{**row, **(empty if index % 2 else {})} for index, row in enumerate(rows)])


def options_of(paper: str, folder: Path, moles: Callable[..., Path], lacking: str) -> ReproduceOptions:
    """Mock data sets for the roles of a paper; the last one lacks something."""
    roles, rows = {"P1": (("A", "B"), P1_ROWS), "P2": (("HAM10000",), P2_ROWS)}[paper]
    for seed, role in enumerate(roles):
        moles(folder / role.lower(), COUNT, seed=seed)
    LACKING[lacking](folder / roles[-1].lower())
    data = tuple(f"{role}={folder / role.lower()}" for role in roles)
    return ReproduceOptions(paper=paper, budget="small", rows=rows, data=data)


def write_segmenter(recipe: TrainRecipe, out: Path) -> None:
    """Write a run folder with a network that was not trained."""
    folder, model = RunFolder(out), recipe.model
    folder.path.mkdir(parents=True, exist_ok=True)
    write_toml(folder.config, recipe)
    folder.add_metrics({"epoch": 0, "loss": 1.0})
    write_data(folder.data, ())
    config = BundleConfig(
        name=recipe.name,
        title=recipe.title,
        architecture=model.architecture,
        options=model.options,
        input_size=model.input_size,
        classes=("lesion",),
    )
    write_bundle(folder.bundle, config, build_network(model.architecture, model.options), "")


def find_dark(segmenter: Segmenter, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Find the lesions of ``moles`` without a network."""
    return (rgb.mean(axis=2) < 130).astype(np.float32)


def run_checked(options: ReproduceOptions, out: Path, patched: Patched, unread: Sequence[str] = ()) -> Reproduction:
    """Reproduce with the data of each training really read and checked, networks written and lesions found by color.

    ``unread``: folds whose data are not read, being like those of the others.
    """
    with patched() as write, pytest.MonkeyPatch.context() as patch:

        def pretend(recipe: TrainRecipe, folder: Path, **more: Any) -> None:
            if not count_parameters(recipe.model.architecture, recipe.model.options):  # has nothing to train
                train(recipe, folder, **more)
                return
            if folder.name not in unread:
                untrained = recipe.model_copy(update={"model": recipe.model.model_copy(update={"start": "none"})})
                check_recipe(untrained, RunContext())
            (write if recipe.classification else write_segmenter)(recipe, folder)

        patch.setattr(Segmenter, "probability", find_dark)
        patch.setattr(paper_rows, "train", pretend)
        patch.setattr(tables, "draw_figures", lambda *of: [])
        return reproduce(options, out, run=RunContext())


@pytest.mark.parametrize(
    ("paper", "lacking"),
    [("P1", "ages"), ("P1", "other modalities")]
    + [("P2", lacking) for lacking in ("masks", "melanomas", "labels", "ages, other modalities")],
)
def test_check_and_run_agree(
    paper: str,
    lacking: str,
    tmp_path: Path,
    moles: Callable[..., Path],
    planned: None,
    patched: Patched,
) -> None:
    plan = keeps_its_promise(options_of(paper, tmp_path, moles, lacking), tmp_path / "out", patched, lacking)
    if lacking not in ("masks", "melanomas", "labels"):
        assert {*plan.left_out} == ({"b-only"} if (paper, lacking) == ("P1", "ages") else set())  # no column "age" in B


def keeps_its_promise(options: ReproduceOptions, out: Path, patched: Patched, lacking: str) -> ReproductionPlan:
    """Check and run a reproduction: the planned rows run, the others are left out for the same reasons."""
    plan = check(options, run=RunContext()).plan
    done = run_checked(options, out, patched, () if lacking.startswith("some ") else LATER_FOLDS)
    assert done.failed == {}
    assert {item.row.name for item in done.results} == set(plan.by_name)
    assert done.plan.left_out.keys() == plan.left_out.keys()
    assert set(plan.by_name).isdisjoint(plan.left_out)
    return plan


@pytest.mark.parametrize("lacking", LACKING_P3)
def test_check_and_run_agree_on_p3(
    lacking: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patients: Callable[..., Path],
    planned: None,
    patched: Patched,
) -> None:
    def measure(rgb: Any, mpp: float | None) -> dict[int, float]:
        return dict(enumerate(rgb[0, ::3, 0] / 1.0))

    monkeypatch.setattr(image_features, "measure_patch_features", measure)
    folder = patients(tmp_path / "s", 40)
    LACKING_P3[lacking](folder)
    rows = P3_ROWS.get(lacking, P3_TABLES)
    options = ReproduceOptions(paper="P3", budget="small", rows=rows, data=(f"S={folder}",))
    plan = keeps_its_promise(options, tmp_path / "out", patched, lacking)
    expected = LEFT_OUT_P3.get(lacking, {})
    assert plan.left_out.keys() == expected.keys()
    assert all(word in plan.left_out[name] for name, word in expected.items())


def test_one_of_two_data_sets_without_the_target_of_a_row_runs(
    tmp_path: Path, patients: Callable[..., Path], planned: None, patched: Patched
) -> None:
    folders = [patients(tmp_path / name, 40, seed) for seed, name in enumerate(("s", "t"))]
    without(folders[1], "necrosis")
    data = tuple(f"S={folder}" for folder in folders)
    options = ReproduceOptions(paper="P3", budget="small", rows=("biomarker",), data=data)
    assert keeps_its_promise(options, tmp_path / "out", patched, "some necrosis").left_out == {}
    assert {row["domain"] for row in read_table(tmp_path / "out/evaluated/biomarker/per_image.csv")} == {"s"}


def test_the_target_of_a_row_is_checked_in_each_fold(
    tmp_path: Path, patients: Callable[..., Path], planned: None, patched: Patched
) -> None:
    folder = patients(tmp_path / "s", 40)
    options = ReproduceOptions(paper="P3", budget="small", rows=("breslow",), data=(f"S={folder}",))
    run_checked(options, tmp_path / "out", patched)
    fold_of = {row["image_id"]: row["fold"] for row in read_table(tmp_path / "out/folds/folds.csv")}
    rows = read_table(folder / "dataset.csv")
    for row in rows:  # the networks of the other folds are trained on both classes
        row["necrosis"] = str(int(fold_of.get(row["image_id"]) == "3"))
    write_table(folder / "dataset.csv", rows)
    both = options.model_copy(update={"rows": ("breslow", "biomarker")})
    plan = check(both, run=RunContext()).plan
    assert "the column 'necrosis' has 1 class" in plan.left_out["biomarker"]


@pytest.mark.parametrize("value", ["", "0"])
def test_patients_of_one_class_are_rejected_by_check_and_run(
    value: str, tmp_path: Path, patients: Callable[..., Path]
) -> None:
    folder = patients(tmp_path / "s", 20)
    every_row(folder, metastasis=value)
    options = ReproduceOptions(paper="P3", rows=P3_TABLES, data=(f"S={folder}",))
    with pytest.raises(InputError, match=r"0 with metastasis and .* --labels S=FILE"):
        check(options, run=RunContext())
    with pytest.raises(InputError, match=r"0 with metastasis and .* --labels S=FILE"):
        reproduce(options, tmp_path / "out", run=RunContext())


@pytest.mark.parametrize(("role", "lacking"), [("M", one) for one in LACKING_P4] + [("D", "masks")])
def test_check_and_run_agree_on_p4(
    role: str, lacking: str, tmp_path: Path, spots: Callable[..., Path], planned: None, patched: Patched
) -> None:
    folders = {one: spots(tmp_path / one.lower(), 20, seed=seed) for seed, one in enumerate(("M", "D"))}
    LACKING_P4[lacking](folders[role])
    data = tuple(f"{one}={folder}" for one, folder in folders.items())
    options = ReproduceOptions(paper="P4", budget="small", rows=P4_ROWS, data=data)
    plan = keeps_its_promise(options, tmp_path / "out", patched, lacking)
    expected = LEFT_OUT_P4.get((role, lacking), set())
    assert plan.left_out.keys() == expected


def test_p4_without_a_role_is_rejected_by_check_and_run(tmp_path: Path, spots: Callable[..., Path]) -> None:
    options = ReproduceOptions(paper="P4", budget="small", rows=P4_ROWS, data=(f"M={spots(tmp_path / 'm')}",))
    for begin in (check, partial(reproduce, out=tmp_path / "out")):
        with pytest.raises(InputError, match="P4 needs dermoscopic photographs as D"):
            begin(options, run=RunContext())


@pytest.mark.parametrize("lacking", ["melanomas", "labels"])
def test_unusable_data_are_rejected_by_check_and_run(lacking: str, tmp_path: Path, moles: Callable[..., Path]) -> None:
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
    options = ReproduceOptions(paper="P1", budget="small", rows=("a-only", "b-only"), data=(str(tmp_path),))
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


def test_missing_labels_of_a_data_set_are_reported_before_the_download() -> None:
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


def test_labels_of_a_role_are_those_of_its_control_too(
    tmp_path: Path, moles: Callable[..., Path], planned: None
) -> None:
    without(moles(tmp_path / "s", COUNT), "melanoma", "diagnosis")
    every_row(tmp_path / "s", depth_mm="1.2")
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
    plan = ReproductionPlan(paper="P2", budget="small", data={}, rows=planned)
    options, place = ReproduceOptions(paper="P2", budget="small", rows=("cls-lite0",)), ReproductionFolder(tmp_path)
    write_json(place.plan, plan.model_dump(mode="json"))
    assert read_begun_plan(options, place) == plan
    before = plan.model_copy(update={"rows": tuple(row.model_copy(update={"recipe": ""}) for row in planned)})
    write_json(place.plan, before.model_dump(mode="json"))
    with pytest.raises(RunError, match=r"started with other recipes of .*cls-lite0, by another version"):
        read_begun_plan(options, place)
