"""The store of decoded images: identified by content, stored once, kept as long as a run may need them."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pytest
from patience import LONG_PATIENCE_S
from PIL import Image

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import SaveError, TrainingError
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.training import pixel_store as decoding
from napari_melanoma.training.data_checks import scan_files
from napari_melanoma.training.data_selection import decode_jobs
from napari_melanoma.training.pixel_store import (
    INDEX,
    RETENTION_DAYS,
    CacheIndex,
    DecodedFacts,
    ImageMaskPair,
    PixelCache,
    PixelKind,
    PixelStore,
    decode_missing,
)

SIDE = 32
MONTHS_AGO = time.time() - (RETENTION_DAYS + 1) * 86400


class Filled(NamedTuple):
    cache: PixelCache
    decoded: list[str]
    faults: dict[Path, str]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded."""
    names: list[str] = []
    for kind in ("_decode_image", "_decode_mask"):
        real = getattr(decoding, kind)

        def counted(path: Path, *how: object, real: Callable = real) -> decoding.DecodedPixels:
            names.append(path.name)
            return real(path, *how)

        monkeypatch.setattr(decoding, kind, counted)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def fill_store(folder: Path, decoded: list[str]) -> Callable[..., Filled]:
    """Return a function that decodes samples into the store."""

    def filled(samples: list[Sample], run: RunContext | None = None) -> Filled:
        run = run or RunContext()
        decoded.clear()
        with PixelStore.open_locked(folder, run) as store:
            files = [path for sample in samples for path in (sample.image, sample.mask)]
            contents = scan_files(files, store.index, run)
            jobs = [job for sample in samples for job in decode_jobs(sample, contents.infos, keep=True)]
            faults = decode_missing(store, jobs, SIDE, run)
            bad = set(faults)
            pairs = [
                ImageMaskPair(contents.infos[sample.image].sha, contents.infos[sample.mask].sha)
                for sample in samples
                if not bad & {sample.image, sample.mask}
            ]
            cache = store.cache(pairs, SIDE)
            store.prune(cache.paths)
        return Filled(cache, sorted(decoded), faults)

    return filled


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    return draw(tmp_path / "data", count=8)


def age(folder: Path) -> None:
    for path in pixel_files(folder):
        os.utime(path, (MONTHS_AGO, MONTHS_AGO))


def pixel_files(folder: Path) -> set[Path]:
    return set(folder.rglob("*.npy"))


def check_content(cache: PixelCache, samples: list[Sample]) -> None:
    """Compare a cache, read in any order, with its files."""
    order = [7, 0, 3, 3, *range(8)]
    images, masks = cache.read(np.array(order))
    for place, item in enumerate(order):
        assert np.array_equal(images[place], decoding._decode_image(samples[item].image, SIDE).pixels)
        assert np.array_equal(masks[place], decoding._decode_mask(samples[item].mask, SIDE).pixels)


def test_pixels_are_those_of_the_files(fill_store: Callable[..., Filled], data: Path) -> None:
    samples = read_dataset(data)
    cache = fill_store(samples).cache
    check_content(cache, samples)
    images, masks = cache.read(np.array([5, 0, 5]))
    assert images.shape == (3, 3, SIDE, SIDE)
    assert masks.shape == (3, 1, SIDE, SIDE)
    assert np.array_equal(images[0], images[2])
    expected = np.asarray(
        Image.open(samples[5].image).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    )
    assert np.array_equal(images[0].transpose(1, 2, 0), expected)
    assert set(np.unique(masks)) == {0, 255}
    whole = np.asarray(Image.open(samples[5].mask))
    assert abs((masks[0] > 0).mean() - (whole > 0).mean()) < 0.02


def test_known_content_is_not_decoded_again(fill_store: Callable[..., Filled], data: Path, folder: Path) -> None:
    samples = read_dataset(data)
    assert len(fill_store(samples[:6]).decoded) == 12
    before = pixel_files(folder)
    again = fill_store(samples)
    assert again.decoded == ["b06.png", "b06.png", "b07.png", "b07.png"]
    assert before < pixel_files(folder)
    assert len(again.cache) == 8


def test_a_corrected_mask_decodes_one_mask(fill_store: Callable[..., Filled], data: Path) -> None:
    samples = read_dataset(data)
    before = fill_store(samples).cache.read(range(8))
    shutil.copy(samples[1].mask, samples[0].mask)
    assert fill_store(samples).decoded == []  # the content is stored already
    mask = np.asarray(Image.open(samples[2].mask)).copy()
    mask[:4] = 255
    Image.fromarray(mask).save(samples[2].mask)
    after = fill_store(samples)
    assert after.decoded == ["b02.png"]
    images, masks = after.cache.read(range(8))
    assert np.array_equal(images, before[0])
    assert [place for place in range(8) if not np.array_equal(masks[place], before[1][place])] == [0, 2]


