"""OpenSlide, zarr and image codecs read the pixels that were written; errors state what to do."""

import json
import os
import shutil

import imagecodecs
import numpy as np
import pytest
import tifffile
from openslide import OpenSlideError
from PIL import Image

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.geometry import Box
from napari_melanoma.privacy.personal_data import filter_private_properties
from napari_melanoma.slides.reading import flat_images, openslide
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.files import FileReader, slide_fingerprint
from napari_melanoma.slides.reading.layers import make_slide_layers
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.openslide import open_with_openslide
from napari_melanoma.slides.reading.slide import NOT_STATED, DamagedTile, apply_icc_profile
from napari_melanoma.slides.result_folder import slide_name

WHOLE = Box(0, 0, 410, 300)


def test_openslide_and_tifffile_agree(write_svs) -> None:
    path = write_svs()
    with open_with_openslide(path) as reference, open_slide(path) as own:
        assert reference.info.levels == own.info.levels
        assert reference.info.pixel_size == own.info.pixel_size
        assert reference.info.format == own.info.format
        for index, level in enumerate(own.info.levels):
            box = Box(0, 0, level.height, level.width)
            np.testing.assert_array_equal(reference.read_region(index, box), own.read_region(index, box))


def test_the_jpeg_2000_of_old_aperio_scanners_has_its_colors(tissue, tmp_path) -> None:
    padded = np.zeros((448, 320, 3), np.uint8)
    padded[:410, :300] = np.asarray(Image.fromarray(tissue).convert("YCbCr"))
    corners = [(row, column) for row in range(0, 448, 64) for column in range(0, 320, 64)]
    tiles = [padded[row : row + 64, column : column + 64].copy() for row, column in corners]
    packed = (imagecodecs.jpeg2k_encode(tile, level=0, codecformat="J2K", mct=False) for tile in tiles)
    tifffile.imwrite(
        tmp_path / "old.svs",
        packed,
        shape=tissue.shape,
        dtype=np.uint8,
        tile=(64, 64),
        compression=33003,
        photometric="rgb",
        description="Aperio Image Library v8\r\n300x410 (64x64) J2K/YUV16|AppMag = 20|MPP = 0.5",
        metadata=None,
    )
    with open_slide(tmp_path / "old.svs") as slide:
        assert np.abs(slide.read_region(0, WHOLE).astype(int) - tissue).max() <= 4
        assert slide.info.format == "Aperio SVS"


def test_openslide_continues_after_a_damaged_tile(damaged_svs) -> None:
    with open_with_openslide(damaged_svs) as slide:
        for _ in range(2):
            with pytest.raises(DamagedTile, match=r"slide\.svs cannot be decoded"):
                slide.read_region(0, WHOLE)
            assert slide.read_region(1, Box(0, 0, 205, 150)).shape == (205, 150, 3)
        assert slide.read_for_display(0, WHOLE).shape == (410, 300, 3)


def test_a_slide_that_openslide_cannot_open_again_is_opened_once_it_is_back(damaged_svs, monkeypatch) -> None:
    handle = openslide.OpenSlideHandle(damaged_svs)
    opened, (width, height) = handle._open, handle.slide.dimensions

    def away():
        raise OpenSlideError("no such file")

    monkeypatch.setattr(handle, "_open", away)
    for _ in range(2):
        with pytest.raises(OSError, match="JPEG"):
            handle.read(0, (0, 0), (width, height))
    monkeypatch.setattr(handle, "_open", opened)
    with pytest.raises(OSError, match="JPEG"):
        handle.read(0, (0, 0), (width, height))
    assert handle.read(0, (width - 10, height - 10), (10, 10)).size == (10, 10)
    handle.slide.close()


def test_files_that_openslide_cannot_open_are_reported(tmp_path) -> None:
    (tmp_path / "a.ndpi").write_bytes(b"II*\0" + bytes(200))
    with pytest.raises(UnreadableImage, match=r"a\.ndpi cannot be opened as a slide.*Copy it again"):
        open_with_openslide(tmp_path / "a.ndpi")


