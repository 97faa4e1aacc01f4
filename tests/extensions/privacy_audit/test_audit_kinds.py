"""Each type of identifying information is found in each type of file, with a masked example."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.privacy_audit.audit import KINDS, PrivacyFinding, audit

HOME = "/".join(("", "home", "amiller"))
NAME, BORN, RECORD = "Anna Miller", "1970-03-04", "4711823"
SECRETS = (NAME, "Miller", BORN, RECORD, "48.1", "anna@clinic.example", "amiller")


def looked(path: Path) -> list[PrivacyFinding]:
    """Return the findings in a file or folder."""
    findings: list[PrivacyFinding] = []
    result = audit([path], findings.append, run=RunContext())
    assert not result.skipped
    assert sum(result.counts.values()) == len(findings)
    return findings


def picture() -> Image.Image:
    """A small photograph."""
    return Image.fromarray(np.full((24, 24, 3), 120, np.uint8))


def exif() -> Image.Exif:
    """An EXIF block with all identifying tags."""
    block = Image.Exif()
    block[0x013B] = NAME  # Artist
    block[0x9C9B] = "nevus of Anna Miller".encode("utf-16-le")  # XPTitle
    block.get_ifd(0x8769).update({0x9003: "2021:03:04 10:11:12", 0xA431: "SN-20034"})
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 6.0), 3: "E", 4: (11.0, 34.0, 12.0)})
    return block


def jpeg(**values: object) -> bytes:
    """A JPEG with metadata."""
    file = BytesIO()
    picture().save(file, "JPEG", **values)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF block contains a thumbnail."""
    small = jpeg()
    first = b"II*\0\x08\0\0\0" + b"\0\0" + (14).to_bytes(4, "little")
    entries = [(0x0201, 4, 1, 44), (0x0202, 4, 1, len(small))]
    second = len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        second += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little")
        second += value.to_bytes(4, "little")
    return jpeg(exif=b"Exif\0\0" + first + second + b"\0\0\0\0" + small)


def png(**texts: str) -> bytes:
    """A PNG with texts."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=len(text) > 20)
    file = BytesIO()
    picture().save(file, "PNG", pnginfo=info)
    return file.getvalue()


def saved(kind: str, **values: object) -> bytes:
    """A picture in another format."""
    file = BytesIO()
    picture().save(file, kind, **values)
    return file.getvalue()


def directory() -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a TIFF with blocks of the camera and of coordinates."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x013B] = NAME
    tags[0x8769] = {0x9003: "2021:03:04 10:11:12"}
    tags[0x8825] = {1: "N", 2: (48.0, 8.0, 6.0), 3: "E", 4: (11.0, 34.0, 12.0)}
    return tags


def tiff(description: str, **values: object) -> bytes:
    """A TIFF with a description."""
    import tifffile

    file = BytesIO()
    tifffile.imwrite(file, np.zeros((24, 24, 3), np.uint8), description=description, metadata=None, **values)
    return file.getvalue()


def slide() -> bytes:
    """A slide as Aperio's scanners write it: a level, a label."""
    import tifffile

    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        description = f"Aperio Image|AppMag = 20|Date = 03/04/21|User = {NAME}|Title = {RECORD}|Barcode = {RECORD}"
        writer.write(np.zeros((32, 32, 3), np.uint8), description=description, metadata=None)
        writer.write(np.zeros((24, 24, 3), np.uint8), description="Aperio Image\nlabel 24x24", metadata=None)
    return file.getvalue()


def dicom() -> bytes:
    """A DICOM photograph with patient names, also in a sequence, and a private element."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage

    dataset, requested = Dataset(), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Miller^Anna", RECORD, "19700304"
    dataset.StudyDate, dataset.PatientAge, dataset.InstitutionName = "20210304", "091Y", "A clinic"
    dataset.DeviceSerialNumber, dataset.PatientComments = "20034", "her sister had one too"
    dataset.ImageType, dataset.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "LABEL"], "YES"
    requested.RequestingPhysician = "Doe^John"
    dataset.RequestAttributesSequence = [requested]
    dataset.private_block(0x0011, "maker", create=True).add_new(1, "LO", "more")
    file = BytesIO()
    dataset.SOPClassUID, dataset.SOPInstanceUID = VLPhotographicImageStorage, "1.2.3"
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def packed(**files: bytes) -> bytes:
    """A ZIP archive."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def iptc(number: int, text: str) -> bytes:
    """An IPTC record in the block of an editor."""
    record = bytes((0x1C, 2, number)) + len(text).to_bytes(2, "big") + text.encode()
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record


