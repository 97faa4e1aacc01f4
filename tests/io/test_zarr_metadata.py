"""Zarr folders with metadata that would break zarr's parser are refused, as slides and as results."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slide_store import STORE, SlideResult
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.opening import open_slide

CONTENTS = {
    "deep": b'{"a": ' + b"[" * 100_000,
    "digits": b'{"zarr_format": ' + b"9" * 5000 + b"}",
    "nan": b'{"zarr_format": 3, "a": NaN}',
    "bytes": b'{"a": "\xff"}',
    "empty": b"",
    "a list": b"[]",
    "a number": b"7",
    "cut": b'{"zarr_format": 3, "node',
    "twice": b'{"zarr_format": 3, "zarr_format": 3}',
    "attributes": b'{"zarr_format": 3, "node_type": "group", "attributes": 5}',
    "ome": b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": 7, "multiscales": 3}}',
}


@pytest.mark.parametrize("part", ["", "0"])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("kind", ["slide", "result"])
def test_metadata_that_breaks_parsers_is_refused(tmp_path: Path, part: str, content: bytes, kind: str) -> None:
    folder = tmp_path / "a" / STORE
    group = zarr.create_group(store=folder)
    group.create_array("0", shape=(64, 64, 3), chunks=(64, 64, 3), dtype="uint8")[:] = np.zeros((64, 64, 3), np.uint8)
    (folder / part / "zarr.json").write_bytes(content)
    read: Callable[[Path], object] = open_slide if kind == "slide" else SlideResult.open
    is_slide(folder)
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        read(folder if kind == "slide" else folder.parent)
    assert time.process_time() - started < 1
    assert STORE in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_wrong_declared_shape_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "a" / STORE
    zarr.create_group(store=folder)
    (folder / "0").mkdir()
    result = SlideResult(folder, zarr.open_group(folder), None, lambda: None)  # type: ignore[arg-type]
    group = zarr.open_group(folder, mode="r+")
    group.create_array("state", shape=(2**40, 2**20), chunks=(64, 64), dtype="uint8")
    with pytest.raises(InputError, match="state cannot be read"):
        _ = result.state
