"""What makes two analyses two: every option that moves a value, set, changed or taken away, and what a model is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import RunError
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.results import write_mask
from napari_melanoma.io.slide_store import SlideResult, SlideResultSpec
from napari_melanoma.slides.options import EXECUTION_OPTIONS, FILE_OPTIONS, SlideOptions
from napari_melanoma.slides.plan import analysis_settings
from napari_melanoma.slides.results import describe_difference
from napari_melanoma.slides.tile_models import TileModelInfo
from napari_melanoma.slides.tissue import TissueConfig

PICTURES = ("tissue_mask", "stain_reference")
VALUES: dict[str, tuple[Any, Any]] = {
    "mpp": (0.25, 0.6),
    "mpp_y": (0.3, 0.5),
    "tile_mpp": (0.5, 1.0),
    "tile_um": (100.0, 200.0),
    "overlap": (0.1, 0.2),
    "border": ("inside", "shift"),
    "region": ((0, 0, 10, 10), (0, 0, 10, 20)),
    "tissue": (TissueConfig(method="otsu"), TissueConfig(method="entropy")),
    "tissue_mask": ("half.png", "other.png"),
    "tumor_outlines": ("half.geojson", "other.geojson"),
    "min_tissue": (0.5, 0.9),
    "stain": (StainConfig(), StainConfig(method="reinhard")),
    "stain_reference": ("half.png", "other.png"),
    "apply_profile": (True, None),
}
BESIDE = {"stain_reference": {"stain": StainConfig()}, "mpp_y": {"mpp": 0.25}}  # without which they have no effect
INFO = TileModelInfo("m", "classification", ("a", "b"), 224, 0.5, fingerprint="w", prediction_fingerprint="a")
ORDER = np.array([[0, 0], [1, 1]], np.int32)


def spec(options: SlideOptions, info: TileModelInfo = INFO) -> SlideResultSpec:
    place = {"rows": 4, "columns": 4, "corner": (0, 0), "step": (1, 1), "tile_px": 224}
    values = {"slide": "s", "fingerprint": "f", "kind": "classification", "classes": ("a", "b"), **place}
    return SlideResultSpec.parse({**values, "settings": analysis_settings(info.identity, options)}, "test")


def kept(folder: Path, options: SlideOptions, info: TileModelInfo = INFO) -> SlideResult:
    folder.mkdir(parents=True)
    return SlideResult.create(folder, spec(options, info), ORDER)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., SlideOptions]:
    """Options with one field at the first or second of its values; pictures and outlines are drawn."""
    for number, name in enumerate(("half.png", "other.png")):
        mask = np.zeros((16, 16), np.bool_)
        mask[: 4 + number] = True
        write_mask(tmp_path / name, mask)
    for name, side in (("half.geojson", 4), ("other.geojson", 5)):
        ring = [[0, 0], [side, 0], [side, side], [0, 0]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "Tumor"}}}
        (tmp_path / name).write_text(json.dumps(feature))

    def options(field: str, which: int) -> SlideOptions:
        value = VALUES[field][which]
        changed = {field: tmp_path / value if field in FILE_OPTIONS else value}
        return SlideOptions(model="m", **BESIDE.get(field, {}), **changed)

    return options


def test_every_option_that_moves_a_value_is_tried() -> None:
    assert {*VALUES, "model", *EXECUTION_OPTIONS} == {*SlideOptions.model_fields}


@pytest.mark.slow
@pytest.mark.parametrize("field", list(VALUES))
def test_changed_options_are_described(field: str, made: Callable[..., SlideOptions], tmp_path: Path) -> None:
    usual, first = SlideOptions(model="m", **BESIDE.get(field, {})), made(field, 0)
    pairs = [(usual, first), (first, usual)]
    if VALUES[field][1] is not None:
        pairs.append((first, made(field, 1)))
    for number, (before, now) in enumerate(pairs):
        folder = tmp_path / str(number)
        result = kept(folder, before)
        result.check_same_analysis(spec(before))
        with pytest.raises(RunError, match=rf"with other settings: .*{field} was"):
            result.check_same_analysis(spec(now))
        assert describe_difference(folder, before) == ""
        assert describe_difference(folder, now) != ""


@pytest.mark.parametrize("field", PICTURES)
def test_pictures_are_identified_by_content_not_by_name(
    field: str, made: Callable[..., SlideOptions], tmp_path: Path
) -> None:
    options = made(field, 0)
    result = kept(tmp_path / "out", options)
    copy = tmp_path / "copy.png"
    copy.write_bytes((tmp_path / "half.png").read_bytes())
    result.check_same_analysis(spec(options.model_copy(update={field: copy})))
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "half.png")
    with pytest.raises(RunError, match=f"{field} was"):
        result.check_same_analysis(spec(options))


def test_tiles_of_another_size_are_refused(tmp_path: Path) -> None:
    """A whole-slide model may read the tiles of its encoder at another scale, which the settings do not state."""
    result = kept(tmp_path / "out", SlideOptions())
    result.check_same_analysis(spec(SlideOptions()).model_copy(update={"step": (1.001, 1.0)}))
    with pytest.raises(RunError, match="tiles of another size"):
        result.check_same_analysis(spec(SlideOptions()).model_copy(update={"step": (1.0, 2.0)}))


@pytest.mark.parametrize("changes", [{"fingerprint": "v"}, {"prediction_fingerprint": "b"}, {"name": "n"}])
def test_another_model_is_refused(changes: dict[str, str], tmp_path: Path) -> None:
    result = kept(tmp_path / "out", SlideOptions())
    with pytest.raises(RunError, match="with other settings"):
        result.check_same_analysis(spec(SlideOptions(), replace(INFO, **changes)))