def camera_block(values: dict[int, object]) -> Image.Exif:
    """An EXIF block with values of the camera."""
    block = Image.Exif()
    block.get_ifd(0x8769).update(values)
    return block


def raw_profile(block: bytes) -> str:
    """A block as ImageMagick keeps it in a text of a PNG."""
    return f"\nexif\n{len(block):8}\n{block.hex()}\n"


OME = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="Some Program">
<Experimenter ID="Experimenter:0" FirstName="Anna" LastName="Miller" Email="anna@clinic.example"/>
<Image ID="Image:0" Name="a"><AcquisitionDate>2021-03-04T10:00:00</AcquisitionDate></Image></OME>"""
XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description xmlns:d="http://purl.org/dc/elements/1.1/"><d:creator><r:Seq><r:li>{NAME}</r:li></r:Seq></d:creator>
</r:Description></r:RDF></x:xmpmeta>"""
PAGE = f"""<html><body><table><tr><td>Patient name</td><td>{NAME}</td></tr></table>
<p>from {HOME}/scans</p></body></html>"""
TABLE = (
    "image_id,dob,MRN,Nombre,age,seen,note\n"
    f"a,{BORN},{RECORD},{NAME},93,04.03.2021,call anna@clinic.example\nb,,,,40,,\n"
)


@dataclass(frozen=True)
class Case:
    """A file and what is to be found in it."""

    name: str
    content: Callable[[], bytes]
    kinds: set[str]


