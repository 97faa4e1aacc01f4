"""The engine: order and company do not matter, damaged tiles are marked, faults of any stage arrive, pace is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.slide_store import DONE, FAILED, SlideResult, SlideResultSpec
from napari_melanoma.slides.engine import (
    EngineStages,
    TileBatch,
    TileRate,
    TileReader,
    _WriterThread,
    analyze_tiles,
    pending_batches,
)
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import DamagedTile, Slide
from napari_melanoma.slides.tile_models import TileModel
from napari_melanoma.slides.tiling import TileGrid, TilingConfig, coarse_to_fine, plan_tiles

LoadModel = Callable[..., TileModel]


@pytest.fixture
def slide(slide_path: Path) -> Iterator[Slide]:
    with open_slide(slide_path) as opened:
        yield opened


def grid_of(slide: Slide, **tiling: float) -> TileGrid:
    return plan_tiles(slide.info.levels, slide.info.pixel_size, TilingConfig(**{"side_px": 32, "mpp": 0.5, **tiling}))


def store(folder: Path, grid: TileGrid, order: np.ndarray, **changes: object) -> SlideResult:
    values = {"slide": "s", "fingerprint": "f", "kind": "classification", "classes": ("benign", "melanoma")}
    place = {"rows": grid.rows, "columns": grid.columns, "corner": (0, 0), "step": (32, 32), "tile_px": 32}
    return SlideResult.create(
        folder, SlideResultSpec.parse({**values, **place, "batch_size": 8, **changes}, "test"), order
    )


def ordered(grid: TileGrid) -> np.ndarray:
    return np.concatenate(coarse_to_fine(np.ones(grid.shape, np.bool_)))


def test_tiles_equal_the_slide_in_any_grouping(slide: Slide) -> None:
    grid = grid_of(slide)
    tiles, places = TileReader(slide, grid), ordered(grid)
    whole = slide.read_region(0, Box(0, 0, 512, 512))
    expected = np.stack([whole[grid.box(row, column).slices] for row, column in places])
    assert tiles._block_tiles > 2  # so that neighbors are read together
    for batch in (places, places[::-1], places[:5]):
        found, good = tiles.read(batch)
        assert good.all()
        shown = {tuple(place): tile for place, tile in zip(batch.tolist(), found, strict=True)}
        for place, tile in zip(places.tolist(), expected, strict=True):
            np.testing.assert_array_equal(shown.get(tuple(place), tile), tile)


def test_tiles_are_resized_equally_alone_and_in_batches(slide: Slide) -> None:
    grid = grid_of(slide, mpp=0.8)
    assert grid.read_px != (grid.side_px, grid.side_px)
    places = np.argwhere(np.ones(grid.shape, np.bool_)).astype(np.int32)
    tiles = TileReader(slide, grid)
    together, _ = tiles.read(places)
    alone = np.concatenate([tiles.read(place[None])[0] for place in places])
    np.testing.assert_array_equal(together, alone)
    assert together.shape[1:] == (32, 32, 3)


class Damaged(Slide):
    """A slide with one tile of the file that cannot be decoded."""

    def __init__(self, inner: Slide, bad: Box) -> None:
        self.info, self._inner, self._bad = inner.info, inner, bad

    def read_region(self, level: int, box: Box) -> np.ndarray:
        meets = all(
            a < d + e and d < a + b
            for a, b, d, e in (
                (box.top, box.height, self._bad.top, self._bad.height),
                (box.left, box.width, self._bad.left, self._bad.width),
            )
        )
        if meets:
            raise DamagedTile("one tile is damaged", level, self._bad)
        return self._inner.read_region(level, box)

    def close(self) -> None:
        self._inner.close()


def test_a_damaged_tile_costs_only_those_that_show_it(slide: Slide, tile_model: LoadModel, tmp_path: Path) -> None:
    grid = grid_of(slide)
    tiles, order = TileReader(Damaged(slide, Box(128, 128, 128, 128)), grid), ordered(grid)
    result, counted = store(tmp_path, grid, order), []
    batches = pending_batches(order, result.state, 8)
    analyze_tiles(
        EngineStages(tiles.read, tile_model(), result.writer()),
        batches,
        RunContext(),
        lambda n, bad: counted.append((n, bad)),
    )
    found = SlideResult.open(tmp_path)
    assert (found.state == FAILED).sum() == 16
    assert (found.state[4:8, 4:8] == FAILED).all()
    assert np.isnan(found.probability[4:8, 4:8]).all()
    assert np.isfinite(found.probability[found.state == DONE]).all()
    assert sum(bad for _, bad in counted) == 16
    assert sum(count for count, _ in counted) == 256


@pytest.mark.parametrize(("batch_size", "workers", "backwards"), [(1, 1, False), (5, 3, True), (64, 2, False)])
def test_batch_workers_and_order_change_nothing(
    slide: Slide, tile_model: LoadModel, tmp_path: Path, batch_size: int, workers: int, backwards: bool
) -> None:
    grid, found = grid_of(slide), []
    for folder, size, threads, turned in (("a", 8, 2, False), ("b", batch_size, workers, backwards)):
        order = ordered(grid)[::-1].copy() if turned else ordered(grid)
        result = store(tmp_path / folder, grid, order, batch_size=size)
        stages = EngineStages(TileReader(slide, grid).read, tile_model(batch_size=size), result.writer(), threads)
        analyze_tiles(stages, pending_batches(order, result.state, size), RunContext(), lambda tiles, failed: None)
        found.append(result.probability)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_a_batch_with_a_tile_that_waits_is_done_again_as_a_whole() -> None:
    order = np.argwhere(np.ones((4, 4), np.bool_)).astype(np.int32)
    state = np.zeros((4, 4), np.uint8)
    state.flat[:6] = DONE
    state.flat[7], state.flat[12:] = DONE, (FAILED, DONE, DONE, DONE)
    assert [batch.first for batch in pending_batches(order, state, 4)] == [4, 8, 12]  # what failed is tried again
    assert [batch.first for batch in pending_batches(order, state, 16)] == [0]
    assert pending_batches(order, np.full((4, 4), DONE, np.uint8), 4) == []


def stages_that(tile_model: LoadModel, result: SlideResult, fault: Exception, where: str) -> EngineStages:
    model, writer = tile_model(), result.writer()

    def fail(*_: object) -> None:
        raise fault

    def read(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if where == "read" and places[0].any():
            raise fault
        return np.zeros((len(places), 32, 32, 3), np.uint8), np.ones(len(places), np.bool_)

    if where == "answer":
        model.predict = fail  # type: ignore[method-assign]
    if where == "write":
        writer.flush = fail  # type: ignore[method-assign]
    return EngineStages(read, model, writer)


@pytest.mark.parametrize("where", ["read", "answer", "write"])
def test_an_error_of_any_stage_is_raised_and_all_threads_end(
    tile_model: LoadModel, slide: Slide, tmp_path: Path, where: str
) -> None:
    grid, before = grid_of(slide), threading.active_count()
    order = ordered(grid)
    result = store(tmp_path, grid, order)
    stages = stages_that(tile_model, result, SaveError(f"the fault of {where}"), where)
    with pytest.raises(SaveError, match=f"the fault of {where}"):
        analyze_tiles(stages, pending_batches(order, result.state, 8), RunContext(), lambda tiles, failed: None)
    own = [thread for thread in threading.enumerate() if thread.name.startswith(("tiles", "results"))]
    assert own == []
    assert threading.active_count() <= before + 8  # those of zarr stay for all stores


def test_tiles_finished_before_a_cancellation_are_kept(tile_model: LoadModel, slide: Slide, tmp_path: Path) -> None:
    grid, run, done = grid_of(slide), RunContext(), []
    order = ordered(grid)
    result = store(tmp_path, grid, order)

    def stop_after_three(tiles: int, failed: int) -> None:
        done.append(tiles)
        if len(done) == 3:
            run.cancel()

    stages = EngineStages(TileReader(slide, grid).read, tile_model(), result.writer())
    with pytest.raises(Cancelled):
        analyze_tiles(stages, pending_batches(order, result.state, 8), run, stop_after_three)
    assert (SlideResult.open(tmp_path).state == DONE).sum() == 24


def test_a_missing_slide_is_reported(slide: Slide, slide_path: Path) -> None:
    grid = grid_of(slide)

    class Gone(Damaged):
        """A slide whose drive was taken away."""

        def read_region(self, level: int, box: Box) -> np.ndarray:
            raise OSError(5, "Input/output error")

    tiles = TileReader(Gone(slide, Box(0, 0, 1, 1)), grid)
    with pytest.raises(InputError, match=r"can no longer be read .*same options and folder\. .*continues from there"):
        tiles.read(ordered(grid)[:1])
    slide_path.unlink()
    with pytest.raises(InputError, match=r"section\.tif no longer exists: it was removed"):
        tiles.read(ordered(grid)[:1])


class Flaky(Damaged):
    """A slide whose reader reports every tile as damaged, on a simulated drive."""

    away = False

    def read_region(self, level: int, box: Box) -> np.ndarray:
        if self.away:
            raise DamagedTile("cannot be decoded", level, box)
        return self._inner.read_region(level, box)


def test_a_drive_that_fails_is_no_damage(slide: Slide, slide_path: Path) -> None:
    """The name is there and the content is not, as on a network drive that answers from its memory of names."""
    grid = grid_of(slide)
    flaky = Flaky(slide, Box(0, 0, 1, 1))
    tiles, places = TileReader(flaky, grid), ordered(grid)
    assert tiles.read(places[:4])[1].all()
    flaky.away = True
    slide_path.write_bytes(slide_path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"section\.tif can no longer be read .*Restore it .*continues from there"):
        tiles.read(places[4:5])


def test_a_slide_of_which_a_file_went_is_no_damage(slide: Slide) -> None:
    """The file that names the slide is as it was; a level of it was in another one."""
    grid = grid_of(slide)
    flaky = Flaky(slide, Box(0, 0, 1, 1))
    flaky.info = replace(slide.info, levels=(*slide.info.levels, slide.info.levels[-1]))
    flaky.away = True
    tiles, places = TileReader(flaky, grid), ordered(grid)
    with pytest.raises(InputError, match="have changed since it was opened"):
        tiles.read(places[:16])


def test_a_tile_that_fails_once_is_read_again(slide: Slide) -> None:
    class Once(Flaky):
        def read_region(self, level: int, box: Box) -> np.ndarray:
            self.away, before = False, self.away
            if before:
                raise DamagedTile("cannot be decoded", level, box)
            return self._inner.read_region(level, box)

    once, grid = Once(slide, Box(0, 0, 1, 1)), grid_of(slide)
    once.away = True
    assert TileReader(once, grid).read(ordered(grid)[:1])[1].all()


def test_the_pace_is_that_of_the_last_while() -> None:
    now = [0.0]
    pace = TileRate(1000, lambda: now[0])
    assert (pace.tiles_per_s, pace.eta_s) == (0.0, None)
    for _ in range(10):
        now[0] += 1
        pace.add(10)
    assert pace.tiles_per_s == pytest.approx(10)
    assert pace.eta_s == pytest.approx(90)
    now[0] += 100  # a pause
    for _ in range(40):
        now[0] += 1
        pace.add(20)
    assert pace.tiles_per_s == pytest.approx(20)
    assert pace.eta_s == pytest.approx(5)


class Counting:
    """A writer that counts."""

    def __init__(self) -> None:
        self.put_, self.flushed = 0, 0

    def put(self, first: int, states: np.ndarray, values: dict[str, np.ndarray]) -> None:
        self.put_ += 1

    def flush(self) -> None:
        self.flushed = self.put_


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done() and time.monotonic() < end:
        time.sleep(0.005)
    assert done()


def test_results_are_flushed_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.slides.engine.FLUSH_S", 0.05)
    writer, places = Counting(), np.zeros((2, 2), np.int32)
    with _WriterThread(writer) as writing:  # type: ignore[arg-type]
        for number in range(3):
            writing.put(TileBatch(number, places), np.ones(2, bool), {})
        until(lambda: writer.put_ == 3)
        until(lambda: writer.flushed == 3)  # and not only at the end


def test_a_pause_waits_until_all_is_on_the_disk(tile_model: LoadModel, slide: Slide, tmp_path: Path) -> None:
    grid = grid_of(slide)
    order = ordered(grid)
    result = store(tmp_path, grid, order)
    seen: list[tuple[int, int]] = []

    class Pausing(RunContext):
        """Is paused at each batch, and looks at the disk meanwhile."""

        is_pause_requested = True

        def check(self) -> None:
            seen.append((len(seen) * 8, int((SlideResult.open(tmp_path).state == DONE).sum())))

    stages = EngineStages(TileReader(slide, grid).read, tile_model(), result.writer())
    analyze_tiles(stages, pending_batches(order, result.state, 8)[:4], Pausing(), lambda tiles, failed: None)
    assert seen == [(0, 0), (8, 8), (16, 16), (24, 24)]
