"""Files of other names, and files that have nothing to do with the task, change nothing.

The subjects are the commands that read a folder, and all formats of data sets.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import world
from product_commands import read_outputs

import napari_melanoma as nm
from napari_melanoma.data.exports import DATA_EXPORTS
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.slides.lesion_files import class_to_label
from napari_melanoma.slides.lesions import default_lesion_class

IMPORTERS = {"masks": "folder"}
UNRELATED = {
    "notes.txt": b"nothing\n",
    "LIESMICH.md": b"# nothing\n",
    "Thumbs.db": b"\x00\x01",
    ".DS_Store": b"\x00\x01",
    "._x00.png": b"\x00\x05\x16\x07",
    "plan.xyz": b"data",
}


def add_unrelated(folder: Path) -> None:
    """Add files that operating systems and people leave in folders of images."""
    for name, content in UNRELATED.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", [one for one in DATA_EXPORTS.members if not DATA_EXPORTS.find_plugin(one)])
def test_unrelated_files_change_no_imported_data_set(name: str, dataset: Path, tmp_path: Path) -> None:
    exported = nm.export_dataset(dataset, name, tmp_path / "out").folder
    copy = shutil.copytree(exported, tmp_path / "copy")
    for folder in [copy, *(one for one in copy.rglob("*") if one.is_dir())]:
        add_unrelated(folder)
    read = []
    for number, folder in enumerate((exported, copy)):
        report = nm.import_dataset(IMPORTERS.get(name, name), folder, tmp_path / f"back{number}")
        outputs = read_outputs(tmp_path / f"back{number}")
        outputs.pop("source.json", None)  # names the folder
        read.append((report.images, report.masks, report.faults, outputs))
    assert read[1] == read[0]


def iter_names() -> Iterator[str]:
    """Names of files as users have them."""
    yield from ("Läsion 1", "IMG_0001 (2)", "2024.05.02 arm", "'quoted'", "naevus-é", "皮膚", "x" * 120)
    yield unicodedata.normalize("NFD", "Läsion")


@pytest.mark.slow
def test_the_names_of_photographs_change_no_result(call: Callable[..., str], tmp_path: Path) -> None:
    """Beside files that are no photographs; names that differ in the form of an accent included."""
    names = list(iter_names())
    world.write_photographs(tmp_path / "plain", len(names))
    shutil.copytree(tmp_path / "plain", tmp_path / "named")
    for number, name in enumerate(names):
        (tmp_path / f"named/x{number:02}.png").rename(tmp_path / f"named/{name}.PNG")
    add_unrelated(tmp_path / "named")
    rows = {}
    for folder in ("plain", "named"):
        call("lesion", folder, "--out", f"{folder}-out")
        table = read_table(tmp_path / f"{folder}-out/results.csv")
        assert {row["status"] for row in table} == {"done"}
        rows[folder] = sorted([row[column] for column in MEASUREMENT_COLUMNS] for row in table)
    assert len(rows["named"]) == len(names)
    assert rows["named"] == rows["plain"]


SPELLINGS = {
    "upper case": str.upper,
    "title case": str.title,
    "with spaces": lambda text: f" {text} ",
    "with underscores": lambda text: text.replace(" ", "_"),
    "in German": {
        "melanoma": "Melanom",
        "nevus": "Nävus",
        "seborrheic keratosis": "Seborrhoische Keratose",
    }.__getitem__,
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.slow
def test_the_spelling_of_diagnoses_changes_no_split(
    spelling: Callable[[str], str], call: Callable[..., str], dataset: Path, tmp_path: Path
) -> None:
    found = []
    for number, change in enumerate((str, spelling)):
        copy = shutil.copytree(dataset, tmp_path / f"set{number}")
        rows = read_table(copy / "dataset.csv")
        write_table(copy / "dataset.csv", [{**row, "diagnosis": change(row["diagnosis"])} for row in rows])
        call("data", "split", copy)
        found.append({row["image_id"]: row["split"] for row in read_table(copy / "dataset.csv")})
    assert found[1] == found[0]


MALIGNANT = ("melanoma", "Melanom", "mélanome", "melanoma maligno", "malignant", "tumor", "Tumour")
NEGATIONS = ("non-{}", "not {}", "no {}", "Non-{}", "kein {}", "NOT {}")


@pytest.mark.parametrize("negation", NEGATIONS)
@pytest.mark.parametrize("name", MALIGNANT)
def test_a_negated_class_is_the_other_class(name: str, negation: str) -> None:
    """Whatever the order of both, and the case of their letters."""
    negated = negation.format(name)
    for classes in ([name, negated], [negated, name], [name.upper(), negated.upper()], [negated.title(), name.title()]):
        assert default_lesion_class(classes).casefold() == name.casefold()
    assert class_to_label(name) == "malignant"
    assert class_to_label(negated) != "malignant"


@pytest.mark.parametrize("name", ["invasive melanoma", "metastatic melanoma", "pigmented melanoma", "BRAF melanoma"])
def test_a_negated_property_is_a_question(name: str) -> None:
    """Melanoma without the property is melanoma, unlike what is no such melanoma."""
    for classes in ([name, f"non-{name}"], [f"Non-{name}", name]):
        assert default_lesion_class(classes) == ""
    assert class_to_label(f"non-{name}") == "malignant"
    assert default_lesion_class([f"not {name}", name]) == name
