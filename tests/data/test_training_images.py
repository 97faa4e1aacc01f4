"""The list of training images: what it recognizes, keeps private and refuses."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.groups import normalize_patient
from napari_melanoma.data.training_images import (
    FILE_NAME,
    NORMALIZED_SUFFIX,
    PUBLIC,
    TrainingImages,
    find_trained_groups,
    find_trained_images,
    hash_images,
    make_training_images,
)
from napari_melanoma.privacy.pseudonyms import find_key_file, key_id

pytestmark = pytest.mark.usefixtures("user_folders")


def photograph(path: Path, seed: int, side: int = 240) -> Sample:
    """A photograph with the structure of skin at several scales."""
    random = np.random.default_rng(seed)
    rgb = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 40):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        rgb += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / 4
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return Sample(path.stem, path, None, f"clinic/P{seed}", "", "clinic")


def listed(samples: list[Sample], **more: str) -> TrainingImages:
    return make_training_images(hash_images(samples, RunContext()), **more)


def seen(samples: list[Sample], images: TrainingImages, *, tiles: bool = False) -> list[bool]:
    hashed = hash_images(samples, RunContext(), perceptual=not tiles)
    return find_trained_images(hashed, images, tiles=tiles).tolist()


def copied(sample: Sample, path: Path, change: str) -> Sample:
    """The same picture under another name, format, quality or size."""
    with Image.open(sample.image) as image:
        picture = image.convert("RGB")
    if change in ("half", "double"):
        factor = 0.5 if change == "half" else 2
        picture = picture.resize([round(side * factor) for side in picture.size], Image.Resampling.LANCZOS)
    if change == "quality 60":
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=60)
        path.write_bytes(content.getvalue())
    else:
        picture.save(path)
    return Sample(path.stem, path, None, f"other/{path.stem}", "", "other")


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], list[Sample]]:
    """Twenty pictures, and twenty others."""
    folder = tmp_path_factory.mktemp("twenty")
    return tuple([photograph(folder / f"{first}/{n}.png", first + n) for n in range(20)] for first in (0, 100))


CHANGES = [("same", ".tif"), ("same", ".bmp"), ("quality 60", ".jpg"), ("half", ".png"), ("double", ".png")]


@pytest.mark.slow
def test_a_copy_is_recognized_and_another_picture_is_not(
    twenty: tuple[list[Sample], list[Sample]], tmp_path: Path
) -> None:
    known, new = twenty
    images = listed(known)
    for change, suffix in CHANGES:
        copies = [copied(one, tmp_path / f"{change}{one.image_id}{suffix}", change) for one in known[:2]]
        assert seen(copies, images) == [True] * 2, (change, suffix)
    assert seen(new, images) == [False] * 20


def test_the_list_survives_its_file_and_holds_no_name(tmp_path: Path) -> None:
    known = [photograph(tmp_path / f"known/mole-of-Smith-{n}.png", n) for n in range(3)]
    found = listed(known)
    found.write(tmp_path / FILE_NAME)
    back = TrainingImages.read(tmp_path / FILE_NAME)
    assert back.counts == found.counts == {"images": 3, "patients": 3}
    assert seen(known, back) == [True] * 3
    content = (tmp_path / FILE_NAME).read_bytes()
    assert not any(word in content for word in (b"Smith", b"clinic", b"P1"))
    assert len(content) < 1000


def test_patients_are_recognized_with_the_key_of_the_project_alone(tmp_path: Path) -> None:
    known = [photograph(tmp_path / f"known/{n}.png", n) for n in range(3)]
    others = [Sample("x", tmp_path / "x.png", None, f"clinic/P{n}", "", "clinic") for n in (1, 7)]
    found = listed(known)
    assert find_trained_groups(others, found).tolist() == [True, False]
    assert list(found.groups) == [key_id(), key_id() + NORMALIZED_SUFFIX]
    find_key_file().unlink()
    from napari_melanoma.privacy import pseudonyms

    pseudonyms._read_key.cache_clear()
    assert find_trained_groups(others, found).tolist() == [False, False]
    assert not find_key_file().exists(), "looking for patients makes no key"


def test_patients_of_published_data_are_recognized_everywhere(tmp_path: Path) -> None:
    known = [photograph(tmp_path / f"known/{n}.png", n) for n in range(3)]
    others = [Sample("x", tmp_path / "x.png", None, "clinic/P2", "", "clinic")]
    found = listed(known, key=PUBLIC)
    assert list(found.groups) == [PUBLIC, PUBLIC + NORMALIZED_SUFFIX]
    assert find_trained_groups(others, found).tolist() == [True]


@pytest.mark.parametrize("key", [None, PUBLIC])
def test_a_patient_is_recognized_in_the_spelling_of_a_spreadsheet(key: str | None, tmp_path: Path) -> None:
    """In both directions; as one patient where a run counts them as one, and as often as they are counted."""
    spellings = [("007", "7"), ("7", "007"), ("P1", "p 1"), ("7.0", "7"), ("P1", "P2"), ("7", "70")]
    for index, (known, other) in enumerate(spellings):
        (image,) = [photograph(tmp_path / f"{index}.png", index)]
        found = listed([replace(image, group=f"clinic/{known}")], **({"key": key} if key else {}))
        found.write(tmp_path / FILE_NAME)
        read = TrainingImages.read(tmp_path / FILE_NAME)
        others = [Sample("x", Path(), None, f"{domain}/{other}", "", domain) for domain in ("clinic", "elsewhere")]
        expected = normalize_patient(known) == normalize_patient(other)
        assert find_trained_groups(others, read).tolist() == [expected, False]
        assert (read | read).counts["patients"] == 1


def test_many_patients_are_looked_up_in_a_long_list() -> None:
    samples = [Sample(f"x{n}", Path(), None, f"clinic/P{n}", "", "clinic") for n in range(20_000)]
    numbers = np.arange(20_000, dtype=np.uint64)
    started = time.process_time()
    assert not find_trained_groups(samples, TrainingImages(groups={PUBLIC: numbers})).any()
    assert time.process_time() - started < 3


def test_two_lists_become_one(tmp_path: Path) -> None:
    first, second = ([photograph(tmp_path / f"{n}.png", n) for n in some] for some in ((0, 1, 2), (2, 3)))
    both = (
        TrainingImages(unlisted=("a",), note="seed 1")
        | listed(first)
        | listed(second)
        | TrainingImages(unlisted=("a",))
    )
    assert both.counts == {"images": 4, "patients": 4}
    assert (both.unlisted, both.note) == (("a",), "seed 1")


def test_a_slide_is_recognized_by_half_of_its_tiles_and_not_by_bare_glass(tmp_path: Path) -> None:
    def tile(slide: str, number: int, seed: int) -> Sample:
        one = photograph(tmp_path / f"{slide}-{number}.png", seed, 64)
        return Sample(one.image_id, one.image, None, f"tiles/{slide}", "", "tiles")

    known = [tile("a", 0, 1), tile("a", 1, 2), tile("a", 2, 3), tile("a", 3, 0)]  # seed 0: glass
    copy = [tile("b", 0, 1), tile("b", 1, 2), tile("b", 2, 9)]
    other = [tile("c", 0, 0), tile("c", 1, 0), tile("c", 2, 11), tile("c", 3, 12)]
    images = make_training_images(hash_images(known, RunContext(), perceptual=False))
    assert seen([*copy, *other], images, tiles=True) == [True, True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot read"), (b"\xff" * 100, "cannot read"), (None, "expected format 1, found 2")],
)
def test_a_damaged_list_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    from safetensors.numpy import save

    path = tmp_path / FILE_NAME
    path.write_bytes(save({"pixels": np.zeros(1, np.uint64)}, {"format": "2"}) if content is None else content)
    with pytest.raises(BundleError, match=message):
        TrainingImages.read(path)


def test_an_unreadable_image_is_in_no_list(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    broken = [Sample("broken", path, None, "clinic/broken", "", "clinic")]
    assert listed(broken).counts == {"images": 0, "patients": 0}
    assert seen(broken, listed(broken)) == [False]


def test_hashing_stops_within_a_few_images(tmp_path: Path) -> None:
    sample = photograph(tmp_path / "a.png", 1)
    run, hashed = RunContext(), []

    def digest(path: Path) -> int:
        hashed.append(path)
        run.cancel()
        time.sleep(0.02)
        return 1

    with pytest.raises(Cancelled):
        hash_images([sample] * 200, run, digest=digest)
    assert len(hashed) < 50
