"""Bags on disk: read in chunks, sampled without reading all, refused without embeddings or if unfinished."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.data import bags
from napari_melanoma.data.bags import Bag, hash_preprocessing

Write = Callable[..., Path]
TILES, FEATURES = 100, 4
VALUES = np.arange(TILES, dtype=np.float32)[:, None] + np.zeros(FEATURES, np.float32)  # its number identifies a tile


def test_all_tiles_are_read_except_failed_ones(write_bag: Write, tmp_path: Path) -> None:
    bag = Bag.open(write_bag(tmp_path / "slide", VALUES, failed=[0, 1, 2, 3, 50]))
    pieces = list(bag.iter_embeddings(4))
    found = np.concatenate(pieces)
    assert len(bag) == TILES - 5
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [number for number in range(TILES) if number not in (0, 1, 2, 3, 50)]
    assert max(map(len, pieces)) == 4


def test_a_sample_is_without_repetition_and_reproducible(write_bag: Write, tmp_path: Path) -> None:
    bag = Bag.open(write_bag(tmp_path / "slide", VALUES, failed=[7]))
    one, again, other = (bag.sample_embeddings(30, seed)[:, 0].tolist() for seed in (1, 1, 2))
    assert len(set(one)) == 30
    assert 7 not in one
    assert one == again != other
    assert len(bag.sample_embeddings(1000, 1)) == TILES - 1


def test_few_chunks_of_a_large_store_are_read(
    write_bag: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bag(tmp_path / "slide", np.tile(VALUES, (200, 64)))  # 20,000 tiles of 512 bytes
    bag, read = Bag.open(folder), []
    length = bag._result.array("embedding").chunks[0]
    embedding = bag._result.embedding
    monkeypatch.setattr(bags, "MAX_CHUNKS", 3)
    monkeypatch.setattr(bag._result, "embedding", lambda tiles: (read.append(tiles.start), embedding(tiles))[1])
    drawn = [bag.sample_embeddings(50, seed) for seed in range(40)]
    assert 20_000 / length > 6
    assert len(read) <= 3 * len(drawn)
    assert {len(one) for one in drawn} == {50}
    assert len(set(read)) > 6  # different tiles each time


def test_another_process_opens_it_again(write_bag: Write, tmp_path: Path) -> None:
    bag = Bag.open(write_bag(tmp_path / "slide", VALUES, failed=[7]))
    again = pickle.loads(pickle.dumps(bag))
    np.testing.assert_array_equal(again.sample_embeddings(30, 1), bag.sample_embeddings(30, 1))
    assert again.fingerprint() == bag.fingerprint()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kind": "regression"}, "contains regression results, expected embeddings"),
        ({"done": 40}, "is not finished: 60 of 100 tiles are not done"),
        ({"failed": range(TILES)}, "has no readable tile"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_invalid_bags_are_refused(write_bag: Write, tmp_path: Path, how: dict[str, Any], message: str) -> None:
    folder = write_bag(tmp_path / "slide", VALUES, **how)
    with pytest.raises(InputError, match=message):
        Bag.open(folder)


def test_an_analysis_without_a_result_is_not_finished(write_bag: Write, tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "slide", VALUES)
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match="is not finished"):
        Bag.open(folder)


@pytest.mark.parametrize(
    ("settings", "mpp"), [({}, 0.5), ({"tile_mpp": 1.0}, 1.0), ({"tile_um": 64.0}, 2.0)], ids=["own", "mpp", "um"]
)
def test_the_requested_scale_is_kept(write_bag: Write, tmp_path: Path, settings: dict[str, float], mpp: float) -> None:
    bag = Bag.open(write_bag(tmp_path / "slide", VALUES, settings={**settings, "stain": {"method": "macenko"}}))
    assert bag.kind.tile.mpp == mpp
    assert bag.kind.tile.side_px == 32
    assert bag.kind.encoder.model_dump() == {
        "name": "toy",
        "fingerprint": "5eed",
        "features": FEATURES,
        "licence": "CC0-1.0",
        "stain": "macenko",
        "preprocessing": hash_preprocessing({"stain": {"method": "macenko"}}),
    }


def test_the_fingerprint_distinguishes_bags(write_bag: Write, tmp_path: Path) -> None:
    one, same = (write_bag(tmp_path / name / "slide", VALUES) for name in "ab")
    others = [
        write_bag(tmp_path / "c" / "slide", VALUES + 1),
        write_bag(tmp_path / "d" / "slide", VALUES, weights="other"),
        write_bag(tmp_path / "e" / "slide", VALUES, failed=[99]),
    ]
    known = Bag.open(one).fingerprint()
    assert Bag.open(same).fingerprint() == known
    assert len({known, *(Bag.open(other).fingerprint() for other in others)}) == 4
    content = json.loads((one / "result.json").read_text())
    (one / "result.json").write_text(json.dumps({**content, "seconds": 3}))
    assert Bag.open(one).fingerprint() == known  # the result at the end is not part of it
