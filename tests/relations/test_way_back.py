"""What is written is read back equal: data sets in each format, everything that is drawn on a slide, configurations.

The subjects are all export formats of data sets, all documents of a slide, and all configurations with default values.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import world
from PIL import Image

import napari_melanoma
import napari_melanoma as nm
from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.data.exports import DATA_EXPORTS
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.slides.counts import CountedPoint
from napari_melanoma.slides.regions import RegionClass, set_locked, sign_region
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

# Formats whose importer has another name.
IMPORTERS = {"masks": "folder"}
COLUMNS = ("patient_id", "lesion_id", "diagnosis", "age", "sex", "site", "mpp_x", "mpp_y", "split")
EMPTY = "x02"
# Formats of mask files, whose import reports an empty mask and leaves the image out
WITHOUT_EMPTY = ("decathlon", "imagefolder", "masks", "nnunet", "parquet")
WHEN = "2026-01-02T10:00:00+00:00"


@pytest.fixture(scope="module")
def difficult(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images: a mask with a hole, one of two parts, and an empty one."""
    folder = tmp_path_factory.mktemp("difficult")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = world.make_rows(4)
    for number, row in enumerate(rows):
        name = row["image_id"]
        rgb, mask = world.draw_photograph(number)
        Image.fromarray(rgb).save(folder / f"images/{name}.png")
        mask[44:50, 58:64] &= number != 0
        mask[2:9, 2:9] |= number == 1
        mask &= number != 2
        Image.fromarray(mask).convert("L").save(folder / f"masks/{name}.png")
        row.update(split=("train", "train", "test", "test")[number])
    write_table(folder / "dataset.csv", rows)
    return folder


@pytest.mark.parametrize("name", [one for one in DATA_EXPORTS.members if not DATA_EXPORTS.find_plugin(one)])
def test_a_data_set_is_exported_and_imported(name: str, difficult: Path, tmp_path: Path) -> None:
    """Pixels, masks and values; images without a lesion stay images without one, or are reported as left out."""
    exported = nm.export_dataset(difficult, name, tmp_path / "out", areas="pixels")
    imported = nm.import_dataset(IMPORTERS.get(name, name), exported.folder, tmp_path / "back")
    rows = {row["image_id"]: row for row in read_table(tmp_path / "back/dataset.csv")}
    first = {row["image_id"]: row for row in read_table(difficult / "dataset.csv")}
    assert imported.faults == ([(EMPTY, "its mask is empty")] if name in WITHOUT_EMPTY else [])
    assert rows.keys() == first.keys() - {image for image, _ in imported.faults}
    for image, row in rows.items():
        given = first[image]
        assert {one: row.get(one, "") for one in COLUMNS} == {one: given.get(one, "") for one in COLUMNS}, image
        mask, found = read_mask(difficult / f"masks/{image}.png"), tmp_path / f"back/masks/{image}.png"
        assert (read_mask(found) == mask).all() if found.exists() else not mask.any(), image
        pixels = (nm.read_photograph(folder / f"images/{image}.png").rgb for folder in (difficult, tmp_path / "back"))
        assert np.array_equal(*pixels), image


