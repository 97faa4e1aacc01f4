"""``data features``: text and JSON output, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from napari_melanoma.io.results import read_mask, read_table, write_mask, write_table


@pytest.fixture
def dataset(tmp_path: Path, photographs: Path) -> Path:
    """Three discs of one patient, and one row without an image."""
    folder = tmp_path / "set"
    for path in photographs.iterdir():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        path.rename(folder / "images" / path.name)
        with Image.open(folder / "images" / path.name) as image:
            dark = image.convert("L").point(lambda value: value < 128, "1")
        dark.save(folder / f"{path.stem}.png")
        write_mask(folder / "masks" / path.name, read_mask(folder / f"{path.stem}.png"))
    names = ("p0", "p1", "p2", "elsewhere")
    write_table(folder / "dataset.csv", [{"image_id": name, "patient_id": "one"} for name in names])
    return folder


def test_lesions_are_measured_and_compared(run, dataset: Path, lines) -> None:
    result = run("data", "features", "set")
    assert result.exit_code == 0, result.output
    assert "3 of 4 images measured, 1 without an image, lesions of 1 patients compared" in result.stdout
    rows = read_table(dataset / "features.csv")
    assert [row["image_id"] for row in rows] == ["p0", "p1", "p2"]
    assert {row["patient_lesions"] for row in rows} == {"3"}
    summary = lines(run("data", "features", "set", "--out", "other.csv", "--json").stdout)[-1]
    assert (summary["measured"], summary["patients"], summary["out"], summary["exit_code"]) == (3, 1, "other.csv", 0)


@pytest.mark.parametrize("command", ["features", "duplicates"])
def test_the_table_of_a_data_set_is_not_replaced(run, dataset: Path, command: str) -> None:
    before = (dataset / "dataset.csv").read_bytes()
    result = run("data", command, "set", "--out", "set/dataset.csv")
    assert (result.exit_code, (dataset / "dataset.csv").read_bytes()) == (2, before)
    assert "which would be lost" in result.output


def test_an_earlier_table_of_features_is_replaced(run, dataset: Path) -> None:
    assert [run("data", "features", "set", "--out", "own.tsv").exit_code for _ in range(2)] == [0, 0]


def test_a_mask_of_another_size_gives_exit_code_1(run, dataset: Path) -> None:
    Image.new("L", (10, 10), 255).save(dataset / "masks" / "p1.png")
    result = run("data", "features", "set")
    assert result.exit_code == 1
    assert "failed: p1: the mask has 10 x 10 pixels, but the image 80 x 100" in result.stderr
    assert "2 of 4 images measured" in result.stdout
    assert run("data", "features", "set", "--model", "nothing-of-that-name").exit_code == 2
