"""The store: what is written is read back, data before what is done, no result of another slide or other settings."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError, RunError, SaveError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.slide_store import (
    DONE,
    FAILED,
    NO_TISSUE,
    STORE,
    WAITING,
    SlideResult,
    SlideResultSpec,
    discard_result,
)

GRID = (70, 5)  # more rows than a chunk has


def spec_of(**changes: object) -> SlideResultSpec:
    values = {"slide": "section", "fingerprint": "f", "kind": "classification", "classes": ("a", "b")}
    place = {"rows": GRID[0], "columns": GRID[1], "corner": (0, 0), "step": (32, 32), "tile_px": 32, "batch_size": 4}
    return SlideResultSpec.parse({**values, **place, "settings": {"model": "m"}, **changes}, "the test")


@pytest.fixture
def order() -> np.ndarray:
    return np.stack(np.unravel_index(np.random.default_rng(0).permutation(GRID[0] * GRID[1])[:300], GRID), 1).astype(
        np.int32
    )


def test_results_round_trip(tmp_path: Path, order: np.ndarray) -> None:
    created = SlideResult.create(tmp_path, spec_of(features=6, dense_px=2), order)
    writer, random = created.writer(), np.random.default_rng(1)
    values = {
        "probability": random.random((10, 2)).astype(np.float32),
        "embedding": random.random((10, 6)).astype(np.float16),
        "dense": random.integers(0, 256, (10, 2, 2, 2), np.uint8),
    }
    states = np.array([DONE] * 9 + [FAILED], np.uint8)
    writer.put(20, states[:4], {name: array[:4] for name, array in values.items()})
    writer.put(24, states[4:], {name: array[4:] for name, array in values.items()})
    writer.flush()
    found = SlideResult.open(tmp_path)
    places = order[20:30].T
    np.testing.assert_array_equal(found.state[places[0], places[1]], states)
    np.testing.assert_array_equal(found.probability[places[0], places[1]][:9], values["probability"][:9])
    assert np.isnan(found.probability[places[0], places[1]][9]).all()
    np.testing.assert_array_equal(found.embedding(slice(20, 30)), values["embedding"])
    np.testing.assert_array_equal(found.dense(np.array([29, 20])), values["dense"][[9, 0]])
    counts = {state: int((found.state == state).sum()) for state in (WAITING, DONE, FAILED, NO_TISSUE)}
    assert counts == {WAITING: 290, DONE: 9, FAILED: 1, NO_TISSUE: 50}
    np.testing.assert_array_equal(found.order, order)


def test_nothing_is_there_before_it_is_written(tmp_path: Path, order: np.ndarray) -> None:
    created = SlideResult.create(tmp_path, spec_of(), order)
    created.writer().put(0, np.full(4, DONE, np.uint8), {"probability": np.ones((4, 2), np.float32)})
    assert not (SlideResult.open(tmp_path).state == DONE).any()


def test_a_fault_between_data_and_flag_leaves_tiles_to_do(
    tmp_path: Path, order: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = SlideResult.create(tmp_path, spec_of(), order)
    writer = created.writer()
    writer.put(0, np.full(4, DONE, np.uint8), {"probability": np.ones((4, 2), np.float32)})
    plain = writer._write_chunks

    def only_data(name: str, values: np.ndarray) -> None:
        if name == "state":
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(name, values)

    monkeypatch.setattr(writer, "_write_chunks", only_data)
    with pytest.raises(SaveError, match="the disk is full"):
        writer.flush()
    found = SlideResult.open(tmp_path)
    assert not (found.state == DONE).any()
    assert np.isfinite(found.probability).any()


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="Windows brings names to the disk by itself")
def test_state_is_written_after_the_data(tmp_path: Path, order: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    created = SlideResult.create(tmp_path, spec_of(features=6), order)
    seen: list[tuple[str, Path]] = []
    plain_sync, plain_replace = os.fsync, Path.replace
    by_number = {}

    def synced(number: int) -> None:
        plain_sync(number)
        by_number[os.fstat(number).st_ino] = len(seen)
        seen.append(("synced", Path(str(os.fstat(number).st_ino))))

    def replaced(temporary: Path, target: Path) -> Path:
        assert temporary.stat().st_ino in by_number, f"{target} took its name before its bytes were on the disk"
        seen.append(("named", target))
        return plain_replace(temporary, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    writer = created.writer()
    values = {"probability": np.ones((300, 2), np.float32), "embedding": np.ones((300, 6), np.float16)}
    writer.put(0, np.full(300, DONE, np.uint8), values)
    writer.flush()
    named = [path.relative_to(created.path).parts[0] for kind, path in seen if kind == "named"]
    assert named == sorted(named, key=["embedding", "probability", "state"].index)
    assert (named.count("probability"), named.count("state")) == (2, 2)
    first_flag = next(index for index, (_, path) in enumerate(seen) if "state" in path.parts)
    for name in ("probability", "embedding"):
        folders = {path.parent for kind, path in seen if kind == "named" and name in path.parts}
        assert all(by_number[folder.stat().st_ino] < first_flag for folder in folders)
    last = max(index for index, (kind, _) in enumerate(seen) if kind == "named")
    flags = {path.parent for kind, path in seen if kind == "named" and "state" in path.parts}
    assert all(by_number[folder.stat().st_ino] > last for folder in flags)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "g", "slide": "other"}, "another slide, 'section'"),
        ({"settings": {"model": "n"}}, "other settings: model was m, now n"),
        ({"kind": "regression"}, "other settings"),
        ({"rows": 71}, "other settings"),
    ],
)
def test_results_of_something_else_are_refused(
    tmp_path: Path, order: np.ndarray, changes: dict[str, object], message: str
) -> None:
    created = SlideResult.create(tmp_path, spec_of(), order)
    created.check_same_analysis(spec_of(precision="bf16", batch_size=64))  # how it is computed does not matter
    with pytest.raises(RunError, match=message) as refused:
        created.check_same_analysis(spec_of(**changes))
    assert "--force" in str(refused.value)


def test_folders_without_results_are_rejected(tmp_path: Path, order: np.ndarray) -> None:
    with pytest.raises(InputError, match="has no results of a slide"):
        SlideResult.open(tmp_path)
    SlideResult.create(tmp_path, spec_of(), order)
    with pytest.raises(InputError, match="has no embedding"):
        SlideResult.open(tmp_path).embedding(slice(0, 1))
    shutil.rmtree(tmp_path / STORE / "state")
    with pytest.raises(InputError, match="incomplete: state missing"):
        SlideResult.open(tmp_path)
    (tmp_path / STORE / "zarr.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read as the results of a slide"):
        SlideResult.open(tmp_path)
    discard_result(tmp_path)
    discard_result(tmp_path)
    assert not (tmp_path / STORE).exists()


def test_damaged_chunk_is_reported(tmp_path: Path, order: np.ndarray) -> None:
    SlideResult.create(tmp_path, spec_of(), order)
    chunk = next(path for path in (tmp_path / STORE / "state" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(b"\0" * 7)
    with pytest.raises(InputError, match="state cannot be read"):
        _ = SlideResult.open(tmp_path).state


def test_a_new_store_replaces_the_old_one(tmp_path: Path, order: np.ndarray) -> None:
    SlideResult.create(tmp_path, spec_of(), order)
    SlideResult.create(tmp_path, spec_of(settings={"model": "n"}), order[:5])
    found = SlideResult.open(tmp_path)
    assert (found.spec.settings, len(found.order)) == ({"model": "n"}, 5)
    assert [path.name for path in tmp_path.iterdir()] == [STORE]


def test_the_stitched_map_is_kept(tmp_path: Path, order: np.ndarray) -> None:
    created = SlideResult.create(tmp_path, spec_of(dense_px=2), order)
    store = created.create_map((700, 9))
    block = np.random.default_rng(0).integers(0, 256, (2, 30, 9), np.uint8)
    store.put(Box(600, 0, 30, 9), block)
    np.testing.assert_array_equal(SlideResult.open(tmp_path).array("map")[:, 600:630], block)


def test_the_place_is_that_of_the_grid() -> None:
    place = spec_of(corner=(3, 4), step=(8, 9), pixel_size_um=(0.5, 0.25)).placement
    assert (place.top, place.left, place.step_y, place.step_x) == (3, 4, 8, 9)
    assert place.cell_um == (4.0, 2.25)
    assert spec_of().placement.pixel_size is None


def refuse_removal(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "in use")


def test_restarting_a_store_removes_all_of_it(
    tmp_path: Path, order: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlideResult.create(tmp_path, spec_of(), order)
    seen = []

    def killed(path: Path, **_: object) -> None:
        seen.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        discard_result(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / STORE).exists()  # nothing that a resume could take for done
    assert (seen[0] / "zarr.json").is_file()
    monkeypatch.setattr("napari_melanoma.core.files.has_ended", lambda pid, start: True)
    RunFolder(tmp_path).repair()
    assert not seen[0].exists()
    SlideResult.create(tmp_path, spec_of(), order)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse_removal)  # as Windows refuses it for a chunk that is being read
        discard_result(tmp_path)
    assert not (tmp_path / STORE).exists()
    discard_result(tmp_path)