def test_the_same_image_in_two_data_sets_is_kept_once(
    fill_store: Callable[..., Filled], data: Path, tmp_path: Path
) -> None:
    fill_store(read_dataset(data))
    shutil.copytree(data, tmp_path / "copy")
    assert fill_store(read_dataset(tmp_path / "copy")).decoded == []


def test_unchanged_files_are_not_even_read(
    fill_store: Callable[..., Filled], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_dataset(data)
    fill_store(samples)

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("napari_melanoma.training.data_checks._read_info", refuse)
    assert len(fill_store(samples).cache) == 8


def test_a_file_that_changes_while_its_checksum_is_computed_is_refused(
    fill_store: Callable[..., Filled], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its new content would be stored under the checksum of the old one."""
    samples, real = read_dataset(data), hashlib.file_digest

    def changed(file: BinaryIO, name: str) -> Any:
        digest = real(file, name)
        if Path(file.name) == samples[3].image:
            shutil.copyfile(samples[2].image, samples[3].image)
            os.utime(samples[3].image, (MONTHS_AGO, MONTHS_AGO))
        return digest

    monkeypatch.setattr(hashlib, "file_digest", changed)
    filled = fill_store(samples)
    assert list(filled.faults) == [samples[3].image]
    assert "was changed while it was read" in filled.faults[samples[3].image]


def test_a_damaged_file_is_named_and_the_others_are_kept(fill_store: Callable[..., Filled], data: Path) -> None:
    samples = read_dataset(data)
    content = samples[3].image.read_bytes()
    samples[3].image.write_bytes(content[: len(content) // 2])
    filled = fill_store(samples)
    assert list(filled.faults) == [samples[3].image]
    assert "is damaged" in filled.faults[samples[3].image]
    assert len(filled.cache) == 7
    samples[3].image.write_bytes(content)
    assert fill_store(samples).decoded == ["b03.png"]


def test_a_cancelled_decoding_keeps_the_decoded_images(
    fill_store: Callable[..., Filled], data: Path, folder: Path
) -> None:
    def stop(progress: Progress) -> None:
        if (progress.message, progress.done) == ("Decoding images", 5):
            run.cancel()

    run = RunContext(stop)
    with pytest.raises(Cancelled):
        fill_store(read_dataset(data), run)
    assert [path.name for path in folder.rglob(".*")] == []
    assert len(fill_store(read_dataset(data)).decoded) == 11


KILLED = """
import os, sys
from pathlib import Path
from napari_melanoma.core.context import RunContext
from napari_melanoma.training import pixel_store
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.pixel_store import PixelStore
from napari_melanoma.training.data_selection import select_data
pixel_store.SAVED_EVERY = 3

def die(progress):
    if (progress.message, progress.done) == ("Decoding images", int(sys.argv[3])):
        os._exit(9)

run = RunContext(die)
recipe = TrainRecipe.parse({"data": {"datasets": [sys.argv[1]], "split": "all", "cache_size": 32}}, "test")
with PixelStore.open_locked(Path(sys.argv[2]), run) as store:
    select_data(recipe, store, run, keep=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 15])
def test_a_killed_decoding_loses_only_the_last_files(
    at: int, fill_store: Callable[..., Filled], data: Path, folder: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(data), str(folder), str(at)]
    assert subprocess.run(command, check=False, timeout=LONG_PATIENCE_S).returncode == 9
    samples = read_dataset(data)
    filled = fill_store(samples)
    assert 16 - at <= len(filled.decoded) <= 16 - at + 3  # properties are saved for three files at once
    assert [path.name for path in folder.rglob(".*")] == []
    check_content(filled.cache, samples)


@pytest.mark.slow
def test_two_processes_fill_one_store(data: Path, folder: Path, fill_store: Callable[..., Filled]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(data), str(folder), "-1"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=LONG_PATIENCE_S) for process in both] == [0, 0]
    assert len(pixel_files(folder)) == 16
    assert fill_store(read_dataset(data)).decoded == []


