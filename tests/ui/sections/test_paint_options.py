"""The options of the Paint section: what they state, what they fit, and the smoothed map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions
from napari_melanoma.slides.tissue_classifier.encoder_files import EncoderFile, accept_encoder
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES
from napari_melanoma.slides.tissue_classifier.smoothing import smooth_map
from napari_melanoma.ui.sections.paint.encoder_dialog import NO_NAME, NOT_ACCEPTED, find_blocker
from napari_melanoma.ui.sections.paint.map_smoothing import MapSmoother
from napari_melanoma.ui.sections.paint.options import (
    AUTOMATIC_NOTE,
    FIXED_NOTE,
    PaintOptions,
    read_options,
    resolve_features,
    resolve_note,
    store_options,
)
from napari_melanoma.ui.sections.paint.sources import SourceCache
from napari_melanoma.ui.widgets.settings import DockSettings

UNI = EncoderFile(name="uni", weights=Path("uni.bin"), sha256="a", bytes=1, changed=1, accepted="2026-01-02T03:04:05")


@dataclass(frozen=True)
class Case:
    name: str
    options: PaintOptions
    fit: TissueFitOptions
    note: str
    mpp: float = 1.0


CASES = [
    Case("automatic", PaintOptions(), TissueFitOptions(sources=SHIPPED_SOURCES), AUTOMATIC_NOTE),
    Case("texture", PaintOptions("texture", UNI, 1.0), TissueFitOptions(sources=("texture",), smoothing=1), FIXED_NOTE),
    Case(
        "an encoder",
        PaintOptions("encoder", UNI),
        TissueFitOptions(sources=("uni",), weights=UNI.weights),
        "uni.bin. License: CC-BY-NC-ND-4.0 (gated: accept the license on the model's page, then run 'hf auth login'); "
        "accepted on 2026-01-02. Runs on this computer; nothing is sent.",
        32 / 56,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_options_are_those_of_the_command_line(case: Case) -> None:
    assert case.options.fit == case.fit
    assert resolve_note(case.options).startswith(case.note)
    assert case.options.mpp == case.mpp


def test_a_selected_encoder_remains_in_the_list() -> None:
    assert list(resolve_features(PaintOptions())) == ["automatic", *SHIPPED_SOURCES, "choose"]
    features = resolve_features(PaintOptions("texture", UNI))
    assert features["encoder"] == "uni"
    assert list(features)[-2:] == ["encoder", "choose"]


@pytest.mark.parametrize(
    ("name", "is_accepted", "expected"),
    [
        ("", True, NO_NAME),
        ("timm:", True, NO_NAME),
        ("vgg", True, "'vgg' is not an encoder. Select one, or enter timm: and its name."),
        ("uni", False, NOT_ACCEPTED),
        ("uni", True, ""),
        ("timm:resnet50", True, ""),
    ],
)
def test_an_encoder_needs_a_name_and_an_accepted_license(name: str, is_accepted: bool, expected: str) -> None:
    assert find_blocker(name, is_accepted=is_accepted) == expected


def test_options_are_restored_unless_the_file_has_changed(tmp_path: Path, user_folders: Path) -> None:
    weights, settings = tmp_path / "uni.bin", DockSettings()
    weights.write_bytes(b"weights")
    status = weights.stat()
    encoder = UNI.model_copy(update={"weights": weights, "bytes": status.st_size, "changed": status.st_mtime_ns})
    options = PaintOptions("encoder", accept_encoder(encoder), 0.5)
    store_options(settings, options)
    assert read_options(settings) == options
    weights.unlink()
    assert read_options(settings) == PaintOptions(smoothing=0.5)


def test_an_encoder_that_is_no_longer_in_use_is_not_opened() -> None:
    with pytest.raises(InputError, match="no longer in use"):
        SourceCache().open("uni")


@pytest.mark.parametrize("tissue_first", [True, False])
def test_the_map_is_smoothed_as_a_whole_in_any_order_of_the_blocks(tissue_first: bool) -> None:
    shape, random = (40, 50), np.random.default_rng(0)
    stored = random.integers(0, 256, (3, *shape))
    stored[:, 20:24, 10:14] = 0  # not predicted
    blocks = [(row, column) for row in range(3) for column in range(4)]
    tissue = np.array([block for block in blocks if block not in ((0, 0), (1, 2))], np.int32)
    known = np.zeros(shape, np.bool_)
    for row, column in tissue * BLOCK_CELLS:
        known[row : row + BLOCK_CELLS, column : column + BLOCK_CELLS] = True
    values = np.where(known & stored.any(axis=0), stored / np.float32(255), np.nan)
    expected = np.round(255 * np.nan_to_num(smooth_map(values, 1.0)))

    smoother, found = MapSmoother(1.0), np.zeros((3, *shape), np.float32)
    smoother.start(shape)
    parts = []
    if tissue_first:
        assert smoother.set_tissue(tissue) == ()
    for index in random.permutation(len(blocks)):
        top, left = (BLOCK_CELLS * side for side in blocks[index])
        box = Box(top, left, min(BLOCK_CELLS, 40 - top), min(BLOCK_CELLS, 50 - left))
        parts += smoother.add([(box, np.moveaxis(stored[:, *box.slices] / 255, 0, -1).astype(np.float16))])
    parts += smoother.add([], smoother.set_tissue(tissue))
    for box, probability in parts:
        found[:, *box.slices] = np.moveaxis(probability, -1, 0)
    np.testing.assert_array_equal(np.rint(255 * found)[:, known], expected[:, known])
