"""``audit``: text and JSON output, exit code 1 if something was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dark_model import use_dark_model
from PIL import Image
from typer.testing import Result


def test_text_output_lists_findings_and_advice(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.txt").write_text("read " + "/".join(("", "home", "amiller", "scans", "a.jpg")))
    told = run("audit", "out")
    assert told.exit_code == 1
    assert "log.txt: line 1: a path in a file system: /h***/a******/s****/a.j**" in told.output
    assert "share only bundle/" in told.output
    assert "amiller" not in told.output
    assert "Found in 1 file: path 1, user 1." in told.output


def test_json_output_lists_findings(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,dob\n1,1970-01-02\n")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    result = run("audit", "t.csv", "a.pdf", "--json")
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert result.exit_code == lines[-1]["exit_code"] == 1
    assert (lines[0]["what"], lines[0]["file"], lines[0]["count"]) == ("birth", "t.csv", 1)
    assert lines[-1]["counts"] == {"birth": 1}
    assert lines[-1]["not_looked_into"] == 1


def test_no_findings_give_exit_code_0(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,age\na,50\n")
    result = run("audit", ".")
    assert result.exit_code == 0
    assert "nothing" in result.output


def test_a_missing_path_is_a_usage_error(run: Callable[..., Result]) -> None:
    assert run("audit", "missing").exit_code == 2


@pytest.fixture
def photographs_of_patient(tmp_path: Path) -> Path:
    """A folder named after a patient, with a photograph with author and GPS position, and a damaged one."""
    folder = tmp_path / "Miller^Anna 1970-03-04"
    folder.mkdir()
    rgb = np.full((48, 48, 3), 220, np.uint8)
    rgb[12:36, 12:36] = 60
    exif = Image.Exif()
    exif[0x013B] = "Anna Miller"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 6.0), 3: "E", 4: (11.0, 34.0, 12.0)})
    Image.fromarray(rgb).save(folder / "a.jpg", exif=exif)
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff and no more")
    write_dicom(folder / "c.dcm", rgb)
    return folder


def write_dicom(path: Path, rgb: np.ndarray) -> None:
    """Write a DICOM photograph with the patient's name."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = VLPhotographicImageStorage, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Miller^Anna", "4711823", "19700304"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = *rgb.shape, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation, dataset.PixelData = "RGB", rgb.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_results_contain_no_personal_data(
    run: Callable[..., Result], photographs_of_patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    use_dark_model(tmp_path / "model", monkeypatch.setattr)
    assert run("audit", photographs_of_patient).exit_code == 1
    assert run("lesion", photographs_of_patient, "--out", "out").exit_code == 1  # one is damaged
    assert (tmp_path / "out/c/mask.png").is_file()
    result = run("audit", "out")
    assert result.exit_code == 0, result.output
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not [name for name in (b"Miller", b"Anna", b"4711823", b"19700304") if name in content]
