"""The same image gives the same numbers by all ways: command, API, one photograph and a folder, worker, two processes.

The dock calls the functions of the worker, and derives the result with the function of the command.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_melanoma as nm
from napari_melanoma import worker
from napari_melanoma.core.context import KeptArray, RunContext
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.lesion.analysis import derive_result
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

PATIENT = {"age": 61, "sex": "female", "site": "posterior torso"}
SCALE_UM = 40


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs with the data of their patients."""
    folder = tmp_path_factory.mktemp("photographs")
    names = [f"x{number:02}" for number in range(3)]
    (folder / "images").mkdir()
    for number, name in enumerate(names):
        phantom = lesion_phantom(LesionPhantomConfig(seed=number + 5, size=(150, 200)))
        Image.fromarray(phantom.rgb).save(folder / f"images/{name}.png")
    row = {**PATIENT, "mpp_x": SCALE_UM, "mpp_y": SCALE_UM, "modality": "dermoscopic"}
    write_table(folder / "patients.csv", [{"image_id": name, **row} for name in names])
    return folder


def by_single_command(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    call("lesion", image, "--out", out, "--metadata", photographs / "patients.csv", "--classify")
    return json.loads((out / image.stem / "result.json").read_text(encoding="utf-8"))


def by_folder(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    call("lesion", photographs / "images", "--out", out, "--metadata", photographs / "patients.csv", "--classify")
    return json.loads((out / image.stem / "result.json").read_text(encoding="utf-8"))


def by_options(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    patient = [word for name, value in PATIENT.items() for word in (f"--{name}", value)]
    scale = ("--modality", "dermoscopic", "--pixel-size", SCALE_UM)
    call("lesion", image, "--out", out, "--classify", *patient, *scale)
    return json.loads((out / image.stem / "result.json").read_text(encoding="utf-8"))


def by_api(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    lesion = nm.segment(image, pixel_size_um=SCALE_UM)
    found = nm.classify(image, lesion.mask, modality="dermoscopic", **PATIENT)
    lesion.save(out)
    return {
        "measurements": dict(lesion.measurements),
        "prediction": {"probabilities": list(found.probabilities.values()), "interval": found.interval},
        "mask": lesion.mask,
    }


def by_array(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    lesion = nm.segment(np.asarray(Image.open(image)), pixel_size_um=SCALE_UM)
    found = nm.classify(np.asarray(Image.open(image)), lesion.mask, modality="dermoscopic", **PATIENT)
    return {
        "measurements": dict(lesion.measurements),
        "prediction": {"probabilities": list(found.probabilities.values()), "interval": found.interval},
        "mask": lesion.mask,
    }


def by_worker(photographs: Path, image: Path, out: Path, call: Callable[..., str]) -> dict[str, Any]:
    """As the Lesion dock, which gets probabilities from the worker."""
    from dataclasses import replace

    from napari_melanoma.core.geometry import PixelSize

    photograph = replace(read_photograph(image), pixel_size=PixelSize(SCALE_UM, SCALE_UM))
    kept = KeptArray("the photograph", photograph.rgb)
    prediction, stamp = worker.segment("lesion-small", kept, False, RunContext())
    result = derive_result(photograph, prediction, LesionOptions(), stamp)
    row = {key: str(value) for key, value in PATIENT.items()}
    (found,) = worker.classify("melanoma-small", kept, ("dermoscopic", None), (result.mask, None), row, RunContext())
    return {
        "measurements": result.measurements,
        "prediction": {"probabilities": found.probabilities, "interval": found.interval},
        "mask": result.mask,
    }


WAYS = {way.__name__.removeprefix("by_"): way for way in (by_folder, by_options, by_api, by_array, by_worker)}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("way", WAYS)
def test_a_photograph_has_the_same_result_by_all_ways(
    way: str, photographs: Path, expected: dict[str, Any], tmp_path: Path, call: Callable[..., str]
) -> None:
    image = photographs / "images/x01.png"
    if not expected:
        expected.update(by_single_command(photographs, image, tmp_path / "single", call))
        expected["mask"] = read_mask(tmp_path / "single/x01/mask.png")
    found = WAYS[way](photographs, image, tmp_path / way, call)
    mask = found["mask"] if "mask" in found else read_mask(tmp_path / way / "x01/mask.png")
    assert np.array_equal(mask, expected["mask"])
    for column in MEASUREMENT_COLUMNS:
        assert float(found["measurements"][column]) == pytest.approx(expected["measurements"][column], rel=1e-4), column
    for key in ("probabilities", "interval"):
        assert list(found["prediction"][key]) == pytest.approx(expected["prediction"][key], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["two processes", "api", "again", "one slide alone"])
def test_a_slide_has_the_same_result_by_all_ways(
    way: str,
    slides: tuple[Path, ...],
    analyzed: Path,
    tissue_model: Path,
    tmp_path: Path,
    call: Callable[..., str],
) -> None:
    out = tmp_path / "out"
    match way:
        case "two processes":
            call("slide", *slides[:2], "--out", out, "--model", tissue_model, "--processes", "2")
        case "api":
            nm.analyze_slide(slides[0], out / "a", tissue_model)
        case "again":
            shutil.copytree(analyzed, out)
            (out / "a/result.json").unlink()
            call("slide", *slides[:2], "--out", out, "--model", tissue_model)
        case _:
            call("slide", slides[0], "--out", out, "--model", tissue_model)
    for name in ("map", "dense", "state"):
        first, second = (np.asarray(SlideResult.open(folder / "a").array(name)[:]) for folder in (analyzed, out))
        assert np.array_equal(first, second), name
    assert read_table(out / "a/lesions.csv") == read_table(analyzed / "a/lesions.csv")
    first, second = (json.loads((folder / "a/result.json").read_text(encoding="utf-8")) for folder in (analyzed, out))
    for key in ("probability", "lesions", "areas", "breslow_mm", "t_category", "mpp", "tiles_done", "tiles_total"):
        assert second.get(key) == first.get(key), key