def write_ndpi(path, tissue, heights_nm):
    """Write levels of one plane after the other, and an image of the whole glass."""
    with tifffile.TiffWriter(path) as tiff:
        for height, step in [(height, step) for height in heights_nm for step in (1, 2)] + [(0, 0)]:
            pixels = tissue[:: step or 8, :: step or 8] if height == 0 else np.full_like(tissue, 60)[::step, ::step]
            tags = [(271, "s", 0, "Hamamatsu"), (65421, "f", 1, 20 / step if step else -1.0), (65424, "i", 1, height)]
            tiff.write(
                np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("YCbCr")),
                photometric="ycbcr",
                compression="jpeg",
                compressionargs={"level": 98},
                subsampling=(1, 1),
                rowsperstrip=pixels.shape[0],
                metadata=None,
                resolution=(20000 / (step or 20),) * 2,
                resolutionunit="CENTIMETER",
                extratags=[(*tag, True) for tag in (*tags, (65420, "I", 1, 1), (65422, "i", 1, 0), (65423, "i", 1, 0))],
            )


@pytest.mark.parametrize(
    ("heights", "stated"),
    [((0,), ()), ((-2000, 0, 1500), ("only the focal plane at 0 of 3 is shown; the others are at -2, 1.5 um.",))],
)
def test_focal_planes_of_an_ndpi_file_are_stated(heights, stated, tissue, tmp_path) -> None:
    write_ndpi(tmp_path / "a.ndpi", tissue, heights)
    with open_slide(tmp_path / "a.ndpi") as slide:
        assert slide.info.warnings == stated
        assert np.abs(slide.read_region(0, WHOLE).astype(int) - tissue).mean() < 3


def write_zarr(folder, tissue, version: str, *, unit: str | None = "micrometer", channels=None):
    import zarr

    axes = [{"name": name, "type": kind} for name, kind in (("c", "channel"), ("y", "space"), ("x", "space"))]
    if unit:
        for axis in axes[1:]:
            axis["unit"] = unit
    group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for index, step in enumerate((1, 2)):
        data = np.moveaxis(tissue[::step, ::step], -1, 0)
        array = group.create_array(str(index), shape=data.shape, dtype=data.dtype, chunks=(1, 128, 128))
        array[...] = data
        scale = {"type": "scale", "scale": [1, 0.5 * step, 0.25 * step]}
        datasets.append({"path": str(index), "coordinateTransformations": [scale]})
    message = {"multiscales": [{"axes": axes, "datasets": datasets, "version": version}]}
    if channels:
        message["omero"] = {"channels": channels}
    group.attrs.update({"ome": message} if version == "0.5" else message)
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_folder_is_a_slide(version, tissue, tmp_path) -> None:
    folder = write_zarr(tmp_path / "a.ome.zarr", tissue, version)
    assert is_slide(folder)
    with open_slide(folder) as slide:
        info = slide.info
        assert (info.name, info.format, info.kind) == ("a", "OME-Zarr", "brightfield")
        assert (info.pixel_size.y_um, info.pixel_size.x_um) == (0.5, 0.25)
        assert "not square" in info.warnings[0]
        assert [level.downsample for level in info.levels] == [1, 2]
        np.testing.assert_array_equal(slide.read_region(0, WHOLE), tissue)
        np.testing.assert_array_equal(slide.read_region(1, Box(100, 100, 60, 60))[:, :50], tissue[200:320:2, 200::2])


def restate(folder, change) -> None:
    """Write the metadata of an OME-Zarr image of version 0.5 in another form."""
    path = folder / "zarr.json"
    content = json.loads(path.read_text())
    change(content["attributes"]["ome"]["multiscales"][0])
    path.write_text(json.dumps(content))


def state_as_systems(image) -> None:
    """State axes and scale as version 0.6 does."""
    image["coordinateSystems"] = [{"name": "other", "axes": []}, {"name": "physical", "axes": image.pop("axes")}]
    image["coordinateTransformations"] = [{"type": "scale", "scale": [1, 9, 9], "input": "physical", "output": "other"}]
    for dataset in image["datasets"]:
        steps = [*dataset["coordinateTransformations"], {"type": "translation", "translation": [0, 1, 1]}]
        sequence = {"type": "sequence", "transformations": steps, "input": dataset["path"], "output": "physical"}
        dataset["coordinateTransformations"] = [sequence]


def state_no_scale(image) -> None:
    for dataset in image["datasets"]:
        del dataset["coordinateTransformations"]


def state_a_matrix(image) -> None:
    for dataset in image["datasets"]:
        affine = [[1, 0, 0, 0], [0, 0.5, 0.1, 0], [0, -0.1, 0.25, 0]]
        dataset["coordinateTransformations"] = [{"type": "affine", "affine": affine}]


FORMS = [
    (state_as_systems, (0.5, 0.25)),
    (lambda image: image["datasets"].reverse(), (0.5, 0.25)),
    (state_no_scale, None),
    (state_a_matrix, None),
]


