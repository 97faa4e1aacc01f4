"""Photographs: unusual valid ones, damaged ones, and files of other types."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image

from hostile.oracle import Case, equal, one_of
from hostile.photographs import DAMAGES, KINDS, UNCHECKED
from hostile.photographs import encoded as encode
from hostile.sandbox import Sandbox

LOSSY = {"jpeg": 6.0, "progressive": 6.0, "webp": 8.0}  # mean distance from what was encoded, of 255
SUFFIX = {"jpeg": ".jpg", "progressive": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp"}
NAMES = ("Läsion 7.x", "病変 12", "a b'c", "лицо", "n" * 180, "=1+1", "-rf", "lesion;x", "a&b%20", "ё" * 60)


def scene(rng: Generator) -> np.ndarray:
    """Skin with a dark lesion: smooth enough for JPEG, with no two rows alike."""
    height, width = rng.integers(40, 400, 2)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    center = rng.uniform(0.2, 0.5, 2)
    lesion = np.exp(-((rows - center[0]) ** 2 + (columns - center[1]) ** 2) * rng.uniform(10, 60))[..., None]
    skin = rng.uniform(150, 220, 3) + 25 * np.stack([rows, columns, rows * columns], -1)
    return np.clip(skin * (1 - 0.7 * lesion) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


def encoded(kind: str, rgb: np.ndarray, rng: Generator) -> bytes:
    """Encode an image; options that do not matter to pixels are drawn."""
    file = io.BytesIO()
    if kind == "tiff":
        how = {"compression": rng.choice(["none", "lzw", "zlib"]), "byteorder": rng.choice(["<", ">"])}
        parts = {"tile": (64, 64)} if rng.random() < 0.3 else {"rowsperstrip": int(rng.choice([8, len(rgb)]))}
        tifffile.imwrite(file, rgb, photometric="rgb" if rgb.ndim == 3 else "minisblack", metadata=None, **how, **parts)
        return file.getvalue()
    options: dict[str, dict] = {
        "jpeg": {"quality": int(rng.integers(80, 96)), "subsampling": int(rng.integers(3))},
        "progressive": {"quality": int(rng.integers(80, 96)), "progressive": True},
        "webp": {"quality": int(rng.integers(80, 96)), "lossless": bool(rng.integers(2))},
        "png": {"compress_level": int(rng.integers(1, 10))},
    }
    if kind == "jpeg" and rng.random() < 0.3:
        options[kind]["restart_marker_rows"] = 1
    Image.fromarray(rgb).save(file, {"progressive": "JPEG"}.get(kind, kind.upper()), **options.get(kind, {}))
    return file.getvalue()


def read(path: Path) -> Callable[[], np.ndarray]:
    """What the product is asked: the pixels of a photograph."""

    def act() -> np.ndarray:
        from napari_melanoma.io.photographs import read_photograph

        return read_photograph(path).rgb

    return act


def legal(path: Path, rgb: np.ndarray, kind: str = "png", mean: float | None = None) -> Case:
    """A photograph that must be read, with these pixels."""
    right = equal(rgb, mean=mean or LOSSY.get(kind)) if mean or kind in LOSSY else equal(rgb, 1.0)
    return Case(read(path), path.name, right, refusable=False, seconds=10)


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def drawn(rng: Generator, kinds: tuple[str, ...] = tuple(SUFFIX)) -> tuple[str, np.ndarray, bytes]:
    kind, rgb = str(rng.choice(kinds)), scene(rng)
    return kind, rgb, encoded(kind, rgb, rng)


# Legal but unusual


def usual_formats(rng: Generator, box: Sandbox) -> Case:
    kind, rgb, content = drawn(rng)
    return legal(written(box.inputs / f"photo{SUFFIX[kind]}", content), rgb, kind)


def odd_modes(rng: Generator, box: Sandbox) -> Case:
    rgb, file, mode = scene(rng), io.BytesIO(), str(rng.choice(["L", "P", "RGBA", "LA", "CMYK", "1"]))
    if mode == "CMYK":
        image = Image.fromarray(rgb).convert("CMYK")
        image.save(file, "JPEG", quality=95)
        return legal(written(box.inputs / "print.jpg", file.getvalue()), np.asarray(image.convert("RGB")), mean=12.0)
    image = Image.fromarray(rgb).convert("L" if mode == "LA" else mode)
    expected = np.asarray(image.convert("RGB"))
    (image.convert("LA") if mode == "LA" else image).save(file, "PNG")
    return legal(written(box.inputs / f"mode{mode}.png", file.getvalue()), expected)


def sixteen_bits(rng: Generator, box: Sandbox) -> Case:
    rgb = scene(rng)
    wide = rgb.astype(np.uint16) * 257
    path = box.inputs / "deep.tif"
    tifffile.imwrite(path, wide, photometric="rgb", compression="zlib", metadata=None)
    return legal(path, rgb)


def twelve_in_sixteen_bits(rng: Generator, box: Sandbox) -> Case:
    rgb = scene(rng)
    rgb[:2] = 255  # so that the range is used
    path = box.inputs / "twelve.tif"
    tifffile.imwrite(path, (rgb.astype(np.float64) / 255 * 4095).round().astype(np.uint16), photometric="rgb")
    return legal(path, rgb, mean=2.0)


def exif_rotated(rng: Generator, box: Sandbox) -> Case:
    rgb, file, turn = scene(rng), io.BytesIO(), int(rng.integers(2, 9))
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(rgb).save(file, "JPEG", quality=95, exif=exif)
    flips = {2: rgb[:, ::-1], 3: rgb[::-1, ::-1], 4: rgb[::-1]}
    turned = rgb.transpose(1, 0, 2)
    flips |= {5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1]}
    return legal(written(box.inputs / "turned.jpg", file.getvalue()), flips[turn], "jpeg")


def odd_names(rng: Generator, box: Sandbox) -> Case:
    kind, rgb, content = drawn(rng)
    name, text = f"{rng.choice(NAMES)}{SUFFIX[kind]}", sys.platform != "linux" or rng.random() < 0.7
    if not text:  # may be refused, as such a name cannot be written into a table
        name = os.fsdecode(b"l\xe4sion" + SUFFIX[kind].encode())
    folder = box.inputs.joinpath(*["deep"] * int(rng.integers(0, 12)))
    path = written(folder / name, content)
    if rng.random() < 0.3:
        path.chmod(0o400)
    case = legal(path, rgb, kind)
    case.refusable, case.name = not text, path.name if text else path.suffix
    return case


def wrong_suffix(rng: Generator, box: Sandbox) -> Case:
    kind, rgb, content = drawn(rng)
    return legal(written(box.inputs / f"photo{rng.choice(list(SUFFIX.values()))}", content), rgb, kind)


def trailing_bytes(rng: Generator, box: Sandbox) -> Case:
    kind, rgb, content = drawn(rng, ("jpeg", "png", "progressive"))
    return legal(written(box.inputs / "phone.jpg", content + rng.bytes(int(rng.integers(1, 5000)))), rgb, kind)


def no_end_marker(rng: Generator, box: Sandbox) -> Case:
    _, rgb, content = drawn(rng, ("jpeg",))
    return legal(written(box.inputs / "no-eoi.jpg", content[:-2]), rgb, "jpeg")


# Damaged: refused, or read with the pixels of the whole file


def damaged_as(damage: str, rng: Generator, box: Sandbox) -> Case:
    """One of the formats with one of the damages that are shared with the tests of the readers."""
    kind, rgb = str(rng.choice(KINDS)), scene(rng)
    content = encode(kind, rgb)
    path = written(box.inputs / f"whole.{kind.split()[0]}", content)
    whole = read(path)()
    right = equal(whole, mean=0.5)
    path = written(box.inputs / f"damaged.{kind.split()[0]}", DAMAGES[damage](content, rng))
    if damage == "padded":
        return Case(read(path), path.name, right, refusable=False, seconds=10)
    # Without checksums, a value that was changed is a color like any other, and entropy-coded data may still decode.
    unchecked = kind in UNCHECKED or (
        damage in ("flipped", "swapped", "without interval") and not kind.startswith("png")
    )
    return Case(read(path), path.name, right, undecidable=unchecked and damage not in ("cut", "ended early"))


def lying_size(rng: Generator, box: Sandbox) -> Case:
    """A header that claims far more pixels than the data hold."""
    kind = str(rng.choice(["jpeg", "png", "bmp", "tiff"]))
    rgb = scene(rng)
    content = bytearray(encoded(kind, rgb, rng))
    wide, high = (int(n) for n in rng.integers(9000, 14000, 2))
    if kind == "jpeg":
        at = next(content.find(bytes([0xFF, mark])) for mark in (0xC0, 0xC1, 0xC2) if bytes([0xFF, mark]) in content)
        content[at + 5 : at + 9] = struct.pack(">HH", high, wide)
    elif kind == "png":
        content[16:24] = struct.pack(">II", wide, high)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif kind == "bmp":
        content[18:26] = struct.pack("<ii", wide, high)
    else:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            order = tiff.byteorder
            tags = [tiff.pages[0].tags[name] for name in ("ImageWidth", "ImageLength")]
        for tag, value in zip(tags, (wide, high), strict=True):
            content[tag.valueoffset : tag.valueoffset + 4] = (
                struct.pack(f"{order}I", value) if tag.dtype == 4 else (struct.pack(f"{order}H", value) + bytes(2))
            )
    path = written(box.inputs / f"lying{SUFFIX[kind]}", bytes(content))
    return Case(read(path), path.name)


def bomb(rng: Generator, box: Sandbox) -> Case:
    """A few kilobytes that hold hundreds of millions of pixels."""
    side = int(rng.integers(16000, 60000))
    data = compressed_zeros(side * (side // 8 + 2))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return Case(read(written(box.inputs / "bomb.png", content)), "bomb.png")


def compressed_zeros(size: int) -> bytes:
    """Zeros as compressed by zlib, built by repeating one compressed block."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(bytes(size % 2**20)) + packer.flush()
    checksum = size % 65521 << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + block * (size // 2**20) + end + struct.pack(">I", checksum)


def text_bomb(rng: Generator, box: Sandbox) -> Case:
    """A PNG whose compressed text or profile unpacks to hundreds of megabytes; its pixels are sound."""
    rgb = scene(rng)
    content = encoded("png", rgb, rng)
    body = b"Comment\0\0" + compressed_zeros(int(rng.integers(100, 400)) * 2**20)
    name = b"zTXt" if rng.random() < 0.5 else b"iCCP"
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path = written(box.inputs / "text.png", content[:33] + chunk + content[33:])
    return Case(read(path), path.name, equal(rgb, 1.0), seconds=3)


# No photographs


def no_image(rng: Generator, box: Sandbox) -> Case:
    kind = int(rng.integers(6))
    path = box.inputs / f"thing{rng.choice(list(SUFFIX.values()))}"
    if kind == 0:
        written(path, b"")
    elif kind == 1:
        path.mkdir()
    elif kind == 2 and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    elif kind == 3:
        written(path, rng.choice([b"GIF89a", b"%PDF-1.7", b"PK\x03\x04", b"<svg/>", b"\x1f\x8b"]) + rng.bytes(500))
    elif kind == 4:
        heads = [
            b"\xff\xd8\xff\xe0",
            b"\x89PNG\r\n\x1a\n",
            b"II*\0",
            b"MM\0*",
            b"RIFF\0\0\0\0WEBP",
            b"BM",
            b"\0\0\0 ftypheic",
        ]
        written(path, one_of(heads, rng) + rng.bytes(int(rng.integers(0, 3000))))
    return Case(read(path), path.name)


def batches(rng: Generator, box: Sandbox) -> Case:
    """The command with intact and damaged files: only the damaged ones fail, and each row is correct."""
    good = {f"good{n}": scene(rng) for n in range(2)}
    for name, rgb in good.items():
        written(box.inputs / f"{name}.png", encoded("png", rgb, rng))
    content = encoded("png", scene(rng), rng)
    written(box.inputs / "bad.png", content[: len(content) // 2])

    def act() -> str:
        import csv

        from hostile.oracle import Refused, verb

        try:
            verb("lesion", box.inputs, "--out", box.outputs, process=rng.random() < 0.1)
        except Refused:
            with (box.outputs / "results.csv").open(encoding="utf-8", newline="") as file:
                rows = {row["image"]: row for row in csv.DictReader(file)}
            states = {name: rows.get(name, {}).get("status") for name in (*good, "bad")}
            if states["bad"] == "failed" and "failed" not in (states["good0"], states["good1"]) and len(rows) == 3:
                return _masks(box.outputs, good)
            return f"the table contains {states}"
        return "exit code 0 with a damaged photograph"

    return Case(act, "bad", lambda message: message, seconds=60, megabytes=2500)


def _masks(out: Path, good: dict[str, np.ndarray]) -> str:
    for name, rgb in good.items():
        mask = np.asarray(Image.open(out / name / "mask.png"))
        if mask.shape != rgb.shape[:2]:
            return f"the mask of {name} is {mask.shape}, the photograph {rgb.shape[:2]}"
    return ""


MORE_FAULTS = {f"damaged_{damage.replace(' ', '_')}": partial(damaged_as, damage) for damage in DAMAGES}
