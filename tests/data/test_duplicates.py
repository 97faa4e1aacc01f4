"""Duplicates are found at any size, tint and compression, other pictures are not, and few pairs are compared."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.data import duplicates
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.duplicates import (
    Duplicate,
    compute_hashes,
    find_close_pairs,
    find_duplicates,
    find_similar_pairs,
    load_hash_thumbnails,
    merge_groups,
    read_hash_thumbnail,
)
from napari_melanoma.training import pixel_store

COUNT = 12


def skin(seed: int) -> Image.Image:
    """A dark spot, about the same in all, on skin with a texture of its own."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:180, :240]
    spot = np.hypot(rows - 90, columns - 120) < 45 + seed % 3
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32), dtype=np.uint8)).resize(
        (240, 180), Image.Resampling.BICUBIC
    )
    grey = np.where(spot, 80.0, 200.0) + 0.2 * (np.asarray(coarse, float) - 128)
    return Image.fromarray((grey[..., None] * (1.0, 0.85, 0.75)).clip(0, 255).astype(np.uint8))


def compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def tinted(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * (1.0, 0.8, 0.7)).astype(np.uint8))


Change = Callable[[Image.Image], Image.Image]
CHANGES: dict[str, Change] = {
    "smaller": lambda image: image.resize((97, 73)),
    "another aspect": lambda image: image.resize((200, 200)),
    "compressed": compressed,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "tinted": tinted,
    "cropped": lambda image: image.crop((5, 4, 238, 178)),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned by 90 degrees": lambda image: image.rotate(90, expand=True),
    "turned by 180 degrees": lambda image: image.rotate(180),
    "turned by 270 degrees, darker": lambda image: ImageEnhance.Brightness(image.rotate(270, expand=True)).enhance(0.8),
    "rows exchanged with columns": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "mirrored and turned, smaller": lambda image: image.transpose(Image.Transpose.TRANSVERSE).resize((99, 99)),
}


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(i.convert("L").resize((32, 32), Image.Resampling.BOX)) for i in images])


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_changed_picture_is_found_and_no_other(change: Change) -> None:
    images = [skin(seed) for seed in range(COUNT)]
    found = list(find_similar_pairs(thumbnails([*images, change(images[3])])))
    assert [(one.first, one.second) for one in found] == [(3, COUNT)]
    assert duplicates.MIN_SIMILARITY <= found[0].similarity <= 1


def test_rotated_pictures_are_compared_between_parts_only() -> None:
    images = [skin(seed) for seed in range(4)]
    pictures = thumbnails([*images, ImageOps.mirror(images[1]), images[2].rotate(180)])
    found = find_similar_pairs(pictures, np.array([0, 0, 0, 1, 0, 1]))
    assert [(pair.first, pair.second) for pair in found] == [(2, 5)]


def test_empty_pictures_are_not_duplicates() -> None:
    assert list(find_similar_pairs(np.full((3, 32, 32), 7, np.uint8))) == []
    assert list(find_similar_pairs(np.empty((0, 32, 32), np.uint8))) == []


def test_synthetic_spots_on_even_skin_are_not_duplicates() -> None:
    rows, columns = np.mgrid[:32, :32]
    drawn = [np.where(np.hypot(rows - 16, columns - 16) < radius, 60, 200) for radius in (8, 9)]
    assert list(find_similar_pairs(np.asarray(drawn, np.uint8))) == []


