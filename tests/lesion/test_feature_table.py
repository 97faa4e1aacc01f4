"""Measurements of a data set, compared within each patient: a phantom patient with one known outlier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError
from napari_melanoma.data.tabular_encoding import choose_encodings, encode_rows, fit_encoding, join_features
from napari_melanoma.io.results import read_table, write_mask, write_table
from napari_melanoma.lesion.feature_table import FeatureOptions, compute_features
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

SMALL = {"size": (96, 128), "field_mm": 12.0, "skin_type": 2, "artefacts": {"hairs": 0, "bubbles": 0, "ruler": False}}
ALIKE = {"diameter_mm": 4.0, "irregularity": 0.1, "asymmetry": 0.1, "darkness": 0.5, "variegation": 0.1}
ODD = {"diameter_mm": 6.5, "irregularity": 0.9, "asymmetry": 0.9, "darkness": 0.9, "variegation": 0.9}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six lesions of one patient, the fourth unlike the others; a second patient with one."""
    folder = tmp_path_factory.mktemp("features") / "set"
    rows = []
    for number in range(7):
        options = {**SMALL, "seed": number, "lesion": ODD if number == 3 else ALIKE}
        phantom = lesion_phantom(LesionPhantomConfig.parse(options, "the phantom patient"))
        name = f"l{number}"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantom.rgb).save(folder / "images" / f"{name}.png")
        write_mask(folder / "masks" / f"{name}.png", phantom.mask)
        scale = {"mpp_y": phantom.pixel_size.y_um, "mpp_x": phantom.pixel_size.x_um}
        rows.append({"image_id": name, "patient_id": "p" if number < 6 else "q", "target": int(number == 3), **scale})
    write_table(folder / "dataset.csv", rows)
    return folder


class Contrast:
    """Embeds a picture by its contrast, and counts what it was asked."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")
        self.info = BundleInfo(folder, BundleConfig(name="contrast", title="Contrast", architecture="none"))
        self.requested = 0

    def vectors(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        self.requested += len(inputs)
        return np.array([(64, image.std()) for image in inputs], np.float32)


def test_the_odd_lesion_is_found(patient: Path, tmp_path: Path) -> None:
    model, out = Contrast(tmp_path), tmp_path / "features.csv"
    report = compute_features(patient, out, FeatureOptions(), run=RunContext(), model=model)
    assert (report.images, report.measured, report.patients, report.faults) == (7, 7, 1, ())
    rows = read_table(out)
    assert [row["patient_rank"] for row in rows].index("1") == 3
    assert [row["patient_embedding_rank"] for row in rows].index("1") == 3
    assert float(rows[3]["patient_z_max_diameter_mm"]) == 10
    assert float(rows[3]["area_mm2"]) == pytest.approx(math.pi * 3.25**2, rel=0.05)
    assert (rows[6]["patient_lesions"], rows[6]["patient_rank"], rows[6]["patient_z_area_mm2"]) == ("1", "", "")
    assert not [name for name in rows[0] if name.startswith("patient_z") and name.endswith("_px")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.csv", "model.safetensors"]


def test_the_table_feeds_a_network(patient: Path, tmp_path: Path) -> None:
    compute_features(patient, tmp_path / "features.csv", FeatureOptions(), run=RunContext())
    rows = join_features(read_table(patient / "dataset.csv"), tmp_path / "features.csv")
    assert [row["target"] for row in rows] == ["0", "0", "0", "1", "0", "0", "0"]
    encoding = fit_encoding(rows, choose_encodings(["patient_distance", "solidity"], rows))
    found = encode_rows(rows, encoding)
    assert found.continuous[:, 0].argmax() == 3
    assert found.known.tolist() == [[True, True]] * 6 + [[False, True]]
    with pytest.raises(DataSetError, match=r"napari-melanoma data features"):
        join_features(rows, tmp_path / "nothing.csv")


def test_a_resumed_call_measures_only_the_remaining_images(patient: Path, tmp_path: Path) -> None:
    class Impatient(RunContext):
        def stop(self, progress: Progress) -> None:
            if progress.done == 7:
                self.cancel()
                self.check()

    model, out = Contrast(tmp_path), tmp_path / "features.csv"
    impatient = Impatient()
    impatient.report = impatient.stop  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        compute_features(patient, out, FeatureOptions(), run=impatient, model=model)
    assert not out.exists()
    again = Contrast(tmp_path)
    compute_features(patient, out, FeatureOptions(), run=RunContext(), model=again)
    assert (model.requested, again.requested) == (7, 0)
    stopped = out.read_bytes()
    compute_features(patient, out, FeatureOptions(), run=RunContext(), model=again)
    assert again.requested == 7
    assert out.read_bytes() == stopped
    assert not list(tmp_path.glob("*.unfinished"))


def test_failures_are_reported_and_other_images_measured(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for name in ("small", "bare"):
        Image.new("RGB", (64, 48), "peru").save(folder / "images" / f"{name}.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    write_mask(folder / "masks" / "small.png", np.ones((8, 8), bool))
    write_mask(folder / "masks" / "broken.png", np.ones((48, 64), bool))
    rows = [{"image_id": name, "path": ""} for name in ("small", "bare", "broken", "nowhere")]
    write_table(folder / "dataset.csv", [*rows, {"image_id": "lost", "path": "images/lost.png"}])
    report = compute_features(folder, folder / "features.csv", FeatureOptions(), run=RunContext())
    assert (report.images, report.measured, report.without_mask, report.without_image) == (4, 0, 1, 1)
    faults = dict(report.faults)
    assert set(faults) == {"set", "small", "broken"}
    assert "A mask needs the same size as its upright image" in faults["small"]
    assert "lost" in faults["set"]
    assert [row["image_id"] for row in read_table(folder / "features.csv")] == ["small", "bare", "broken"]
    (folder / "images" / "bare.png").unlink()
    with pytest.raises(
        DataSetError, match=r"none of 2 images could be measured\. First error: 'small': the mask has 8 x 8 pixels"
    ):
        compute_features(folder, folder / "features.csv", FeatureOptions(), run=RunContext())


def test_a_table_without_images_has_nothing_to_measure(tmp_path: Path) -> None:
    write_table(tmp_path / "dataset.csv", [{"image_id": "a"}])
    with pytest.raises(DataSetError, match="has 1 rows without images"):
        compute_features(tmp_path, tmp_path / "features.csv", FeatureOptions(), run=RunContext())


def test_no_such_model(patient: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing-of-that-name"):
        compute_features(patient, tmp_path / "f.csv", FeatureOptions(model="nothing-of-that-name"), run=RunContext())
