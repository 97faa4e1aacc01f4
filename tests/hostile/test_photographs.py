"""No damaged photograph is read as intact: damage is generated, and the original pixels are the oracle."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import photographs as hostile
import pytest
import tifffile
from patience import LONG_PATIENCE_S

from napari_melanoma.core.errors import DamagedImage, UnreadableImage
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

SEEN = 8  # levels of 255; more than what another decoder, or another encoding, makes of the same picture
MOST_WRONG = 0.005  # share of a picture
# Where a checksum covers all pixels. Elsewhere some swapped blocks and flipped bits decode to
# another picture without an error; the page on the command line states how often.
CHECKSUMS = ("png", "png gray", "png 16", "tiff deflate", "tiff tiles")
LOSSES = ("zeroed", "cut", "ended early", "without interval")


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    return lesion_phantom(LesionPhantomConfig(seed=5, size=(192, 256))).rgb


def read(content: bytes, folder: Path) -> Photograph | None:
    """Read a file that may be damaged; None where nothing of it can be read."""
    path = folder / "photograph"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of libraries about broken metadata
            return read_photograph(path, accept_damaged=True)
    except UnreadableImage:
        return None


def wrong(found: Photograph, clean: np.ndarray) -> float:
    """Share of the pixels that differ visibly."""
    if found.rgb.shape != clean.shape:
        return 1.0
    return float((np.abs(found.rgb.astype(int) - clean).max(axis=2) > SEEN).mean())


def is_reported(kind: str, damage: str) -> bool:
    """Whether a kind of damage is detectable in this format."""
    if kind in CHECKSUMS:
        return True
    return damage in (LOSSES[1:] if kind in hostile.UNCHECKED else LOSSES)


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_damaged_files_are_rejected_and_intact_files_read(kind: str, phantom: np.ndarray, tmp_path: Path) -> None:
    whole = hostile.encoded(kind, phantom)
    clean = read(whole, tmp_path)
    assert clean is not None
    assert clean.damage is None
    assert wrong(clean, read(whole, tmp_path).rgb) == 0
    for seed in range(3):
        for damage in hostile.DAMAGES:
            if (kind, damage) == ("jpeg no end", "padded"):  # junk right behind the data of a picture without an end
                continue
            found = read(hostile.damaged(damage, whole, np.random.default_rng(seed)), tmp_path)
            if damage == "padded":
                assert found is not None
                assert found.damage is None
            if found is not None and found.damage is None and is_reported(kind, damage):
                assert wrong(found, clean.rgb) <= MOST_WRONG, (damage, seed)


def test_damage_is_rejected_by_default_with_a_description(phantom: np.ndarray, tmp_path: Path) -> None:
    whole = hostile.encoded("jpeg", phantom)
    path = tmp_path / "mole.jpg"
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with pytest.raises(
        DamagedImage, match=r"\d+ % of the picture is missing: \d+ of 192 rows could be decoded"
    ) as caught:
        read_photograph(path)
    assert read_photograph(path, accept_damaged=True).damage == caught.value.damage


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "png", "bmp", "tiff strips", "tiff deflate"])
def test_the_present_rows_of_an_accepted_file_are_those_of_the_picture(
    kind: str, phantom: np.ndarray, tmp_path: Path
) -> None:
    whole = hostile.encoded(kind, phantom)
    clean, found = read(whole, tmp_path), read(whole[: len(whole) // 2], tmp_path)
    assert clean is not None
    assert found is not None
    assert found.damage
    right = (np.abs(found.rgb.astype(int) - clean.rgb).max(axis=2) <= SEEN).mean()
    assert right > 0.3


CLAIMS = """
import json, sys
import psutil
from pathlib import Path
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io import dicom, pillow_images, tiff
process, outcomes = psutil.Process(), {}
for name in sys.argv[1:]:
    before = process.memory_info().rss
    try:
        read_photograph(Path(name), accept_damaged=True)
        outcomes[name] = "read"
    except UnreadableImage as error:
        outcomes[name] = str(error)
    after = process.memory_info()
    outcomes[name] = [outcomes[name], max(after.rss, getattr(after, "peak_wset", 0)) - before]
peak = process.memory_info().rss if sys.platform == "win32" else __import__("resource").getrusage(0).ru_maxrss
print(json.dumps([outcomes, peak]))
"""


def claiming(kind: str, side: int) -> bytes:
    """A small file of a kind whose header claims a picture of ``side`` squared."""
    content = bytearray(hostile.encoded(kind, np.zeros((32, 32, 3), np.uint8)))
    four = side.to_bytes(4, "little") * 2
    if kind == "png":
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    elif kind == "bmp":
        content[18:26] = four
    elif kind.startswith("jpeg"):
        place = next(content.find(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in content)
        content[place + 5 : place + 9] = side.to_bytes(2, "big") * 2
    elif kind == "webp":
        content[26:30] = side.to_bytes(2, "little") * 2
    elif kind.startswith("dicom"):
        for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
            place = content.find(tag) + len(tag)
            content[place : place + 2] = side.to_bytes(2, "little")
    else:
        buffer = io.BytesIO(bytes(content))
        with tifffile.TiffFile(buffer, mode="r+b") as tiff:
            for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tiff.pages[0].tags[tag].overwrite(side)
        return buffer.getvalue()
    return bytes(content)


CLAIMING = ("png", "bmp", "jpeg", "jpeg progressive", "webp", "tiff", "tiff lzw", "tiff deflate", "dicom", "dicom rle")


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    """A picture of 14,000 x 14,000 is below the limit on photographs and takes 588 MB; of 60,000, above it."""
    names = []
    for kind in CLAIMING:
        for side in (14_000, 60_000):
            path = tmp_path / f"{kind.replace(' ', '_')}_{side}"
            path.write_bytes(claiming(kind, side if kind != "webp" else min(side, 13_000)))
            names.append(str(path))
    ran = subprocess.run(
        [sys.executable, "-c", CLAIMS, *names], capture_output=True, text=True, timeout=LONG_PATIENCE_S
    )
    assert ran.returncode == 0, ran.stderr
    results, _ = json.loads(ran.stdout.splitlines()[-1])
    for name, (words, more) in results.items():
        assert "claims" in words or "pixels" in words, (name, words)
        assert more < 60e6, (name, more)