def draw_documents() -> dict[str, Any]:
    """A value of each document of a slide, with everything that a reader can set."""
    from napari_melanoma.ui.session.strokes import PaintState

    outer = ((10.0, 10.0), (10.0, 90.0), (90.5, 90.0), (90.0, 10.0))
    hole = ((30.0, 30.0), (30.0, 50.0), (50.0, 50.0))
    region = Annotation((Polygon(outer, (hole,)),), "Läsion", (200, 0, 10))
    other = Annotation((Polygon(hole), Polygon(((100.0, 100.0), (100.0, 120.0), (120.0, 120.0)))), "Skin", None)
    regions = (sign_region(replace(region, id="r1", name="first"), "Ada Reader"), replace(other, id="r2"))
    strokes = (
        Stroke("s1", "Tumor", "brush", ((10.0, 20.0), (30.5, 40.0)), 12.5, "Ada Reader", WHEN),
        Stroke("s2", "Dermis", "polygon", outer, 0.0, "B. Reader", WHEN, (hole,)),
        Stroke("s3", "Dermis", "cells", ((5.0, 6.0), (7.0, 8.0))),
    )
    classes = tuple(RegionClass(name, color) for name, color in (("Tumor", (1, 2, 3)), ("Dermis", (9, 8, 7))))
    depth = SlideFindings()
    for number, reader in enumerate(("Ada Reader", "B. Reader")):
        line = ((10.0, 20.0), (110.0 + number, 20.0))
        values = {"line": line, "mm": 0.4 + number, "um_per_px": (4.0, 4.0), "ulcerated": bool(number), "clark": 3}
        depth = set_values(depth, reader, WHEN, **values, notes="first\nsecond")
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="excision"), "Ada Reader", WHEN)
    return {
        "regions": set_locked(regions, {"r2"}, locked=True),
        "strokes": PaintState(strokes, classes, None),
        "counts": (CountedPoint("Mitosis", (1.5, 2.0)), CountedPoint("Läsion", (3.0, 4.0))),
        "findings": depth.with_report(report),
    }


def list_document_kinds() -> dict[str, Any]:
    """All documents of a slide, by name."""
    pytest.importorskip("qtpy")
    from napari_melanoma.ui.session.document import DocumentKind

    package = importlib.import_module("napari_melanoma.ui.session")
    names = [f"{package.__name__}.{one.name}" for one in pkgutil.iter_modules(package.__path__)]
    modules = map(importlib.import_module, names)
    return {one.name: one for module in modules for one in vars(module).values() if isinstance(one, DocumentKind)}


def test_every_document_has_a_value() -> None:
    """Lesions are written to the folder of their analysis, and tested there."""
    assert list_document_kinds().keys() - {"lesions"} == draw_documents().keys()


@pytest.mark.parametrize("origin", [(0, 0), (300, 500)], ids=["whole slide", "scanned area"])
@pytest.mark.parametrize("name", ["regions", "strokes", "counts", "findings"])
def test_a_document_is_saved_and_read(name: str, origin: tuple[int, int], tmp_path: Path) -> None:
    from napari_melanoma.ui.session.document import SlideFolder, Stored

    kind, value = list_document_kinds()[name], draw_documents()[name]
    (tmp_path / "results").mkdir()
    location = SlideFolder(world.draw_slide(tmp_path / "a.tif"), tmp_path / "results", origin)
    kind.write(location, value, Stored(kind.empty))
    stored = kind.read(location)
    if name == "findings":  # which names the slide that it is of
        value = value.model_copy(update={"fingerprint": stored.value.fingerprint})
    assert stored.value == value
    kind.write(location, stored.value, stored)
    assert kind.read(location).value == value


def list_configurations() -> Iterator[type[Config]]:
    """All configurations of the package that have default values."""
    for info in pkgutil.walk_packages(napari_melanoma.__path__, "napari_melanoma."):
        if ".ui" not in info.name and not info.name.endswith("__main__"):
            importlib.import_module(info.name)

    def subclasses(of: type[Config]) -> Iterator[type[Config]]:
        for one in of.__subclasses__():
            yield one
            yield from subclasses(one)

    for one in {one.__qualname__: one for one in subclasses(Config)}.values():
        is_own = one.__module__.startswith("napari_melanoma.")
        if is_own and not any(field.is_required() for field in one.model_fields.values()):
            yield one


def test_configurations_are_written_and_read(tmp_path: Path) -> None:
    """As TOML and as JSON; one test, since the list needs all modules."""
    found = 0
    for number, one in enumerate(list_configurations()):
        try:
            value = one()
        except ValueError:
            continue  # fields that need each other
        found += 1
        write_toml(tmp_path / f"{number}.toml", value)
        assert read_toml(tmp_path / f"{number}.toml", one) == value, one
        assert one.parse(value.model_dump(mode="json"), "the test") == value, one
    assert found > 80
