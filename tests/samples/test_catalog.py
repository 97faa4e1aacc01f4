"""The samples are as published: files, rows, rulers and attribution; what is missing or damaged is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.check import check_data
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.samples import catalog

SAMPLES = catalog.load_samples()
WITH_RULER = [name for name, sample in SAMPLES.items() if sample.ruler is not None]
WITH_MASK = [name for name, sample in SAMPLES.items() if sample.mask_path is not None]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the samples that a test may damage."""
    folder = tmp_path / "samples"
    shutil.copytree(catalog.FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(catalog, "FOLDER", folder)
    monkeypatch.setattr(catalog, "TABLE", folder / catalog.TABLE.name)
    catalog.load_samples.cache_clear()
    yield folder
    catalog.load_samples.cache_clear()


def test_the_table_lists_the_files_of_the_package() -> None:
    listed = {path for sample in SAMPLES.values() for path in sample.files}
    present = {path for path in catalog.FOLDER.glob("*/**/*") if path.suffix in (".jpg", ".png", ".tif")}
    assert listed == present
    assert catalog.find_damaged_files() == []
    assert len(WITH_MASK) == 8
    assert len(WITH_RULER) == 7


@pytest.mark.parametrize("name", WITH_MASK)
def test_a_mask_has_the_size_of_its_photograph(name: str) -> None:
    sample = SAMPLES[name]
    assert sample.mask_path is not None
    assert read_mask(sample.mask_path).shape == read_photograph(sample.path).rgb.shape[:2]


@pytest.mark.parametrize("name", WITH_RULER)
def test_the_line_over_a_ruler_has_a_long_tick_at_each_millimeter(name: str) -> None:
    """Long ticks are darker than the skin between them, some pixels beside the line, on one of its sides."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    sample = SAMPLES[name]
    assert sample.ruler is not None
    start, end, length_mm = sample.ruler
    gray = gaussian_filter(read_photograph(sample.path).rgb.mean(axis=-1), 1)
    along = (np.array(end) - start) / length_mm
    across = np.array((-along[1], along[0])) / 100  # of a hundredth of a millimeter

    def darkness(at_mm: float) -> float:
        strip = [start + at_mm * along + side * across for side in range(24, 32)]
        return float(255 - map_coordinates(gray, np.transpose(strip), order=1).mean())

    ticks = [darkness(number) for number in range(11)]
    between = [darkness(number + 0.25) for number in range(10)]
    assert sum(tick > beside for tick, beside in zip(ticks[:10], between, strict=True)) >= 9
    size = sample.pixel_size
    assert size is not None
    assert size.source == "ruler"
    by_line = PixelSize.from_ruler(start, end, length_mm)
    assert (size.y_um, size.x_um) == pytest.approx((by_line.y_um, by_line.x_um), abs=1e-4)
    assert 22.0 < size.x_um < 24.0  # these dermatoscopes show a field of about 23 mm


def test_the_rows_of_smartphone_photographs_are_those_of_the_collection(tmp_path: Path, run) -> None:
    run("data", "import", "pad-ufes-20", catalog.FOLDER / "smartphone", "--out", tmp_path / "pad", "--no-patients")
    with (tmp_path / "pad" / "dataset.csv").open(encoding="utf-8") as file:
        rows = {row["image_id"]: row for row in read_csv_dicts(file)}
    columns = (*catalog.CASE_COLUMNS, "target", "melanoma")
    for name, row in rows.items():
        assert {c: SAMPLES[name].row.get(c, "") for c in columns} == {c: row[c] for c in columns}, name
    assert set(rows) == {name for name in SAMPLES if name.startswith("PAT_")}


def test_the_page_of_licenses_has_each_image_with_its_license_and_attribution(repository: Path) -> None:
    text = (repository / "LICENSES" / "images.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    with (repository / "examples" / "photographs" / "dataset.csv").open(encoding="utf-8") as file:
        examples = list(read_csv_dicts(file))
    for row in (*(sample.row for sample in SAMPLES.values()), *examples):
        found = [line for line in lines if row["image_id"] in line]
        assert len(found) == 1, row["image_id"]
        assert row["licence"] in found[0]
        assert row["attribution"].split(", ")[0] in found[0]
        assert row["attribution"].split(", ")[1].split(";")[0] in found[0]


def test_the_examples_are_a_correct_data_set(repository: Path) -> None:
    report = check_data(repository / "examples" / "photographs", run=RunContext())
    assert report.faults == []
    assert (report.images, report.masks) == (32, 32)


def test_a_copy_of_a_sample_has_its_attribution(tmp_path: Path) -> None:
    sample = SAMPLES[catalog.CASE_IMAGE.removesuffix(".jpg")]
    copy = tmp_path / "mole.jpg"
    shutil.copy(sample.path, copy)
    assert read_photograph(copy).credit == sample.credit == catalog.find_credit(copy)
    assert "Pacheco et al. 2020" in sample.credit
    assert "CC BY 4.0" in sample.credit
    content = bytearray(copy.read_bytes())
    content[-10] ^= 1  # another file of the same size
    copy.write_bytes(content)
    assert catalog.find_credit(copy) == ""
    Image.new("RGB", (40, 40), (200, 150, 130)).save(tmp_path / "other.png")
    assert read_photograph(tmp_path / "other.png").credit == ""
    assert catalog.find_credit(tmp_path / "missing.jpg") == ""


@pytest.mark.parametrize("change", ["missing", "damaged"])
@pytest.mark.parametrize("attribute", ["path", "mask_path"])
def test_a_missing_or_damaged_sample_is_named_with_what_to_do(copied: Path, change: str, attribute: str) -> None:
    path = getattr(catalog.load_samples()[catalog.MELANOMA], attribute)
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    assert [str(path) in problem and change in problem for problem in catalog.find_damaged_files()] == [True]
    with pytest.raises(InputError, match=rf"'Melanoma' cannot be opened: .*{path.name} is {change}.*Reinstall"):
        catalog.get_sample(catalog.MELANOMA)
    assert catalog.get_sample(catalog.NEVUS).diagnosis == "nevus"


@pytest.mark.parametrize("content", [None, b"", b"image_id,path\nx\xff", b'image_id,path,title,modality\n"a'])
def test_a_missing_or_damaged_table_is_named(copied: Path, content: bytes | None) -> None:
    catalog.TABLE.unlink()
    if content is not None:
        catalog.TABLE.write_bytes(content)
    with pytest.raises(InputError, match=r"table of the samples.*is missing or damaged.*Reinstall"):
        catalog.find_damaged_files()


def test_the_case_has_two_lesions_of_one_patient(tmp_path: Path) -> None:
    from napari_melanoma.case.importing import collect_patients

    folder = catalog.copy_case(tmp_path / "case")
    (patient,) = collect_patients((folder,), mapping=None, run=RunContext()).patients
    case = patient.case
    assert (case.patient.age, case.patient.sex, case.patient.fitzpatrick) == (30, "male", 2)
    assert [(lesion.diagnosis, lesion.sub_site) for lesion in case.lesions] == [("melanoma", "neck"), ("nevus", "neck")]
    assert [lesion.diagnosis_by for lesion in case.lesions] == ["histopathology", ""]
    assert {image.modality for _, image in case.iterate_images()} == {"macroscopic"}
    assert {image.path.parent for _, image in case.iterate_images()} == {folder}
