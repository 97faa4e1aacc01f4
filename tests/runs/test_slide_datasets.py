"""Data sets of whole slides: slides and table become dataset.csv, and a run computes the embeddings."""

from __future__ import annotations

import csv
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import FittedNumbers, TabularEncoding
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext, RunPartContext
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.runs.slide_datasets import describe_pending, make_slide_dataset
from napari_melanoma.slides import patient_data
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.patient_data import read_patient_data, read_patient_table
from napari_melanoma.slides.result_folder import open_fingerprint
from napari_melanoma.training.whole_slides import bag_samples, find_slide_files, is_slide_dataset

AGE = TabularEncoding(numbers=(FittedNumbers(name="age", mean=50.0, std=10.0, median=50.0),))
HEADER = "slide,patient_id,age,sex,site,Breslow (mm),metastasis"
ROWS = ("a.svs,P1,61,F,back,1.2,1", "b.svs,P1,,m,leg,,1", "c.svs,P2,45,f,?,0.4,0", "x.svs,P3,50,f,face,2,0")


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Files named as slides; the data set does not open them."""
    folder = tmp_path / "slides"
    folder.mkdir()
    paths = [folder / f"{name}.svs" for name in "abcd"]
    for path in paths:
        path.write_bytes(path.stem.encode())
    return paths


def write_table(path: Path, rows: tuple[str, ...] = ROWS, header: str = HEADER) -> Path:
    path.write_text("\n".join((header, *rows)), encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def test_slides_and_table_become_a_data_set(slides: list[Path], tmp_path: Path) -> None:
    table = write_table(tmp_path / "patients.csv", header=HEADER.replace("Breslow (mm)", "depth_mm"))
    report = make_slide_dataset(slides, table, slides[0].parent, run=RunContext())
    rows = read(slides[0].parent)
    assert list(rows) == ["a", "b", "c"]
    assert (rows["a"]["slide_file"], rows["a"]["result"]) == ("a.svs", "features/a")
    assert (rows["a"]["sex"], rows["a"]["depth_mm"], rows["a"]["depth_source"]) == ("female", "1.2", "table")
    assert (rows["b"]["age"], rows["b"]["depth_mm"], rows["b"]["depth_source"]) == ("", "", "")  # unknown, not 0
    assert (report.slides, report.patients, dict(report.depths)) == (3, 2, {"table": 2})
    text = " ".join(report.notes)
    assert "1 slide of patients.csv not found: x." in text
    assert "1 slide not in patients.csv, not used: d." in text
    assert "Unknown among 3 slides: " in text
    assert "depth_mm of 1" in text


def test_a_data_set_elsewhere_has_absolute_paths(slides: list[Path], tmp_path: Path) -> None:
    table = write_table(tmp_path / "patients.csv")
    make_slide_dataset(slides, table, tmp_path / "cohort", run=RunContext())
    assert Path(read(tmp_path / "cohort")["a"]["slide_file"]) == slides[0].resolve()
    with pytest.raises(DataSetError, match="slide_file"):
        find_slide_files(tmp_path / "cohort")  # unless the user allows files outside the data set


def test_the_same_table_as_a_workbook(slides: list[Path], tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["image_id", "patient_id", "age", "depth_mm", "metastasis"])
    for cells in (["a.svs", "P1", 61, 1.25, True], ["b", "P2", None, None, False]):
        sheet.append(cells)
    book.save(tmp_path / "patients.xlsx")
    assert list(iterate_rows(tmp_path / "patients.xlsx"))[1]["age"] == ""
    make_slide_dataset(slides, tmp_path / "patients.xlsx", tmp_path / "out", run=RunContext())
    rows = read(tmp_path / "out")
    assert (rows["a"]["age"], rows["a"]["depth_mm"], rows["a"]["metastasis"]) == ("61", "1.25", "1")
    assert rows["b"]["metastasis"] == "0"


FAULTS = (
    ("no column of slides", "patient_id,age", ("P1,3",), "no column that names the slides"),
    ("no slide is listed", HEADER, ("other.svs,P1,61,F,back,1,1",), "none of the 1 slide"),
    ("a slide is listed twice", HEADER, (ROWS[0], ROWS[0]), "several rows of the slide 'a'"),
)


@pytest.mark.parametrize(("header", "rows", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_table_that_does_not_fit(
    slides: list[Path], tmp_path: Path, header: str, rows: tuple[str, ...], message: str
) -> None:
    table = write_table(tmp_path / "patients.csv", rows, header)
    with pytest.raises(DataSetError, match=message):
        make_slide_dataset(slides, table, tmp_path / "out", run=RunContext())
    assert not (tmp_path / "out").exists()


def test_slides_of_the_same_name_in_two_folders_are_refused(slides: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = shutil.copy(slides[0], tmp_path / "other" / slides[0].name)
    table = write_table(tmp_path / "patients.csv", ROWS, HEADER)
    with pytest.raises(DataSetError, match="several slides have the same name"):
        make_slide_dataset([*slides, twin], table, tmp_path / "out", run=RunContext())


def test_only_the_ending_of_a_file_is_not_part_of_the_name(tmp_path: Path) -> None:
    names = ("S21.1234", "S21.1235", "TCGA-1.39D7-6616", "a.ome.zarr", "C:\\scans\\S22.1.svs", "b.SVS", "c.d.tif")
    table = write_table(tmp_path / "t.csv", tuple(f"{name},P" for name in names), "slide,patient_id")
    assert list(read_patient_table(table)[0]) == [*names[:4], "S22.1", "b", "c.d"]


def test_the_table_is_read_once_for_all_slides_and_again_if_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = patient_data.read_patient_table
    monkeypatch.setattr(patient_data, "read_patient_table", lambda table: reads.append(table) or read(table))
    table = write_table(tmp_path / "t.csv", ("a,50", "b,60"), "slide,age")

    def age_of(name: str) -> str:
        options = SlideOptions(metadata=table)
        return read_patient_data(tmp_path / f"{name}.tif", tmp_path, AGE, options).row["age"]

    assert ([age_of("a"), age_of("b")], len(reads)) == (["50", "60"], 1)
    write_table(table, ("a,51.5",), "slide,age")
    assert (age_of("a"), len(reads)) == ("51.5", 2)


@pytest.mark.parametrize("present", [False, True])
def test_a_dicom_file_in_a_cell_names_its_slide(present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    if present:
        Path("S1.dcm").write_bytes(b"any")
    table = write_table(tmp_path / "t.csv", ("S1.dcm,P", "S2/0.dcm,P", "S3.dicom,P"), "slide,patient_id")
    assert list(read_patient_table(table)[0]) == ["S1", "S2", "S3"]


def test_slides_without_patients_are_reported(slides: list[Path], tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ("a.svs,1",), "slide,metastasis")
    report = make_slide_dataset(slides, table, tmp_path / "out", run=RunContext())
    assert any("counts as a patient of its own" in note for note in report.notes)


def test_training_and_prediction_use_the_same_depth(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.runs import slide_datasets
    from napari_melanoma.slides import patient_data
    from napari_melanoma.slides.depth_readings import UNKNOWN_DEPTH, KnownDepth

    found = {
        "a": KnownDepth(2.5, "reader", reader="A"),
        "b": KnownDepth(9.0, "automatic", not_valid="demonstration"),
        "d": KnownDepth(0.7, "automatic"),
    }
    monkeypatch.setattr(slide_datasets.SlideFolderNames, "find_results", lambda self, path: Path(path.stem))
    monkeypatch.setattr(patient_data, "read_known_depth", lambda folder: found.get(folder.name, UNKNOWN_DEPTH))
    lines = (*ROWS, "d.svs,P4,50,f,face,2,0")
    table = write_table(tmp_path / "patients.csv", lines, HEADER.replace("Breslow (mm)", "depth_mm"))
    make_slide_dataset(slides, table, tmp_path / "out", results=tmp_path, run=RunContext())
    rows = read(tmp_path / "out")
    expected = {
        "a": ("2.5", "reader"),
        "b": ("", ""),  # the analysis is not valid
        "c": ("0.4", "table"),
        "d": ("0.7", "automatic"),
    }
    assert {name: (row["depth_mm"], row["depth_source"]) for name, row in rows.items()} == expected
    encoding = TabularEncoding(numbers=(FittedNumbers(name="depth_mm", mean=1.0, std=1.0, median=1.0),))
    for slide in slides:
        data = read_patient_data(slide, Path(slide.stem), encoding, SlideOptions(metadata=table))
        assert (data.row.get("depth_mm", ""), data.depth_source) == expected[slide.stem]


def test_an_empty_cell_does_not_replace_what_is_known_of_all_slides(slides: list[Path], tmp_path: Path) -> None:
    table = write_table(tmp_path / "patients.csv", ("a.svs,61", "b.svs,"), "slide,age")
    options = SlideOptions(metadata=table, patient={"age": "50"})
    ages = [read_patient_data(slide, tmp_path / "none", AGE, options).row["age"] for slide in slides[:3]]
    assert ages == ["61", "50", "50"]


def test_missing_embeddings_are_pending(slides: list[Path], tmp_path: Path) -> None:
    folder = slides[0].parent
    make_slide_dataset(slides, write_table(tmp_path / "patients.csv"), folder, run=RunContext())
    assert is_slide_dataset(folder)
    assert [sample.image.name for sample in bag_samples(folder, pending=True)] == ["a", "b", "c"]
    with pytest.raises(DataSetError, match="no results found for 3 of 3 slides"):
        bag_samples(folder)
    assert describe_pending([folder]) == "Features of 3 slides are computed first."


def test_embeddings_of_a_file_that_was_replaced_are_computed_when_a_run_starts(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.runs import slide_datasets
    from napari_melanoma.slides import analysis as slide_analysis

    folder = slides[0].parent
    make_slide_dataset(slides, write_table(tmp_path / "patients.csv"), folder, run=RunContext())
    stored = {path.stem: SimpleNamespace(slide_fingerprint=open_fingerprint(path)) for path in slides}
    monkeypatch.setattr(slide_datasets.Bag, "open", lambda result: stored[result.name])
    computed: list[str] = []
    monkeypatch.setattr(slide_analysis, "analyze_slide", lambda slide, *_, **__: computed.append(slide.stem))
    recipe: Any = SimpleNamespace(bags=SimpleNamespace(encoder="encoder"), data=SimpleNamespace(datasets=[str(folder)]))
    assert slide_datasets.compute_embeddings(recipe, RunContext()) == 0
    slides[1].write_bytes(b"scanned again")
    slides[2].unlink()
    assert slide_datasets.compute_embeddings(recipe, RunContext()) == 1
    assert computed == ["b"]
    monkeypatch.setattr(slide_datasets, "open_fingerprint", lambda slide: pytest.fail("read while a recipe is edited"))
    assert describe_pending([folder]) == ""


def test_another_data_set_is_not_replaced(slides: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.csv").write_text("image_id,path\n1,a.png\n", encoding="utf-8")
    with pytest.raises(DataSetError, match="table of another data set"):
        make_slide_dataset(slides, write_table(tmp_path / "patients.csv"), tmp_path / "out", run=RunContext())


def test_a_part_of_a_run_obeys_the_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_command("run")
    part = RunPartContext(RunFolderContext(RunContext(), folder), 0, 1, "Features")
    inner = RunFolder(tmp_path / "slide")
    inner.path.mkdir()
    nested = RunFolderContext(part, inner)
    nested.check()
    folder.write_command("cancel")
    with pytest.raises(Cancelled):
        nested.check()


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_letters_of_the_name_of_a_slide_may_be_composed(forms: tuple[str, str], tmp_path: Path) -> None:
    """macOS lists the letters of file names decomposed, and tables contain them composed."""
    of_file, in_table = (unicodedata.normalize(form, "Läsion") for form in forms)
    slide = tmp_path / f"{of_file}.svs"
    slide.write_bytes(b"any")
    table = write_table(tmp_path / "patients.csv", (f"{in_table},61",), "slide,age")
    assert make_slide_dataset([slide], table, tmp_path / "out", run=RunContext()).slides == 1
    options = SlideOptions(metadata=table)
    assert read_patient_data(slide, tmp_path / "results", AGE, options).row == {"age": "61"}


def test_a_value_that_is_not_understood_is_not_that_of_all_slides(tmp_path: Path) -> None:
    """As for photographs: an age of all slides is not that of the one with a typing error."""
    table = write_table(tmp_path / "patients.csv", ("a,6O", "b,61", "c,"), "slide,age")
    options = SlideOptions(metadata=table, patient={"age": "50"})
    ages = [read_patient_data(tmp_path / f"{name}.svs", tmp_path / "results", AGE, options).row for name in "abc"]
    assert ages == [{}, {"age": "61"}, {"age": "50"}]
