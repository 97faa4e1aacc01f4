"""``studies relation``: table, correlation and figure of lesions, invalid predictions, and damaged tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.validity import Validity, ValidityReason
from napari_melanoma.extensions.papers.analyses import FIGURE, LesionRelation, write_relation
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion

NOT_VALID = Validity(reasons=(ValidityReason(code="modality", text="the image is a photograph"),))


def write_slide(folder: Path, lesions: list[tuple[float, str]], validity: Validity | None = None) -> None:
    """Write the results of a slide with lesions of an area and a probability."""
    content = {"model": {"name": "m"}, "validity": (validity or Validity()).to_json()}
    write_json(folder / "result.json", content)
    found = [
        SlideLesion(
            index=index,
            label="malignant" if index % 2 else "benign",
            probability=float(probability or "nan"),
            area_px=1e4 * area,
            area_mm2=area,
            **{**dict.fromkeys(("presence", "perimeter_px", "extent", "tissue_share"), 0.5), "seed": (0.0, 0.0)},
            **dict.fromkeys(("perimeter_mm", "height_mm", "width_mm")),
            polygons=(Polygon(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0), (9.0, 0.0))),),
        )
        for index, (area, probability) in enumerate(lesions, start=1)
    ]
    save_lesions(folder, found, LesionConfig())
    (folder / "result.zarr").mkdir()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of five slides, of which the last is not valid."""
    rng = np.random.default_rng(0)
    for number in range(5):
        areas = np.exp(rng.normal(0, 1, 4))
        pairs = [(float(area), f"{area / (1 + area):.4f}") for area in areas]
        write_slide(tmp_path / f"results/slide{number}", pairs, NOT_VALID if number == 4 else None)
    return tmp_path / "results"


def test_table_correlation_and_figure_are_written(run: Callable[..., Result], results: Path) -> None:
    result = run("studies", "relation", "results", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "Spearman 1.00" in result.output
    assert "16 lesions of 4 slides. The interval is over slides." in result.output
    assert "slide4: Not valid: the image is a photograph; left out" in result.output
    out = results.parent / "out"
    rows = read_table(out / "relation.csv")
    assert [row["used"] for row in rows] == ["1"] * 16 + ["0"] * 4
    assert {row["valid"] for row in rows if row["slide"] == "slide4"} == {"false"}
    found = json.loads((out / "relation.json").read_text(encoding="utf-8"))
    assert found["spearman"]["mean"] == pytest.approx(1)
    assert (found["slides"], found["lesions"], found["interval_over"], found["area_unit"]) == (4, 16, "slides", "mm2")
    assert (out / "figures/area_probability.png").stat().st_size > 5000


def test_predictions_that_are_not_valid_are_included_on_request(run: Callable[..., Result], results: Path) -> None:
    result = run("studies", "relation", "results", "--out", "out", "--include-invalid", "--json")
    lines = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    found = next(line for line in lines if line["event"] == "relation")
    assert (found["lesions"], found["slides"]) == (20, 5)
    assert found["notes"] == ["slide4: Not valid: the image is a photograph"]


def test_one_slide_has_an_interval_over_lesions(run: Callable[..., Result], results: Path) -> None:
    result = run("studies", "relation", "results/slide0", "--out", "out")
    assert "over these lesions only and does not apply to other slides" in result.output


def forget_pixel_size(folder: Path) -> None:
    """Remove the areas in mm² of a slide, and let its pixels be tiny."""
    lesions = read_lesions(folder) or ()
    save_lesions(folder, [replace(one, area_px=one.area_px * 1e-6, area_mm2=None) for one in lesions], LesionConfig())


def test_a_slide_without_a_pixel_size_is_left_out(run: Callable[..., Result], results: Path) -> None:
    forget_pixel_size(results / "slide1")
    result = run("studies", "relation", "results", "--out", "out")
    assert "Spearman 1.00" in result.output
    assert "12 lesions of 3 slides" in result.output
    assert "4 lesions have no area in mm² and are left out" in " ".join(result.output.split())
    assert json.loads((results.parent / "out/relation.json").read_text(encoding="utf-8"))["area_unit"] == "mm2"
    used = {row["slide"] for row in read_table(results.parent / "out/relation.csv") if row["used"] == "1"}
    assert used == {"slide0", "slide2", "slide3"}


def test_areas_in_pixels_of_several_slides_are_not_correlated(run: Callable[..., Result], results: Path) -> None:
    for number in range(5):
        forget_pixel_size(results / f"slide{number}")
    result = run("studies", "relation", "results", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "areas in pixels of different slides cannot be compared" in " ".join(result.output.split())
    assert json.loads((results.parent / "out/relation.json").read_text(encoding="utf-8"))["spearman"] is None
    assert "Spearman 1.00" in run("studies", "relation", "results/slide0", "--out", "one").output


def test_damaged_and_missing_tables_are_reported(run: Callable[..., Result], results: Path) -> None:
    (results / "slide0/lesions.geojson").write_text("index,label\n1,malignant\n", encoding="utf-8")
    (results / "slide1/lesions.geojson").unlink()
    result = run("studies", "relation", "results", "--out", "out")
    assert result.exit_code == 1
    assert "failed: slide0: cannot read" in result.output
    assert "failed: slide1: there is no lesions.geojson" in result.output
    assert "8 lesions of 2 slides" in result.output
    shutil.copytree(results, results.parent / "more")
    result = run("studies", "relation", "results", "more", "--out", "out")
    assert "failed: results/slide0: cannot read" in result.output
    assert "failed: more/slide0: cannot read" in result.output
    assert result.output.count("slide4: Not valid: the image is a photograph; left out") == 2
    slides = {row["slide"] for row in read_table(results.parent / "out/relation.csv")}
    assert slides == {f"{folder}/slide{number}" for folder in ("results", "more") for number in (2, 3, 4)}


@pytest.mark.parametrize("out", ["results/slide0", "results/slide0/relation", "results/../results/slide0", "link"])
def test_result_folders_are_refused_as_output(out: str, run: Callable[..., Result], results: Path) -> None:
    (results.parent / "link").symlink_to(results / "slide0")
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    result = run("studies", "relation", "results", "--out", out)
    assert result.exit_code == 2
    assert "the result folder of a slide" in " ".join(result.output.split())
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


def test_without_correlated_lesions_there_is_no_figure(run: Callable[..., Result], tmp_path: Path) -> None:
    earlier = tmp_path / "out/figures/area_probability.png"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"of other lesions")
    write_slide(tmp_path / "results/slide0", [(1.0, "")])
    result = run("studies", "relation", "results", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "requires at least three lesions; there are 0 lesions" in result.output
    assert not (tmp_path / "out/figures/area_probability.png").exists()
    assert read_table(tmp_path / "out/relation.csv")[0]["probability"] == ""
    assert run("studies", "relation", "nowhere", "--out", "out").exit_code == 2


def test_a_figure_that_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    (tmp_path / FIGURE).mkdir(parents=True)
    with pytest.raises(SaveError, match=FIGURE):
        write_relation(LesionRelation((), {}, included=False, failed={}), tmp_path)
