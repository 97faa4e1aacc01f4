"""Slides of real scanners open at the scale and with the pixels that openslide and tifffile themselves read."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.layers import make_slide_layers
from napari_melanoma.slides.reading.opening import open_slide

SVS, LUCA = "CMU-1-Small-Region.svs", "LuCa-7color_reduced.zarr/image0"
# size of level 0, micrometers per pixel, magnification, whether it is opened as a slide unasked
KNOWN = {
    SVS: ((2967, 2220), 0.499, 20, True),
    "CMU-1-Small-Region_dicom": ((2967, 2220), 0.499, None, True),
    "HE_example.ome.tif": ((1484, 1380), 0.50008, None, True),
    LUCA: ((262, 350), 3.96791, None, True),
    "OS-1-detail.ome.tif": ((1101, 1101), 0.2271, None, True),
    "OS-2-ndpi.ome.tif": ((2202, 2202), 0.2271, None, True),
    "puma_metastatic_melanoma_roi_094.tif": ((1024, 1024), None, None, False),
    "pyramid_test_pattern.tiff": ((250, 300), None, None, True),
    "small_vectra.qptiff": ((1440, 1920), 0.49653, 10, True),
    "test3-TRITC.ndpi": ((4864, 3968), 0.22818, 40, True),
}
OPAL = {"PDL1": 520, "CD8": 540, "FoxP3": 570, "CD68": 620, "PD1": 650, "CK": 690}
FLUORESCENCE = {
    "small_vectra.qptiff": ("DAPI", "FITC", "Cy3"),
    "test3-TRITC.ndpi": ("TRITC 2 (560)",),
    LUCA: (*(f"{name} (Opal {dye})" for name, dye in OPAL.items()), "DAPI", "Autofluorescence"),
}

JOINED = ("small_vectra.qptiff",)  # stated objective and pixel size do not match

# Their directory of tiles lies before the cut.
STILL_OPEN = {(SVS, 0.9), ("test3-TRITC.ndpi", 0.9), ("HE_example.ome.tif", 0.3), ("HE_example.ome.tif", 0.9)}


@pytest.fixture(scope="module")
def slides(shared_data: Path) -> Path:
    """The folder of real slides."""
    if not (shared_data / "slides").is_dir():
        pytest.skip("needs real slides")
    return shared_data / "slides"


@pytest.mark.parametrize("name", KNOWN)
def test_each_opens_at_its_scale(name: str, slides: Path) -> None:
    size, um, magnification, unasked = KNOWN[name]
    assert is_slide(slides / name) is unasked
    with open_slide(slides / name) as slide:
        info = slide.info
        assert (info.levels[0].height, info.levels[0].width) == size
        assert max(info.levels[-1].height, info.levels[-1].width) <= 1024
        if um is None:
            assert info.pixel_size is None
            assert "lengths are in pixels" in info.warnings[0]
        else:
            assert (info.pixel_size.y_um, info.pixel_size.x_um) == pytest.approx((um, um), rel=1e-4)
            assert ["objective of 10x" in message for message in info.warnings] == [True] * (name in JOINED)
        assert info.magnification == magnification
        assert info.channels == FLUORESCENCE.get(name, ("red", "green", "blue"))
        assert len(make_slide_layers(slide)) == len(FLUORESCENCE.get(name, (1,)))


@pytest.mark.parametrize("name", sorted(set(KNOWN) - set(FLUORESCENCE) - {"CMU-1-Small-Region_dicom"}))
def test_pixels_are_those_that_tifffile_reads(name: str, slides: Path) -> None:
    known = tifffile.imread(slides / name, series=0, level=0)
    with open_slide(slides / name) as slide:
        box = Box(known.shape[0] // 3, known.shape[1] // 4, 120, 150)
        np.testing.assert_array_equal(slide.read_region(0, box), known[box.slices])
        whole = slide.thumbnail(200).astype(int)
        quarters = [
            half.mean(axis=(0, 1)) for part in np.array_split(whole, 2) for half in np.array_split(part, 2, axis=1)
        ]
        reference = [
            half.mean(axis=(0, 1)) for part in np.array_split(known, 2) for half in np.array_split(part, 2, axis=1)
        ]
        np.testing.assert_allclose(quarters, reference, atol=2.5)


@pytest.mark.parametrize("name", [SVS, "CMU-1-Small-Region_dicom", "pyramid_test_pattern.tiff"])
def test_pixels_are_those_that_openslide_reads(name: str, slides: Path) -> None:
    path = slides / name if (slides / name).is_file() else sorted((slides / name).iterdir())[0]
    with open_slide(slides / name) as slide, openslide.OpenSlide(path) as known:
        for index, level in enumerate(slide.info.levels[: known.level_count]):
            height, width = min(200, level.height), min(170, level.width)
            reference = np.asarray(known.read_region((0, 0), index, (width, height)).convert("RGB"))
            difference = np.abs(slide.read_region(index, Box(0, 0, height, width)).astype(int) - reference)
            assert difference.max() <= 3  # two builds of one JPEG decoder


def test_channels_are_those_that_are_stored(slides: Path) -> None:
    known = tifffile.imread(slides / "small_vectra.qptiff", series=0)
    with open_slide(slides / "small_vectra.qptiff") as slide:
        assert slide.info.colors == ((0, 0, 255), (0, 255, 0), (255, 255, 0))
        np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 1440, 1920)), np.moveaxis(known, 0, -1))
        assert "thumbnail" in slide.info.associated
    with (
        open_slide(slides / "test3-TRITC.ndpi") as slide,
        openslide.OpenSlide(slides / "test3-TRITC.ndpi") as reference,
    ):
        assert slide.info.colors == ((255, 0, 0),)
        colours = np.asarray(reference.read_region((800, 1600), 0, (100, 100)))[..., :3]
        np.testing.assert_array_equal(slide.read_region(0, Box(1600, 800, 100, 100))[..., 0], colours.max(axis=2))


@pytest.mark.parametrize("name", [SVS, "CMU-1-Small-Region_dicom", "test3-TRITC.ndpi"])
def test_labels_are_those_that_openslide_reads(name: str, slides: Path) -> None:
    path = slides / name if (slides / name).is_file() else sorted((slides / name).iterdir())[0]
    with open_slide(slides / name) as slide, openslide.OpenSlide(path) as known:
        assert set(slide.info.associated) == set(known.associated_images)
        for kind, picture in known.associated_images.items():
            reference = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(slide.associated_image(kind).astype(int) - reference).max() <= 3  # two builds of one decoder


def test_names_of_persons_are_not_shown(slides: Path) -> None:
    for name in KNOWN:
        with open_slide(slides / name) as slide:
            shown = " ".join(slide.info.properties).lower()
            assert not [word for word in ("patient", "user", "date", "filename", "barcode", "slideid") if word in shown]


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("name", [SVS, "test3-TRITC.ndpi", "HE_example.ome.tif"])
def test_truncated_slide_is_reported(name: str, share: float, slides: Path, tmp_path: Path) -> None:
    data = (slides / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(share * len(data))])
    if (name, share) in STILL_OPEN:
        with open_slide(path) as slide:
            assert "the file is truncated" in slide.info.warnings[0]
            assert slide.read_for_display(0, Box(0, 0, 300, 300)).shape[:2] == (300, 300)
    else:
        with pytest.raises(UnreadableImage, match=r"truncated.*Copy it again"):
            open_slide(path)