CAMERA = {"staff", "text", "date", "device", "location"}
CASES = [
    Case("photo.jpg", lambda: jpeg(exif=exif()), CAMERA),
    Case("comment.jpg", lambda: jpeg(comment=b"a nevus on the back"), {"text"}),
    Case("xmp.jpg", lambda: jpeg(xmp=XMP.encode()), {"staff"}),
    Case("thumbnail.jpg", with_thumbnail, {"picture"}),
    Case("photo.webp", lambda: saved("WEBP", exif=exif(), xmp=XMP.encode()), CAMERA),
    Case("text.png", lambda: png(Author=NAME, Comment="a nevus on the upper back of her"), {"staff", "text"}),
    Case("camera.png", lambda: saved("PNG", exif=exif()), CAMERA),
    Case("photo.tif", lambda: tiff(f"Patient: {NAME}", datetime="2021:03:04 10:11:12"), {"person", "date"}),
    Case("camera.tif", lambda: saved("TIFF", tiffinfo=directory()), {"staff", "date", "location"}),
    Case("slide.svs", slide, {"date", "staff", "text", "record", "picture"} - {"date"}),
    Case("cells.ome.tif", lambda: tiff(OME), {"person", "contact", "date"}),
    Case("image.dcm", dicom, set(KINDS) - {"path", "user", "contact"}),
    Case("table.csv", TABLE.encode, {"birth", "record", "person", "age", "date", "contact"}),
    Case("german.csv", lambda: "Geburtsdatum;Nachname\n04.03.1970;Müller\n".encode("cp1252"), {"birth", "person"}),
    Case("excel.tsv", lambda: TABLE.replace(",", "\t").encode("utf-16"), {"birth", "record", "person", "age", "date"}),
    Case("ids.csv", lambda: f"image_id,patient_id\na,{RECORD}\n".encode(), {"record"}),
    Case(
        "case.json", lambda: json.dumps({"a": [{"PatientName": "Miller"}], "seen": BORN}).encode(), {"person", "date"}
    ),
    Case(
        "log.jsonl",
        lambda: f'{{"image": "{HOME}/a.jpg"}}\n{{"email": "anna@clinic.example"}}\n'.encode(),
        {"path", "user", "contact"},
    ),
    Case("recipe.toml", lambda: b'out = "C:\\\\Users\\\\amiller\\\\out"\n', {"path", "user"}),
    Case("page.html", PAGE.encode, {"person", "path", "user"}),
    Case("notes.txt", lambda: f"Patient: {NAME}, born {BORN}, seen by us".encode(), {"person", "birth"}),
    Case("letter.txt", lambda: b"Frau M., geb. 3.4.70, kam", {"birth"}),
    Case("log", lambda: f"read file://{HOME}/x.jpg\nexcised on 04.03.2021 at noon".encode(), {"path", "user", "date"}),
    Case("weights.bin", lambda: b"\0\1\2\xff" + HOME.encode() + b"/model\0\0\xfe", {"path", "user"}),
    Case("all.zip", lambda: packed(a__jpg=jpeg(exif=exif()), b__zip=packed(c__csv=TABLE.encode())), CAMERA | {"birth"}),
    Case("behind.jpg", lambda: jpeg() + b"Patient: " + NAME.encode(), {"text"}),
    Case("own.jpg", lambda: jpeg()[:2] + segment(0xE5, b"nevus of Anna") + jpeg()[2:], {"text"}),
    Case("maker.jpg", lambda: jpeg(exif=camera_block({0x927C: b"owner: Anna"})), {"text"}),
    Case("headline.jpg", lambda: jpeg()[:2] + segment(0xED, iptc(105, NAME)) + jpeg()[2:], {"text"}),
    Case("country.jpg", lambda: jpeg()[:2] + segment(0xED, iptc(101, "Elsewhere")) + jpeg()[2:], {"location"}),
    Case("title.jpg", lambda: jpeg(xmp=XMP.replace("creator", "title").encode()), {"text"}),
    Case("note.png", lambda: png(note=NAME), {"text"}),
    Case("raw.png", lambda: png(**{"Raw profile type exif": raw_profile(exif().tobytes())}), CAMERA),
    Case("behind.png", lambda: png() + b"Patient: " + NAME.encode(), {"text"}),
    Case("own.png", lambda: png()[:33] + chunk(b"prVt", NAME.encode()) + png()[33:], {"text"}),
    Case("copyright.tif", lambda: tiff("", extratags=[(33432, "s", 0, NAME, True)]), {"text"}),
    Case("own.tif", lambda: tiff("", extratags=[(65000, "s", 0, f"Patient: {NAME}", True)]), {"person"}),
    Case("named.zip", lambda: packed(**{"Miller^Anna.png": png()}), {"person"}),
    Case("anna@clinic.example.txt", lambda: b"nothing", {"contact"}),
    Case("IMG_20210304_101112.png", png, {"date"}),
    Case("Miller^Anna.png", png, {"person"}),
    Case("Thumbs.db", lambda: b"\0\0", {"picture"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_findings_are_masked(case: Case, tmp_path: Path) -> None:
    (tmp_path / case.name).write_bytes(case.content())
    findings = looked(tmp_path)
    kinds = {finding.kind for finding in findings}
    assert case.kinds <= kinds
    if case.name != "all.zip":
        assert kinds - case.kinds <= {"text"} or case.name in ("excel.tsv",)
    for finding in findings:
        assert finding.what_to_do
        assert not any(secret in finding.example for secret in SECRETS), finding


CLEAN = [
    ("photo.jpg", jpeg),
    ("mask.png", png),
    ("plain.tif", lambda: tiff("")),
    (
        "ours.csv",
        lambda: (
            b"image_id,patient_id,lesion_id,age,sex,site,diagnosis\nISIC_0012345,P-7F3K2Q-9XMAB4,1,55,female,back,nevus\n"
        ),
    ),
    ("public.csv", lambda: b"image_id,patient_id\nPAT_1516_1765_530,PAT_1516\nISIC_2637011,IP_7279968\n"),
    ("masked.csv", lambda: b"MRN,name,dob\n########,Anonymous,\nxxx,NA,unknown\n"),
    (
        "result.json",
        lambda: b'{"created": "2026-01-02T10:00:00+00:00", "program": "napari-melanoma", "name": "lesion-small"}',
    ),
    (
        "page.html",
        lambda: b"<html><p>Mean 0.91, see https://example.org/home/data/x and </p><a href='figures/a.png'>a</a></html>",
    ),
    (
        "readme.md",
        lambda: b"# A model\n\nTrained on 12 patients: 3 of them twice. Name: lesion-small. 1/2 and/or 3/4.\n",
    ),
    ("noise.bin", lambda: np.random.default_rng(0).integers(0, 256, 1 << 16, np.uint8).tobytes()),
]


@pytest.mark.parametrize(("name", "content"), CLEAN, ids=lambda value: value if isinstance(value, str) else "")
def test_harmless_files_pass(name: str, content: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content())
    assert looked(tmp_path) == []


def test_files_after_an_unsupported_one_in_an_archive_are_inspected(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(packed(a__pdf=b"%PDF-1.4", b__csv=TABLE.encode(), c__pdf=b"%PDF-1.4"))
    findings: list[PrivacyFinding] = []
    result = audit([tmp_path], findings.append, run=RunContext())
    assert {"birth", "record", "person"} <= {finding.kind for finding in findings}
    pdf = "its format is not supported"
    assert result.skipped == {"all.zip": f"a.pdf inside: {pdf}; c.pdf inside: {pdf}"}


@pytest.mark.parametrize("name", ["table.parquet", "table.sqlite", "film.gif", "table.h5"])
def test_unsupported_files_are_never_clean(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\0\1\2" + NAME.encode())
    result = audit([tmp_path], lambda finding: None, run=RunContext())
    assert list(result.skipped) == [name]
    assert not result.clean
