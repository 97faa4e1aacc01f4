"""Corrections, cases, bundles, archives, results of strangers: nothing outside of them is copied or removed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.case.image_assignment import read_case_table
from napari_melanoma.case.store import parse_case
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.paths import UnsafePath
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
from napari_melanoma.io.results import read_table
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.models.installed_bundles import install_bundle
from napari_melanoma.reports.slide_export import copy_result_file
from napari_melanoma.training.callbacks import SampleCallback


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("links cannot be made here")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim" / "masks" / "precious.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(picture(9)).save(path)
    return path


@pytest.mark.parametrize("by", ["absolute", "climbing", "link"])
def test_undo_removes_no_file_that_a_history_names_elsewhere(tmp_path: Path, victim: Path, by: str) -> None:
    corrections = Corrections(tmp_path / "corrections")
    mask = np.zeros((24, 32), bool)
    mask[4:9, 4:9] = True
    corrections.add(Correction(name="a", rgb=picture(), mask=mask, review="corrected"))
    folder = corrections.folder
    link(folder / "linked", victim.parent.parent)
    path = {
        "absolute": victim.as_posix(),
        "climbing": "../victim/masks/precious.png",
        "link": "linked/masks/precious.png",
    }[by]
    for name in ("dataset.csv", "history.jsonl"):
        text = (folder / name).read_text("utf-8")
        assert "masks/a.png" in text
        (folder / name).write_text(text.replace("masks/a.png", path), "utf-8")
    before = victim.read_bytes()
    assert Corrections(folder).undo() == "a"
    assert victim.read_bytes() == before


@pytest.mark.parametrize("part", ["correction", "results", "risk"])
@pytest.mark.parametrize(
    "path", ["../victim/masks", "masks/..", "/etc", "linked/masks/precious.png", "C:\\x", "\ud800"]
)
def test_a_case_with_results_elsewhere_is_not_opened(tmp_path: Path, victim: Path, part: str, path: str) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    link(folder / "linked", victim.parent.parent)
    known = {"correction": {"path": path, "digest": "0"}, "results": [{"path": path}]}
    known["risk"] = {"path": path, "verdict": "x", "probability": 0.5}
    image = {"id": "I1", "path": "a.png", part: known[part]}
    with pytest.raises(InputError, match=r"case folder|surrogate pair"):
        parse_case(json.dumps({"version": "1.0", "images": [image]}), folder)


def test_a_case_may_name_images_elsewhere(tmp_path: Path, victim: Path) -> None:
    text = json.dumps({"version": "1.0", "images": [{"id": "I1", "path": str(victim)}]})
    assert parse_case(text, tmp_path / "case").images[0].path == victim


def test_a_table_adds_no_image_outside_its_folder_to_a_case_that_was_not_named(tmp_path: Path, victim: Path) -> None:
    table = tmp_path / "clinic" / "table.csv"
    table.parent.mkdir()
    table.write_text("image_id,path,age\nprecious,../victim/masks/precious.png,50\n")
    found = read_case_table(table)
    assert found.images == []
    assert any("outside" in predicted for _, predicted in found.notes)
    assert read_case_table(table, [victim]).images == [victim]


def test_a_bundle_with_a_link_that_leads_out_is_not_imported(tmp_path: Path, victim: Path, monkeypatch) -> None:
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.user_models_folder", lambda: tmp_path / "models")
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.check_usable", lambda bundle: bundle)
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.check_weights", lambda path: None)
    bundle = BundleInfo(tmp_path / "bundle", BundleConfig(name="con", title="X", architecture="none", input_size=32))
    bundle.path.mkdir()
    (bundle.path / "model.safetensors").write_bytes(b"weights")
    (bundle.path / "config.json").write_text("{}")
    assert install_bundle(bundle).name == "model-con"  # a name that Windows has for a device
    link(bundle.path / "README.md", victim)
    with pytest.raises(BundleError, match="link"):
        install_bundle(bundle, "other")
    assert not (tmp_path / "models" / "other").exists()


def test_a_bundle_in_the_cache_of_the_hub_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.user_models_folder", lambda: tmp_path / "models")
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.check_usable", lambda bundle: bundle)
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.check_weights", lambda path: None)
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (blobs / name).write_bytes(b"{}")
        link(snapshot / name, Path("..", "..", "blobs", name))
    config = BundleConfig(name="hub", title="X", architecture="none", input_size=32)
    assert install_bundle(BundleInfo(snapshot, config)).name == "hub"


def test_an_export_follows_no_link_out_of_a_result_folder(tmp_path: Path, victim: Path) -> None:
    link(tmp_path / "lesions.geojson", victim)
    (tmp_path / "results").mkdir()
    link(tmp_path / "results" / "lesions.geojson", victim)
    with pytest.raises(UnsafePath):
        copy_result_file(tmp_path / "results" / "lesions.geojson", tmp_path / "out.geojson")
    assert not (tmp_path / "out.geojson").exists()


@pytest.mark.parametrize("name", ["a\\..\\..\\evil.png", "con.png", "a:b.png", "x\u202egnp.png"])
def test_an_archive_names_no_file_outside_the_data_set(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    source = tmp_path / "source"
    source.mkdir()
    with zipfile.ZipFile(source / "set.zip", "w") as archive:
        archive.writestr(f"images/{name}", (tmp_path / "a.png").read_bytes())
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    import_source(
        find_source("folder"), source, tmp_path / "out", SourceImportOptions(no_patients=True), run=RunContext()
    )
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(tmp_path / "out") for path in new)
    (row,) = read_table(tmp_path / "out" / "dataset.csv")
    assert (tmp_path / "out" / "images" / f"{row['image_id']}.png").is_file()


def test_samples_of_a_run_have_file_names(tmp_path: Path) -> None:
    class Named(SampleCallback):
        def pictures(self, task: object) -> list:
            return []

    names = Named(tmp_path, ["../../x", "A", "a", "con"])._names  # type: ignore[arg-type]
    assert len({name.lower() for name in names}) == 4
    assert not any("/" in name or name.startswith((".", "con")) for name in names)