def planted(codes: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes that differ from the given ones in so many bits."""
    spread = np.unpackbits(codes, axis=1)
    for row in spread:
        row[rng.choice(row.size, bits, replace=False)] ^= 1
    return np.packbits(spread, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "found"), [(0, 1.0), (14, 1.0), (duplicates.MAX_HAMMING_DISTANCE, 0.9)])
def test_pairs_within_the_radius_are_found(bits: int, found: float) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (300, duplicates.BANDS), dtype=np.uint8)
    pairs = np.concatenate(list(find_close_pairs(codes, planted(codes, bits, rng))))
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert found * 300 <= len(pairs) <= 300
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_of_many_hashes_only_those_that_agree_in_a_band_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (4_000, duplicates.BANDS), dtype=np.uint8)
    codes[-1] = codes[0]
    compared, bits = [], np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda words: compared.append(words.size) or bits(words))
    pairs = np.concatenate(list(find_close_pairs(codes, codes, is_ordered=True)))
    assert pairs.tolist() == [[0, 3_999]]
    assert 0 < sum(compared) / 2 < 0.2 * len(codes) ** 2 / 2  # two words of each hash


def test_comparing_many_pictures_needs_little_more_memory_than_their_thumbnails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "_CHUNK", 500)
    many = np.zeros((10_000, 32, 32), np.uint8)
    tracemalloc.start()
    textured = duplicates.has_texture(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not textured.any()
    assert peak < many.nbytes


def test_a_mirror_image_is_another_picture() -> None:
    images = thumbnails([skin(0)])
    assert (compute_hashes(images) != compute_hashes(images[:, :, ::-1])).any()


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Four pictures, the last one the first again."""
    found = []
    for number, image in enumerate([skin(0), skin(1), skin(2), skin(0).resize((120, 90))]):
        path = tmp_path / f"{number}.jpg"
        image.save(path)
        found.append(Sample(str(number), path, None, f"set/{number}", "val" if number == 3 else "train", "set"))
    return found


def test_files_are_compared_and_read_once(samples: list[Sample], user_folders: Path) -> None:
    reports = []
    (pair,) = find_duplicates(samples, RunContext(reports.append))
    assert (pair.first, pair.second, pair.leaks, pair.same_group) == (samples[0], samples[3], True, False)
    expected_text = {report.message: (report.done, report.total) for report in reports}
    assert expected_text == {
        "Searching for duplicate images": (4, 4),
        "Comparing images": (len(duplicates.VIEWS), len(duplicates.VIEWS)),
    }
    for sample in samples:  # of the same size and time: what was read counts
        stat = sample.image.stat()
        sample.image.write_bytes(b"x" * stat.st_size)
        os.utime(sample.image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(find_duplicates(samples, RunContext())) == 1
    samples[0].image.write_bytes(b"text")
    thumbnails = load_hash_thumbnails([sample.image for sample in samples], RunContext())
    assert thumbnails.any(axis=(1, 2)).tolist() == [False, True, True, True]
    assert "holds text" in read_hash_thumbnail(samples[0].image)


def test_no_cache_is_written_without_use_cache(samples: list[Sample], user_folders: Path) -> None:
    assert len(find_duplicates(samples, RunContext(), use_cache=False)) == 1
    assert list(user_folders.rglob("looks.sqlite")) == []


def test_a_damaged_cache_is_recreated(samples: list[Sample], user_folders: Path) -> None:
    find_duplicates(samples, RunContext())
    (cache,) = user_folders.rglob("looks.sqlite")
    cache.write_bytes(b"no database" * 1000)
    assert len(find_duplicates(samples, RunContext(), use_cache=False)) == 1
    assert len(find_duplicates(samples, RunContext())) == 1


@pytest.fixture
def cache(samples: list[Sample], user_folders: Path) -> Path:
    """The cache file, filled."""
    find_duplicates(samples, RunContext())
    (path,) = user_folders.rglob("looks.sqlite")
    return path


def test_a_cache_that_another_process_locks_is_left_alone(
    samples: list[Sample], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "LOCK_TIMEOUT_S", 0.01)
    before = cache.stat().st_ino
    with closing(sqlite3.connect(cache, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for keep in (True, False):
            assert len(find_duplicates(samples, RunContext(), use_cache=keep)) == 1
        other.execute("COMMIT")
    assert cache.stat().st_ino == before
    assert rows_of(cache) == 4


@pytest.mark.parametrize("keep", [True, False])
def test_a_damaged_page_is_no_reason_to_stop(samples: list[Sample], cache: Path, keep: bool) -> None:
    content = bytearray(cache.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the first page, with the tables' names, is sound
    cache.write_bytes(content)
    assert len(find_duplicates(samples, RunContext(), use_cache=keep)) == 1
    assert cache.exists() != keep


def test_the_cache_contains_no_path_and_drops_unused_entries(
    samples: list[Sample], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(samples[0].image.parent).encode() not in cache.read_bytes()
    assert duplicates.KEEP_DAYS == pixel_store.RETENTION_DAYS
    later = time.time() + (duplicates.KEEP_DAYS - 1) * duplicates.DAY_S
    monkeypatch.setattr(duplicates.time, "time", lambda: later)
    find_duplicates(samples[:2], RunContext())
    assert rows_of(cache) == 4
    monkeypatch.setattr(duplicates.time, "time", lambda: later + 2 * duplicates.DAY_S)
    load_hash_thumbnails([], RunContext())
    assert rows_of(cache) == 2


def test_a_cache_of_an_older_format_is_emptied(samples: list[Sample], cache: Path) -> None:
    with closing(sqlite3.connect(cache)) as connection:
        connection.executescript("DROP TABLE looks; CREATE TABLE looks (path TEXT); PRAGMA user_version = 0;")
        connection.execute("INSERT INTO looks VALUES ('a patient.jpg')")
        connection.commit()
    assert len(find_duplicates(samples, RunContext(), use_cache=False)) == 1
    find_duplicates(samples, RunContext())
    assert rows_of(cache) == 4
    assert b"a patient.jpg" not in cache.read_bytes()


def rows_of(cache: Path) -> int:
    with closing(sqlite3.connect(cache)) as connection:
        return connection.execute("SELECT count(*) FROM looks").fetchone()[0]


def test_only_different_parts_are_compared(samples: list[Sample]) -> None:
    assert find_duplicates(samples, RunContext(), across=[0, 1, 0, 0]) == []
    assert len(find_duplicates(samples, RunContext(), across=[0, 1, 0, 1])) == 1


def test_it_can_be_stopped(samples: list[Sample]) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        find_duplicates(samples, run)


def test_comparing_can_be_stopped() -> None:
    codes = np.zeros((600, duplicates.BANDS), np.uint8)  # all in one bucket
    run = RunContext()
    found = find_close_pairs(codes, codes, run=run)
    next(found)
    run.cancel()
    with pytest.raises(Cancelled):
        next(found)


@pytest.mark.parametrize(("tile", "few"), [(4, 0), (256, 0), (256, 40)])
def test_all_close_pairs_are_found_once(tile: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_TILE", tile)
    monkeypatch.setattr(duplicates, "_FEW", few)
    codes = np.random.default_rng(1).integers(0, 4, (40, duplicates.BANDS), dtype=np.uint8)
    distances = np.unpackbits(codes[:, None] ^ codes[None], axis=2).sum(2)
    shares_a_band = (codes[:, None] == codes[None]).any(2)
    expected = np.argwhere((distances <= 14) & shares_a_band)
    found = np.concatenate(list(find_close_pairs(codes, codes, 14)))
    assert sorted(found.tolist()) == expected.tolist()
    ordered = np.concatenate(list(find_close_pairs(codes, codes, 14, is_ordered=True)))
    assert sorted(ordered.tolist()) == expected[expected[:, 0] < expected[:, 1]].tolist()


def test_groups_of_the_same_pictures_are_joined(samples: list[Sample]) -> None:
    pairs = [Duplicate(samples[3], samples[0], 1.0), Duplicate(samples[1], samples[3], 1.0)]
    assert merge_groups(samples, pairs) == ["set/0", "set/0", "set/2", "set/0"]


# Looked at by eye: of 22 pairs that the table of the shared ISIC 2017 names, these 12 show the same picture.
SEEN = [
    *(("0000164", "0014795"), ("0000165", "0014788"), ("0000177", "0014657"), ("0000204", "0014748")),
    *(("0000206", "0014739"), ("0000222", "0014846"), ("0000223", "0014818"), ("0000224", "0014791")),
    *(("0000229", "0014771"), ("0012290", "0013594"), ("0012672", "0012673"), ("0012756", "0013184")),
]


def test_the_same_pictures_of_isic_2017_are_found_and_no_other(shared_data: Path) -> None:
    by_id = {sample.image_id: sample for sample in read_dataset(shared_data / "isic2017")}
    with (shared_data / "isic2017" / "metadata.csv").open(newline="") as table:
        named = {
            (row["near_duplicate_of"], row["image_id"]) for row in csv.DictReader(table) if row["near_duplicate_of"]
        }
    seen = {(f"ISIC_{one}", f"ISIC_{two}") for one, two in SEEN}
    assert seen <= named
    requested = [by_id[image_id] for image_id in sorted({image_id for pair in named for image_id in pair})]
    found = {(pair.first.image_id, pair.second.image_id) for pair in find_duplicates(requested, RunContext())}
    assert found == seen
