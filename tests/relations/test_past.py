"""What an earlier version wrote opens and shows the same: a case, slides, data sets, a run, a model and a recipe.

The archives contain what ``data import``, ``train``, ``lesion``, ``slide``, ``case`` and ``export`` of the version of
that day wrote for phantoms, with the depth readings of two readers, a signed synoptic report, and in ``shared`` what
the version showed of them. The paths of images are below ``@ROOT@``.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.config import read_toml
from napari_melanoma.io.results import read_table
from napari_melanoma.training.recipe import TrainRecipe

ARCHIVES = sorted((Path(__file__).parent / "past").glob("*.zip"))
ROOT = "@ROOT@"
NUMBERS = re.compile(r"(?<![\w.])\d+\.\d+(?: mm²?| µm)?|\d+ %")


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.stem)
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, in a folder of their own."""
    root = tmp_path_factory.mktemp("past")
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(root)
    for name in ("P-0042/case.json", "run/data.csv"):
        text = (root / name).read_text(encoding="utf-8")
        (root / name).write_text(text.replace(ROOT, root.as_posix()), encoding="utf-8")
    return root


def same_cell(found: str, expected: str) -> bool:
    try:
        return math.isclose(float(found), float(expected), rel_tol=1e-5, abs_tol=1e-9)
    except ValueError:
        return found == expected


def compare_tables(found: Path, expected: Path, key: str) -> None:
    """Compare the columns that both tables have; no row is lost."""
    rows, wanted = ({row[key]: row for row in read_table(path)} for path in (found, expected))
    assert rows.keys() == wanted.keys()
    for name, row in wanted.items():
        shared = row.keys() & rows[name].keys()
        assert len(shared) > 1
        different = {one: (rows[name][one], row[one]) for one in shared if not same_cell(rows[name][one], row[one])}
        assert not different, name


def test_the_case_opens(past: Path, call: Callable[..., str]) -> None:
    case = CaseStore.open_read_only(past / "P-0042").case
    stored = json.loads((past / "P-0042/case.json").read_text(encoding="utf-8"))
    (lesion,), (written,) = case.lesions, stored["lesions"]
    assert [one.modality for one in lesion.images] == [one["modality"] for one in written["images"]]
    assert [one.taken_on for one in lesion.images] == [one.get("taken_on", "") for one in written["images"]]
    assert (lesion.site, lesion.laterality) == (written["site"], written["laterality"])
    assert (case.patient.age, case.patient.sex) == (stored["patient"]["age"], stored["patient"]["sex"])
    assert "No faults" in call("case", past / "P-0042")


@pytest.mark.parametrize("name", ["lesions.csv", "readings.csv"])
def test_the_results_of_a_slide(name: str, past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    call("export", past / "results/slide_0001", "--out", tmp_path / "out", "--to", "csv,depth")
    key = {"lesions.csv": "index", "readings.csv": "reader"}[name]
    compare_tables(tmp_path / "out/slide_0001" / name, past / "shared/slide_0001" / name, key)


@pytest.mark.parametrize("folder", ["results/slide_0001", "P-0042"])
def test_the_synoptic_report(folder: str, past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    """The values, who entered them, and that it is signed."""
    call("export", past / folder, "--out", tmp_path / "out", "--to", "synoptic.csv,synoptic")
    (found,) = (tmp_path / "out").rglob("synoptic.csv")
    shared = past / "shared" / found.relative_to(tmp_path / "out")

    def read(path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    key = next(iter(read(shared)[0]))
    rows, wanted = ({row[key]: row for row in read(path)} for path in (found, shared))
    for name, row in wanted.items():
        for column in row.keys() & rows[name].keys() - {"detail"}:  # a remark, which is worded anew
            assert same_cell(rows[name][column], row[column]), (name, column)


@pytest.mark.slow
def test_readings_that_were_added_to_the_case(past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    """They were in a file of the case, as in the results of the slide; shown are the same before and after saving."""
    folder = tmp_path / "P-0042"
    shutil.copytree(past / "P-0042", folder)
    (folder / "depth").mkdir()
    case = CaseStore.open_read_only(folder).case
    (slide,) = (image for _, image in case.iterate_images() if image.is_slide)
    shutil.copy(past / "results/slide_0001/depth.json", folder / f"depth/{slide.id}.json")
    written = json.loads((past / "results/slide_0001/depth.json").read_text(encoding="utf-8"))["readings"]

    def read() -> tuple[str, str]:
        call("report", folder, "--out", folder / "report.html")
        call("export", folder, "--out", folder / "out", "--to", "synoptic.csv")
        (table,) = (folder / "out").rglob("synoptic.csv")
        page = re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", (folder / "report.html").read_text(encoding="utf-8"))
        return re.sub(r"\d\d:\d\d", "", page), table.read_text(encoding="utf-8")

    before = read()
    assert all(f"{one['mm']:.2f} mm" in before[0] for one in written)
    with CaseStore.open(folder) as store:
        assert [one.mm for one in store.case.find_image(slide.id).readings.readings] == [one["mm"] for one in written]
        store.save(store.case)
    assert not (folder / f"depth/{slide.id}.json").exists()
    assert read() == before


def iter_numbers(text: str) -> Iterator[str]:
    yield from NUMBERS.findall(text)


@pytest.mark.slow
def test_the_report_states_the_same_numbers(past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    call("report", past / "P-0042", past / "results/slide_0001", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = set(iter_numbers(re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", page)))
    expected = set(iter_numbers((past / "shared/report.txt").read_text(encoding="utf-8")))
    assert len(expected) > 30
    assert expected - found == set()


def test_the_data_set(past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    rows = read_table(past / "dataset/dataset.csv")
    assert "No faults" in call("data", "check", past / "dataset")
    call("data", "merge", past / "dataset", past / "training", "--out", tmp_path / "merged")
    merged = {row["image_id"]: row for row in read_table(tmp_path / "merged/dataset.csv")}
    for row in rows:
        assert {one: merged[row["image_id"]][one] for one in ("age", "sex", "site", "mpp_x")} == {
            one: row[one] for one in ("age", "sex", "site", "mpp_x")
        }


def test_the_model_predicts_the_same(past: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    call("lesion", past / "photographs/lesion_0005.png", "--model", past / "run/bundle", "--out", tmp_path / "out")
    found, expected = (
        np.asarray(Image.open(folder / "lesion_0005/probability.png"), np.int64)
        for folder in (tmp_path / "out", past / "bundle-results")
    )
    assert np.abs(found - expected).max() <= 1


@pytest.mark.slow
def test_the_run_and_its_recipe(past: Path, call: Callable[..., str]) -> None:
    assert "Finished after 1 epoch" in call("runs", "list", past)
    for name in ("run/config.toml", "recipe.toml"):
        recipe = read_toml(past / name, TrainRecipe)
        assert (recipe.name, recipe.epochs, recipe.model.input_size, recipe.data.cache_size) == ("first", 1, 32, 48)
    call("models", "import", past / "run")
    assert "first" in call("models", "list")