@pytest.mark.parametrize(("change", "um"), FORMS, ids=["version 0.6", "coarsest first", "no scale", "a matrix"])
def test_a_scale_of_ome_zarr_is_that_which_is_stated(change, um, tissue, tmp_path) -> None:
    folder = write_zarr(tmp_path / "a.zarr", tissue, "0.5")
    restate(folder, change)
    with open_slide(folder) as slide:
        size = slide.info.pixel_size
        assert (size and (size.y_um, size.x_um)) == um
        assert (NOT_STATED in slide.info.warnings) == (um is None)
        assert slide.info.channels == ("red", "green", "blue")
        np.testing.assert_array_equal(slide.read_region(0, WHOLE), tissue)


def test_channels_of_ome_zarr_have_names_and_colors(tissue, tmp_path) -> None:
    channels = [{"label": name, "color": colour} for name, colour in (("DAPI", "0000FF"), ("A", "00ff00"), ("B", "?"))]
    folder = write_zarr(tmp_path / "a.zarr", tissue.astype(np.uint16), "0.4", unit=None, channels=channels)
    with open_slide(folder) as slide:
        assert slide.info.channels == ("DAPI", "A", "B")
        assert slide.info.colors == ((0, 0, 255), (0, 255, 0), (255, 255, 255))
        assert slide.info.pixel_size is None
        np.testing.assert_array_equal(slide.read_region(0, WHOLE), tissue)
    with open_slide(write_zarr(tmp_path / "b.zarr", tissue[..., :1], "0.4")) as slide:
        ((_, keywords, _),) = make_slide_layers(slide)
        assert (slide.info.channels, keywords["name"], keywords["colormap"]) == (("gray",), "b gray", "gray")


@pytest.mark.parametrize("stored", [">f4", "<f8"])
def test_floating_points_are_channels_in_their_own_unit(stored, tissue, tmp_path) -> None:
    values = (tissue / 256).astype(stored)
    values[5, 7] = np.nan, np.inf, -np.inf
    with open_slide(write_zarr(tmp_path / "a.zarr", values, "0.4")) as slide:
        assert slide.info.kind == "fluorescence"
        read = slide.read_region(0, WHOLE)
        assert read.dtype == slide.dtype == np.float32
        np.testing.assert_array_equal(read, np.nan_to_num(values, nan=0, posinf=0, neginf=0))
        levels, keywords, _ = make_slide_layers(slide)[0]
        low, high = keywords["contrast_limits"]
        assert 0 <= low < high < 1
        assert levels[-1][3, 4].dtype == np.float32


def test_an_image_within_a_zarr_folder_is_named_after_both(tissue, tmp_path) -> None:
    names = set()
    for outer in ("a.zarr", "b.zarr"):
        (tmp_path / outer).mkdir()
        folder = write_zarr(tmp_path / outer / "image0", tissue, "0.4")
        with open_slide(folder) as slide:
            names |= {slide.info.name, slide_name(folder)}
    assert names == {"a-image0", "b-image0"}


def test_a_lost_chunk_and_a_folder_without_an_image(tissue, tmp_path) -> None:
    import zarr

    folder = write_zarr(tmp_path / "a.zarr", tissue, "0.4")
    (folder / "0" / "1.1.1").write_bytes(b"\x5a" * 40)
    with open_slide(folder) as slide:
        with pytest.raises(DamagedTile):
            slide.read_region(0, WHOLE)
        assert slide.read_region(0, Box(0, 0, 100, 100)).shape == (100, 100, 3)
    zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=2)
    with pytest.raises(UnreadableImage, match=r"b\.zarr is a Zarr folder without a multiscale image"):
        open_slide(tmp_path / "b.zarr")
    (tmp_path / "c.zarr").mkdir()
    (tmp_path / "c.zarr" / ".zgroup").write_text("{")
    with pytest.raises(UnreadableImage, match=r"c\.zarr.\.zgroup: it is not valid JSON"):
        open_slide(tmp_path / "c.zarr")


