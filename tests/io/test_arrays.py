"""Arrays between viewer and worker: anything but a photograph or a mask is refused with a message."""

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.results import read_mask_array, read_rgb_array

RGB = np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)


def test_photograph_and_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "rgb.npy", RGB)
    np.save(tmp_path / "mask.npy", RGB[..., 0])
    np.testing.assert_array_equal(read_rgb_array(tmp_path / "rgb.npy"), RGB)
    np.testing.assert_array_equal(read_mask_array(tmp_path / "mask.npy"), RGB[..., 0] > 0)


@pytest.mark.parametrize(
    "array",
    [RGB.astype(float), RGB[..., 0], RGB[:0], RGB[None], np.array([{"a": 1}], dtype=object)],
    ids=["float", "gray", "empty", "stack", "objects"],
)
def test_invalid_photographs_are_rejected(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "rgb.npy", array, allow_pickle=True)
    with pytest.raises(UnreadableImage, match=r"rgb\.npy"):
        read_rgb_array(tmp_path / "rgb.npy")


@pytest.mark.parametrize("change", [lambda raw: raw[:100], lambda raw: raw.replace(b"(10, 10, 3)", b"(99, 99, 3)")])
def test_a_damaged_array_is_refused(change, tmp_path: Path) -> None:
    np.save(tmp_path / "rgb.npy", RGB)
    raw = (tmp_path / "rgb.npy").read_bytes()
    (tmp_path / "rgb.npy").write_bytes(change(raw))
    with pytest.raises(UnreadableImage, match=r"rgb\.npy cannot be read as an array"):
        read_rgb_array(tmp_path / "rgb.npy")


def test_a_mask_of_floating_points_or_layers_is_refused(tmp_path: Path) -> None:
    for number, array in enumerate((RGB[..., 0] / 255, RGB)):
        np.save(tmp_path / f"{number}.npy", array)
        with pytest.raises(UnreadableImage, match=r"but bool \(row, column\) was expected"):
            read_mask_array(tmp_path / f"{number}.npy")
