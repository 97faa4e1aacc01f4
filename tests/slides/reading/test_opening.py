"""What is refused when a slide is opened, and the pixel size set by the user."""

import sys

import pytest

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.reading.opening import open_slide


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.svs", b"no slide at all", "has an unknown format, expected a slide"),
        ("empty.ndpi", b"", r"is empty \(0 bytes\), but a slide was expected"),
        ("index.mrxs", b"x", "has an unknown format|cannot be opened"),
    ],
)
def test_files_that_are_no_slides_are_rejected(name, content, message, tmp_path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImage, match=message):
        open_slide(tmp_path / name)


def test_missing_files_and_folders_that_are_no_slide_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"gone\.svs does not exist"):
        open_slide(tmp_path / "gone.svs")
    with pytest.raises(InputError, match="is not a slide folder"):
        open_slide(tmp_path)


def test_a_missing_package_is_not_reported_as_damage_of_the_slide(write_svs, monkeypatch) -> None:
    path = write_svs()
    monkeypatch.setitem(sys.modules, "napari_melanoma.slides.reading.tiff", None)
    monkeypatch.setitem(sys.modules, "napari_melanoma.slides.reading.openslide", None)
    with pytest.raises(InputError, match="package of this program is missing") as raised:
        open_slide(path)
    assert "Copy it again" not in str(raised.value)


def test_a_size_of_the_user_takes_precedence_and_is_recorded(write_svs) -> None:
    with open_slide(write_svs(), PixelSize(0.25, 0.25)) as slide:
        assert slide.info.pixel_size == PixelSize(0.25, 0.25, "given")
        assert "set to 0.25 x 0.25 um, but the file states 0.5 x 0.5" in slide.info.warnings[0]
