"""The cache never exceeds its bytes, forgets the oldest first, and stands several threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.slides.reading import tiled as module
from napari_melanoma.slides.reading.tiled import TileCache, cache_limit, shared_cache


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=80))
def test_it_is_never_larger_than_it_may_be(puts: list[tuple[int, int]]) -> None:
    cache = TileCache(100)
    held: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, np.zeros(size, np.uint8))
        held[key] = size
        assert cache.used_bytes <= 100
        assert cache.used_bytes == sum(size for key, size in held.items() if cache.get(key) is not None)


def test_least_recently_used_tiles_are_evicted() -> None:
    cache = TileCache(30)
    for key in "abc":
        cache.put(key, np.zeros(10, np.uint8))
    cache.get("a")
    cache.put("d", np.zeros(10, np.uint8))
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
    cache.put("huge", np.zeros(31, np.uint8))
    assert cache.get("huge") is None
    assert cache.used_bytes == 30


def test_cached_arrays_are_read_only() -> None:
    cache = TileCache(30)
    cache.put("a", np.zeros(10, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        cache.get("a")[0] = 1


def test_closing_a_slide_removes_only_its_tiles() -> None:
    cache = TileCache(100)
    for key in ((1, 0), (1, 1), (2, 0)):
        cache.put(key, np.zeros(10, np.uint8))
    cache.drop_owner(1)
    assert cache.used_bytes == 10
    assert cache.get((2, 0)) is not None


def test_owners_dropped_during_a_lock_are_removed_later() -> None:
    cache = TileCache(100)
    cache.put((1, 0), np.zeros(10, np.uint8))
    with cache._lock:  # a slide is finalized at any time, here in the thread that holds the lock
        cache.drop_owner(1)
    cache.put((2, 0), np.zeros(5, np.uint8))
    assert cache.used_bytes == 5


def test_several_threads_at_once() -> None:
    cache = TileCache(1000)

    def work(seed: int) -> None:
        for key in np.random.default_rng(seed).integers(50, size=500):
            if cache.get(int(key)) is None:
                cache.put(int(key), np.zeros(int(key) + 1, np.uint8))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.used_bytes == sum(array.nbytes for key in range(50) if (array := cache.get(key)) is not None)
    assert cache.used_bytes <= 1000


def test_all_slides_share_a_cache_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_shared", None)
    assert module.MIN_BYTES <= cache_limit() <= module.MAX_BYTES
    assert shared_cache() is shared_cache()
    assert shared_cache().limit_bytes == cache_limit()
