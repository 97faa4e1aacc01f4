"""Named pipes among the files of a folder, which would wait for a writer forever when opened."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular
from napari_melanoma.io.discovery import find_photographs
from napari_melanoma.io.photographs import read_image_size, read_photograph
from napari_melanoma.io.pillow_images import ExifHints, read_exif
from napari_melanoma.io.results import read_labels, read_mask
from napari_melanoma.io.tables import detect_dialect
from napari_melanoma.io.thumbnails import read_thumbnail
from napari_melanoma.slides.reading.detection import find_slides, is_slide
from napari_melanoma.slides.reading.opening import open_slide

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.fixture(params=["pipe.png", "pipe.tif", "pipe"])
def pipe(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    os.mkfifo(tmp_path / request.param)
    return tmp_path / request.param


@pytest.mark.parametrize(
    "read",
    [
        read_photograph,
        open_slide,
        read_mask,
        read_labels,
        detect_dialect,
        lambda path: read_thumbnail(path, 50),
    ],
    ids=["photograph", "slide", "mask", "labels", "table", "thumbnail"],
)
def test_a_pipe_is_refused(read, pipe: Path) -> None:
    with pytest.raises(InputError, match=f"{pipe.name}.*a pipe or a device, not a file"):
        read(pipe)


def test_a_folder_with_a_pipe_is_searched(pipe: Path) -> None:
    assert not is_slide(pipe)
    assert read_image_size(pipe) is None
    assert read_exif(pipe) == ExifHints()
    for find in (find_photographs, find_slides):
        with suppress(InputError):  # there is nothing else in it
            assert set(find([pipe.parent])) <= {pipe}
    with pytest.raises(OSError, match="a pipe or a device"):
        open_regular(pipe)
