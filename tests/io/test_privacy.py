"""Names and positions in the metadata of a photograph do not occur in any written file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_mask, write_probability, write_rgb, write_table
from napari_melanoma.ui.readers import read_layers, write_mask_layer

SECRET = "Xanthippe-Quux"


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x013B] = tags[0x8298] = tags[0x010E] = SECRET  # Artist, Copyright, ImageDescription
    camera = tags.get_ifd(0x8769)
    camera[0xA430], camera[0xA431] = SECRET, SECRET  # CameraOwnerName, BodySerialNumber
    position = tags.get_ifd(0x8825)
    position[1], position[2], position[29] = "N", (51.0, 28.0, 40.5), SECRET  # latitude; GPSDateStamp
    return tags.tobytes()


def jpeg(path: Path, scene: np.ndarray, profile: bytes) -> None:
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><creator>{SECRET}</creator></x:xmpmeta>".encode()
    Image.fromarray(scene).save(path, exif=exif(), xmp=xmp, icc_profile=profile, comment=SECRET.encode())


def png(path: Path, scene: np.ndarray, profile: bytes) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", SECRET)
    Image.fromarray(scene).save(path, exif=exif(), pnginfo=text, icc_profile=profile)


def tiff(path: Path, scene: np.ndarray, profile: bytes) -> None:
    Image.fromarray(scene).save(path, tiffinfo={315: SECRET, 270: SECRET}, icc_profile=profile)


def dicom(path: Path, scene: np.ndarray, profile: bytes) -> None:
    dataset = Dataset()
    dataset.PatientName = dataset.PatientID = dataset.InstitutionName = dataset.ImageComments = SECRET
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *scene.shape[:2], 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.PixelRepresentation = "RGB", 0, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData, dataset.ICCProfile = scene.tobytes(), profile
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)


@pytest.mark.parametrize("write", [jpeg, png, tiff, dicom], ids=lambda write: write.__name__)
def test_outputs_contain_no_personal_data(write, scene, matrix_profile, tmp_path) -> None:
    source = tmp_path / "photo.img"
    path = source.with_suffix({"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "dicom": ".dcm"}[write.__name__])
    profile = matrix_profile(((0.515, 0.241, -0.001), (0.292, 0.692, 0.042), (0.157, 0.067, 0.784)), 2.2)
    write(path, scene, profile + SECRET.encode())
    assert SECRET.encode() in path.read_bytes()

    photograph = read_photograph(path)
    [(_, keywords, _)] = read_layers(str(path))
    results = tmp_path / "results"
    mask = photograph.rgb[..., 0] > 99
    write_rgb(results / "overlay.png", photograph.rgb)
    write_mask(results / "mask.png", mask)
    write_probability(results / "probability.png", photograph.rgb[..., 0] / 255)
    write_table(results / "results.csv", [{"image": photograph.name, "pixel_size": photograph.pixel_size}])
    write_mask_layer(str(results / "labels.png"), mask.astype(np.uint8), keywords)

    written = {file.name: file.read_bytes() for file in results.iterdir()}
    assert len(written) == 5
    for name, content in written.items():
        assert SECRET.encode() not in content, name
        assert not any(chunk in content for chunk in (b"eXIf", b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"Exif")), name
    assert SECRET not in str(keywords)
