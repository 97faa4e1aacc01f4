"""Cached ratings: by content, model and measure; optional in every situation."""

from __future__ import annotations

import os
import sys

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.lesion.uncertainty_ratings import CachedRating, RatingCache

KNOWN = CachedRating(0.25, True, "f" * 64)


@pytest.fixture
def cache(tmp_path):
    return RatingCache(tmp_path / "cache" / "ratings.sqlite")


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "mole.png"
    path.write_bytes(b"pixels")
    return path


def test_a_rating_is_found_by_content_model_and_measure(cache, photograph):
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    assert cache.find(photograph, "model", "entropy") == KNOWN
    assert cache.find(photograph, "another", "entropy") is None
    assert cache.find(photograph, "model", "disagreement") is None
    assert cache.find_all([photograph], "model", "entropy", run=RunContext()) == {0: KNOWN}


def test_a_renamed_file_keeps_its_rating_and_a_changed_one_does_not(cache, photograph):
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    renamed = photograph.rename(photograph.with_name("other.png"))
    assert cache.find_all([renamed], "model", "entropy", run=RunContext()) == {}
    assert cache.find(renamed, "model", "entropy") == KNOWN
    assert cache.find_all([photograph, renamed], "model", "entropy", run=RunContext()) == {1: KNOWN}
    renamed.write_bytes(b"others")
    os.utime(renamed, (1, 1))
    assert cache.find_all([renamed], "model", "entropy", run=RunContext()) == {}
    assert cache.find(renamed, "model", "entropy") is None


def test_a_file_that_changes_while_it_is_rated_keeps_no_rating(cache, photograph):
    content = cache.identify(photograph)
    photograph.write_bytes(b"others")
    cache.save(content, "model", "entropy", KNOWN)
    assert cache.find(photograph, "model", "entropy") is None


def test_damaged_database_is_created_again(cache, photograph):
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"no database" * 1000)
    assert cache.find(photograph, "model", "entropy") is None
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    assert cache.find(photograph, "model", "entropy") == KNOWN


def test_without_write_access_nothing_is_cached(tmp_path, photograph):
    (tmp_path / "a file").write_text("in the way")
    cache = RatingCache(tmp_path / "a file" / "ratings.sqlite")
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    assert cache.find(photograph, "model", "entropy") is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_prevents_additions(cache, photograph, tmp_path):
    import resource

    other = tmp_path / "other.png"
    other.write_bytes(b"others")
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        cache.save(cache.identify(other), "model", "entropy", KNOWN)
        assert cache.find(other, "model", "entropy") is None
        assert cache.find(photograph, "model", "entropy") == KNOWN
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_missing_file_is_reported(cache, tmp_path):
    with pytest.raises(UnreadableImage, match="gone"):
        cache.find(tmp_path / "gone.png", "model", "entropy")


def test_a_search_for_many_ratings_can_be_cancelled(cache, photograph):
    cache.save(cache.identify(photograph), "model", "entropy", KNOWN)
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        cache.find_all([photograph], "model", "entropy", run=run)