def test_waiting_for_another_process_can_be_cancelled(folder: Path) -> None:
    def stop(progress: Progress) -> None:
        assert progress.message.startswith("Waiting for another run")
        waiting.cancel()

    waiting = RunContext(stop)
    with (
        PixelStore.open_locked(folder, RunContext()),
        pytest.raises(Cancelled),
        PixelStore.open_locked(folder, waiting),
    ):
        pytest.fail("two hold the lock")


def test_a_disk_without_room_is_reported_before_anything_is_decoded(
    fill_store: Callable[..., Filled], data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    usage = shutil.disk_usage(data)._replace(free=decoding.RESERVE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SaveError, match=r"need 0\.0 GB .* are free.*cache_size"):
        fill_store(read_dataset(data))
    assert decoded == []
    assert pixel_files(folder) == set()


def test_unused_cached_images_are_removed(fill_store: Callable[..., Filled], data: Path, folder: Path) -> None:
    samples = read_dataset(data)
    fill_store(samples[:4])
    age(folder)
    fill_store(samples[2:6])
    assert len(pixel_files(folder)) == 8  # those that the last run uses
    assert sorted(fill_store(samples[:1]).decoded) == ["b00.png", "b00.png"]


def test_pixels_that_are_deleted_during_a_run_are_reported(
    fill_store: Callable[..., Filled], data: Path, folder: Path
) -> None:
    cache = fill_store(read_dataset(data)).cache
    shutil.rmtree(folder)
    with pytest.raises(TrainingError, match="was deleted during the run"):
        cache.read([0])


def test_deleted_pixels_are_decoded_again(fill_store: Callable[..., Filled], data: Path, folder: Path) -> None:
    fill_store(read_dataset(data))
    for path in pixel_files(folder):
        path.unlink()
    assert len(fill_store(read_dataset(data)).decoded) == 16


@pytest.mark.parametrize("left", [0, 20, 4000, -1])
def test_truncated_pixels_are_decoded_again(
    left: int, fill_store: Callable[..., Filled], data: Path, folder: Path
) -> None:
    samples = read_dataset(data)
    expected = fill_store(samples).cache.read(np.arange(8))
    for path in pixel_files(folder):
        os.truncate(path, left if left >= 0 else path.stat().st_size - 1)
    again = fill_store(samples)
    assert len(again.decoded) == 16
    assert all(np.array_equal(*pair) for pair in zip(again.cache.read(np.arange(8)), expected, strict=True))
    assert fill_store(samples).decoded == []


def test_measured_files_are_registered_in_groups(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen files, five at once; what was decoded before a cancel is kept."""
    monkeypatch.setattr(decoding, "SAVED_EVERY", 5)
    written: list[int] = []
    real = CacheIndex.add_facts

    def counted(self: CacheIndex, kind: PixelKind, facts: dict[str, DecodedFacts]) -> None:
        written.append(len(facts))
        real(self, kind, facts)

    monkeypatch.setattr(CacheIndex, "add_facts", counted)
    samples, run = read_dataset(data), RunContext()
    with PixelStore.open_locked(folder, run) as store:
        contents = scan_files([p for s in samples for p in (s.image, s.mask)], store.index, run)
        jobs = [job for sample in samples for job in decode_jobs(sample, contents.infos, keep=False)]
        stopped = RunContext(lambda progress: stopped.cancel() if progress.done == 7 else None)
        with pytest.raises(Cancelled):
            decode_missing(store, jobs, SIDE, stopped)
        assert sum(written) == 7
        assert decode_missing(store, jobs, SIDE, run) == {}
        assert all(store.index.facts(job.kind, job.info.sha) for job in jobs)
    assert sum(written) == 16
    assert len(written) <= 8


@pytest.mark.parametrize("damage", ["no database", "another format"])
def test_a_store_whose_index_is_lost_is_filled_again(
    damage: str, fill_store: Callable[..., Filled], data: Path, folder: Path
) -> None:
    fill_store(read_dataset(data))
    if damage == "no database":
        (folder / INDEX).write_bytes(b"not a database" * 1000)
    else:
        with sqlite3.connect(folder / INDEX) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    assert len(fill_store(read_dataset(data)).decoded) == 16


def test_concatenated_caches_read_as_one(fill_store: Callable[..., Filled], data: Path) -> None:
    samples = read_dataset(data)
    first, second = fill_store(samples[:3]).cache, fill_store(samples[3:]).cache
    whole, joined = fill_store(samples).cache, first.concatenate(second)
    assert len(joined) == 8
    assert first.concatenate(None) is first
    for part, expected in zip(joined.read(range(8)), whole.read(range(8)), strict=True):
        assert np.array_equal(part, expected)
