"""Photographs of all formats are read as the same upright sRGB; other files are refused with a reason."""

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.discovery import is_image_file
from napari_melanoma.io.photographs import Photograph, find_damage, is_stored_upright, read_image_size, read_photograph


@dataclass(frozen=True)
class Case:
    """A way to store the scene, and how far (in levels) the colors may be off: ``grey`` compares with its luma."""

    name: str
    suffix: str
    write: Callable[[Path, Image.Image], None]
    tolerance: int = 0
    grey: bool = False


def save(image: Image.Image, path: Path, **options) -> None:
    writer = pillow_heif.from_pillow(image) if path.suffix.lower() == ".heic" else image
    writer.save(path, **options)


def saved(mode: str = "RGB", **options) -> Callable[[Path, Image.Image], None]:
    return lambda path, image: save(image.convert(mode), path, **options)


def deep_png(*channels: int) -> Callable[[Path, Image.Image], None]:
    def write(path: Path, image: Image.Image) -> None:
        rgb = np.asarray(image)
        deep = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=-1)[..., channels].astype(np.uint16) * 257
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(deep)))

    return write


def mpo(path: Path, image: Image.Image) -> None:
    image.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", image.size)], quality=95, subsampling=0)


def animation(path: Path, image: Image.Image) -> None:
    image.save(path, save_all=True, append_images=[Image.new("RGB", image.size)], lossless=True)


def cmyk_without_marker(path: Path, image: Image.Image) -> None:
    """Write the inks as they are; Pillow stores them inverted, after the marker segment of Adobe (APP14)."""
    inverted = Image.fromarray(255 - np.asarray(image.convert("CMYK")), "CMYK")
    inverted.save(path, quality=100, subsampling=0)
    content = path.read_bytes()
    start = content.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    path.write_bytes(content[:start] + content[end:])