@pytest.mark.parametrize("large", [True, False], ids=["larger than a photograph", "as a photograph"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_picture_is_read_by_tiles_from_a_temporary_file(mode, large, tissue, tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(tissue).convert(mode).save(path)
    if large:
        monkeypatch.setattr(flat_images, "MAX_PIXELS", 1000)
    known = np.asarray(Image.fromarray(tissue).convert(mode).convert("RGB"))
    with open_slide(path) as slide:
        assert slide.info.levels[0].height == 410
        np.testing.assert_array_equal(slide.read_region(0, WHOLE), known)
        [temporary] = {source._block.reader.path.parent for source in slide.sources}
        assert temporary.is_dir()
    assert not temporary.exists()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_upright(orientation, tissue, tmp_path, monkeypatch) -> None:
    from napari_melanoma.io.color_conversion import apply_orientation

    monkeypatch.setattr(flat_images, "MAX_PIXELS", 1000)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(tissue).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    known = apply_orientation(tissue, orientation)
    with open_slide(tmp_path / "a.jpg") as slide:
        read = slide.read_region(0, Box(0, 0, *known.shape[:2]))
    assert np.abs(read.astype(int) - known).max() <= 6


def test_unreadable_pictures_have_a_reason(tissue, tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(tissue).save(path)
    monkeypatch.setattr(flat_images, "MAX_PIXELS", 1000)
    free = shutil.disk_usage(tmp_path)._replace(free=10)
    with monkeypatch.context() as patch:
        patch.setattr(flat_images.shutil, "disk_usage", lambda folder: free)
        with pytest.raises(UnreadableImage, match=r"needs 0\.0 GB when decoded.*Free some space"):
            open_slide(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match=r"a\.png cannot be decoded.*truncated or damaged"):
        open_slide(path)
    Image.fromarray(tissue).convert("P").save(tmp_path / "b.png")
    with pytest.raises(UnreadableImage, match="of mode P"):
        open_slide(tmp_path / "b.png")


def test_a_profile_is_applied_on_request(tissue, tmp_path) -> None:
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tifffile.imwrite(tmp_path / "a.tif", tissue, photometric="rgb", tile=(64, 64), iccprofile=lab)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.info.has_profile
        assert slide.icc_profile() == lab
        read = slide.read_region(0, WHOLE)
        assert np.abs(apply_icc_profile(read, slide).astype(int) - read).max() <= 2
    tifffile.imwrite(tmp_path / "b.tif", tissue, photometric="rgb", tile=(64, 64))
    with open_slide(tmp_path / "b.tif") as slide:
        assert apply_icc_profile(read, slide) is read


def test_identifying_metadata_are_hidden() -> None:
    message = {
        "aperio.AppMag": "20",
        "openslide.mpp-x": "0.5",
        "openslide.level[0].downsample": "1",
        "tiff.Make": "Hamamatsu",
        "aperio.User": "jane",
        "aperio.Filename": "Doe, Jane",
        "aperio.Date": "12/29/09",
        "dicom.PatientName": "Doe^Jane",
        "dicom.AccessionNumber": "1",
        "tiff.ImageDescription": "Doe",
        "hamamatsu.Reference": "S12-345",
        "openslide.comment": "Doe",
        "perkinelmer.SlideID": "RTM61",
        "tiff.DateTime": "2017",
        "aperio.MPP": "0" * 500,
    }
    assert set(filter_private_properties(message)) == {
        "aperio.AppMag",
        "openslide.mpp-x",
        "openslide.level[0].downsample",
        "tiff.Make",
    }
    assert json.dumps(dict(filter_private_properties(message)))


def test_a_file_is_read_at_a_place_and_its_end_is_noticed(tmp_path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(100)))
    reader = FileReader(path)
    assert reader.read(10, 3) == b"\x0a\x0b\x0c"
    with pytest.raises(EOFError, match="ends at byte 100, before byte 105: it is truncated"):
        reader.read(95, 10)
    reader.close()


def test_a_folder_has_a_fingerprint_of_its_files(tissue, tmp_path) -> None:
    folder = write_zarr(tmp_path / "a.zarr", tissue, "0.4")
    copy = shutil.copytree(folder, tmp_path / "b.zarr")
    assert slide_fingerprint(folder) == slide_fingerprint(copy)
    (copy / "0" / "0.0.0").write_bytes(b"other")
    assert slide_fingerprint(folder) != slide_fingerprint(copy)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("part", ["0", "0/0.0.0", "0/.zarray"], ids=["level", "chunk", "metadata"])
def test_a_part_of_ome_zarr_that_is_a_link_out_of_the_folder_is_refused(part: str, tissue, tmp_path) -> None:
    folder, other = write_zarr(tmp_path / "a.zarr", tissue, "0.4"), write_zarr(tmp_path / "b.zarr", tissue, "0.4")
    path = folder / part
    path.rename(tmp_path / "moved")
    path.symlink_to(other / part, target_is_directory=part == "0")
    with pytest.raises(InputError, match=r"a\.zarr.*leads out of the folder"), open_slide(folder) as slide:
        slide.read_region(0, WHOLE)