CASES = [
    Case("JPEG", ".jpg", saved(quality=95, subsampling=0), tolerance=6),
    Case("progressive JPEG", ".jpeg", saved(quality=95, subsampling=0, progressive=True), tolerance=6),
    Case("gray JPEG", ".JPG", saved("L", quality=95), tolerance=3, grey=True),
    Case("CMYK JPEG, inverted as Adobe does", ".jpg", saved("CMYK", quality=100, subsampling=0), tolerance=6),
    Case("CMYK JPEG without the marker of Adobe", ".jpg", cmyk_without_marker, tolerance=6),
    Case("two pictures of a phone", ".mpo", mpo, tolerance=6),
    Case("PNG", ".png", saved()),
    Case("PNG under the name of another format", ".jpg", saved(format="PNG")),
    Case("opaque RGBA", ".png", saved("RGBA")),
    Case("gray PNG", ".png", saved("L"), grey=True),
    Case("gray PNG with alpha", ".png", saved("LA"), grey=True),
    Case("palette PNG", ".png", lambda path, image: image.quantize(256).save(path), tolerance=25),
    Case("16-bit RGB PNG", ".png", deep_png(0, 1, 2)),
    Case("16-bit RGBA PNG", ".png", deep_png(0, 1, 2, 3)),
    Case("BMP", ".bmp", saved()),
    Case("gray BMP", ".BMP", saved("L"), grey=True),
    Case("WebP", ".webp", saved(lossless=True)),
    Case("WebP with alpha", ".webp", saved("RGBA", lossless=True)),
    Case("animated WebP", ".webp", animation),
    Case("HEIC", ".heic", saved(quality=-1, chroma=444, matrix_coefficients=0), tolerance=2),
    Case("HEIC as cameras write it", ".HEIC", saved(quality=95), tolerance=20),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reads(case: Case, scene, tmp_path) -> None:
    path = tmp_path / f"naevus.1{case.suffix}"
    case.write(path, Image.fromarray(scene))
    photograph = read_photograph(path)
    expected = np.asarray(Image.fromarray(scene).convert("L").convert("RGB")) if case.grey else scene
    assert photograph.rgb.dtype == np.uint8
    assert photograph.rgb.shape == scene.shape
    assert photograph.rgb.flags.c_contiguous
    assert np.abs(photograph.rgb.astype(int) - expected).max() <= case.tolerance
    assert photograph.name == "naevus.1"
    assert photograph.pixel_size is None
    assert photograph.modality is None
    assert read_image_size(path) == (48, 32)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_opacity_of_which_nothing_is_visible_is_ignored(name, scene, tmp_path) -> None:
    rgba = np.dstack([scene, np.zeros(scene.shape[:2], np.uint8)])
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, rgba, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    else:
        Image.fromarray(rgba).save(tmp_path / name, lossless=True, exact=True)
    found = read_photograph(tmp_path / name)
    np.testing.assert_array_equal(found.rgb, scene)
    assert found.notes == ("all pixels are transparent by the opacity channel, which was ignored",)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_further_pictures_of_a_file_are_noted(name, scene, tmp_path) -> None:
    others = [Image.fromarray(255 - scene), Image.fromarray(scene // 2)]
    Image.fromarray(scene).save(tmp_path / name, save_all=True, append_images=others, lossless=True)
    found = read_photograph(tmp_path / name)
    np.testing.assert_array_equal(found.rgb, scene)
    assert found.notes == ("only one of 3 pictures in the file was read",)


def adobe_exif() -> bytes:
    """EXIF of a camera that stores Adobe RGB without a profile: interoperability index R03."""
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    exif = struct.pack("<HHHII", 2, 0xA001, 3, 1, 65535) + struct.pack("<HHIII", 0xA005, 4, 1, 56, 0)
    interop = struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + first + exif + interop


@pytest.mark.parametrize(("gamma", "noted"), [(45455, False), (100000, True), (55556, True)])
def test_a_gamma_without_a_profile_is_noted(gamma, noted, scene, tmp_path) -> None:
    Image.fromarray(scene).save(tmp_path / "a.png")
    content, chunk = (tmp_path / "a.png").read_bytes(), b"gAMA" + struct.pack(">I", gamma)
    whole = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:33] + whole + content[33:])
    assert any("gamma" in note for note in read_photograph(tmp_path / "a.png").notes) is noted


def test_adobe_rgb_without_a_profile_is_noted(scene, tmp_path) -> None:
    Image.fromarray(scene).save(tmp_path / "a.jpg", exif=adobe_exif())
    Image.fromarray(scene).save(tmp_path / "b.jpg")
    note = "the file states Adobe RGB without a profile, but its colors were read as sRGB"
    assert read_photograph(tmp_path / "a.jpg").notes == (note,)
    assert read_photograph(tmp_path / "b.jpg").notes == ()


def test_deep_gray_rounds_instead_of_cutting(tmp_path) -> None:
    deep = np.full((16, 16), 1000, np.uint16)
    deep[:2] = 65535
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    assert np.unique(read_photograph(tmp_path / "deep.png").rgb).tolist() == [4, 255]  # 1000 / 257 = 3.9; 1000 >> 8 = 3


def test_one_bit(tmp_path) -> None:
    bits = np.eye(16, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_photograph(tmp_path / "bits.png").rgb[..., 1], bits * 255)


def test_a_transparent_color_of_a_palette_becomes_white(tmp_path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.paste(1, (0, 0, 8, 16))
    image.save(tmp_path / "palette.png", transparency=1)
    assert read_photograph(tmp_path / "palette.png").rgb[0, [0, 15]].tolist() == [[255, 255, 255], [200, 0, 0]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_embedded_profiles_are_used(suffix, scene, matrix_profile, tmp_path) -> None:
    swapped = matrix_profile(
        ((0.38515, 0.71687, 0.09708), (0.43607, 0.22249, 0.01392), (0.14307, 0.06061, 0.71410)), 2.2
    )
    path = tmp_path / f"swapped.{suffix}"
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(scene).save(path, icc_profile=swapped, **options)
    found = read_photograph(path).rgb
    assert np.abs(found.astype(int) - scene[..., [1, 0, 2]]).max() <= (12 if suffix == "jpg" else 6)


ROTATED = {
    "jpg": {"quality": 98, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "heic": {"quality": 98},
}
STORED_AS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
}
STORED_AS[8] = "ROTATE_270"


@pytest.mark.parametrize("suffix", ROTATED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_arrive_upright(suffix, orientation, scene, tmp_path) -> None:
    image = Image.fromarray(scene)
    if orientation in STORED_AS:
        image = image.transpose(Image.Transpose[STORED_AS[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(image, tmp_path / f"turned.{suffix}", exif=exif.tobytes(), **ROTATED[suffix])
    found = read_photograph(tmp_path / f"turned.{suffix}").rgb
    assert found.shape == scene.shape
    assert np.abs(found.astype(int) - scene).mean() < 3
    # pillow-heif has turned a HEIC image upright already
    assert is_stored_upright(tmp_path / f"turned.{suffix}") == (orientation == 1 or suffix == "heic")


def test_a_16_bit_png_is_rotated_too(scene, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = imagecodecs.png_encode(np.ascontiguousarray(np.rot90(scene)).astype(np.uint16) * 257)
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "deep.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    np.testing.assert_array_equal(read_photograph(tmp_path / "deep.png").rgb, scene)


def jpeg(size=(200, 200)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return bytes(imagecodecs.jpeg8_encode(noise))


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size; its pixels would be found missing if they were decoded."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [header, data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


BAD = [
    ("truncated.jpg", jpeg()[:9000], "is damaged:"),
    ("header only.jpg", jpeg()[:20], "begins as a JPEG image but cannot be decoded"),
    ("truncated.png", png(20, 20), "begins as a PNG image but cannot be decoded"),
    ("damaged.webp", b"RIFF\x10\0\0\0WEBPVP8 " + bytes(40), "begins as a WebP image but cannot be decoded"),
    ("damaged.heic", b"\0\0\0\x18ftypheic" + bytes(40), "begins as a HEIC image but cannot be decoded"),
    ("damaged.tif", b"II*\0\x08\0\0\0\xff\xff", "begins as a TIFF image but cannot be decoded"),
    ("damaged.bmp", b"BM" + bytes(60), "begins as a BMP image but cannot be decoded"),
    ("damaged.dcm", bytes(128) + b"DICM" + b"\x08\0\x18\0UI\xff\xff", "is a DICOM file without an image"),
    ("empty.jpg", b"", "is empty (0 bytes), but an image was expected"),
    ("text.png", b"not an image\n", "holds text, but a JPEG, PNG"),
    ("animation.png", b"GIF89a" + bytes(50), "holds a GIF image, but a JPEG, PNG"),
    ("report.jpg", b"%PDF-1.7\n", "holds a PDF document"),
    ("avif.heic", b"\0\0\0\x18ftypavif" + bytes(40), "holds data of an unknown type"),
    ("pixel.png", png(1, 1), "is 1 x 1 pixels, but a photograph must have at least 16 on each side"),
    ("strip.png", png(15, 2000), "is 15 x 2000 pixels, but a photograph must have at least 16"),
    (
        "huge.png",
        png(20_000, 20_000),
        "is 20000 x 20000 pixels (400 million), but photographs are limited to 200 million",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[case[0] for case in BAD])
def test_messages_for_bad_files_state_the_fault_and_the_remedy(name, content, message, tmp_path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        read_photograph(path)
    assert str(caught.value).startswith(f"{path} {message}")
    assert any(advice in str(caught.value) for advice in ("again", "Open the original", "Crop or", "Select the file"))


def test_missing_file(tmp_path) -> None:
    with pytest.raises(UnreadableImage, match="does not exist"):
        read_photograph(tmp_path / "none.jpg")


def test_a_folder_is_no_photograph(tmp_path) -> None:
    with pytest.raises(UnreadableImage, match="is a folder, but an image file was expected"):
        read_photograph(tmp_path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(5, "Input/output error"), "Check the drive"),
    ],
)
def test_a_file_that_the_system_does_not_give(error, message, tmp_path, monkeypatch) -> None:
    def refuse(*arguments, **options):
        raise error

    (tmp_path / "photo.jpg").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableImage, match=message):
        read_photograph(tmp_path / "photo.jpg")


def exif_chunk(exif: bytes) -> bytes:
    return struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # from Pillow, for some of them
@pytest.mark.parametrize("exif", [b"junk", b"", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff"], ids=repr)
@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "after the pixels"])
def test_malformed_exif_is_ignored(exif: bytes, place: int, scene, tmp_path) -> None:
    path = tmp_path / "exif.png"
    Image.fromarray(scene).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + exif_chunk(exif) + whole[place:])
    np.testing.assert_array_equal(read_photograph(path).rgb, scene)


def test_a_truncated_png_with_malformed_exif_is_damaged(scene, tmp_path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(scene).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + exif_chunk(b"junk") + whole[33 : len(whole) // 2])
    with pytest.raises(UnreadableImage, match="is damaged: the file is truncated"):
        read_photograph(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path) -> None:
    """A real one: 400 million black pixels of one bit are 50 kB of PNG, and 1.2 GB as colors."""
    rows = zlib.compressobj(9)
    row = bytes(1 + 20_000 // 8)
    data = b"".join(rows.compress(row * 100) for _ in range(200)) + rows.flush()
    header = png(20_000, 20_000)
    chunk = b"IDAT" + data
    chunk = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path = tmp_path / "huge.png"
    path.write_bytes(header[:33] + chunk + header[-12:])
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(UnreadableImage, match="downscale it"):
        read_photograph(path)
    elapsed, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed < 1.0
    assert peak < 5_000_000


def test_above_the_warning_of_pillow_and_below_our_limit(tmp_path, monkeypatch) -> None:
    """Pillow's limit on pixels is a global of its own and neither warns nor stops here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("1", (64, 64)).save(tmp_path / "large.png")
    assert read_photograph(tmp_path / "large.png").rgb.shape == (64, 64, 3)
    tifffile.imwrite(tmp_path / "large.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    assert read_photograph(tmp_path / "large.tif").rgb.shape == (64, 64, 3)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", bytes(128) + b"DICM", None])
def test_a_bad_file_has_no_size(content: bytes | None, tmp_path) -> None:
    path = tmp_path / "bad.img"
    if content is not None:
        path.write_bytes(content)
    assert read_image_size(path) is None


def test_a_size_is_read_without_decoding(tmp_path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (4000, 3000)).save(path)
    tracemalloc.start()
    assert read_image_size(path) == (4000, 3000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on metadata that the test has damaged
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "heic", "tif"])
def test_damage_anywhere_gives_a_photograph_or_our_error(suffix, scene, tmp_path) -> None:
    path = tmp_path / f"damaged.{suffix}"
    save(Image.fromarray(scene), path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for trial in range(60):
        damaged = bytearray(whole[: random.integers(len(whole))] if trial % 2 else whole)
        for place in random.integers(0, max(1, len(damaged)), 4):
            damaged[place : place + 1] = random.bytes(1)
        path.write_bytes(damaged)
        try:
            outcomes.add(type(read_photograph(path)))
        except UnreadableImage:
            outcomes.add(UnreadableImage)
    assert outcomes <= {Photograph, UnreadableImage}
    assert UnreadableImage in outcomes


def test_a_bmp_with_too_few_bytes_is_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "claims.bmp"
    Image.new("RGB", (400, 300), "pink").save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 12_964, 13_000)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImage, match=r"claims\.bmp claims 12964 x 13000 pixels, which 360054 bytes"):
            read_photograph(path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("whole.jpg", jpeg(), None),
        ("cut.jpg", jpeg()[:9000], "missing"),
        ("text.jpg", b"no image", None),
        ("empty.png", b"", None),
    ],
)
def test_damage_is_found_without_reading_the_photograph(tmp_path: Path, name: str, content: bytes, damage) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = find_damage(path)
    assert found is None if damage is None else damage in str(found)
    assert find_damage(tmp_path / "none.jpg") is None


def test_an_intact_tiff_has_no_damage(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "photo.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    assert find_damage(tmp_path / "photo.tif") is None


def test_an_image_is_known_by_its_suffix_and_its_content(tmp_path: Path) -> None:
    for name, content in (("a.jpg", jpeg()), ("b.txt", jpeg()), ("c.jpg", b"text")):
        (tmp_path / name).write_bytes(content)
    assert [is_image_file(tmp_path / name) for name in ("a.jpg", "b.txt", "c.jpg", "d.jpg")] == [
        True,
        False,
        False,
        False,
    ]
