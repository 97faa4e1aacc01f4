"""Counts and names in words."""

import pytest

from napari_melanoma.core.wording import counted, first_few


def test_things_are_counted() -> None:
    assert [counted(count, "image") for count in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert counted(2, "class") == "2 classes"


@pytest.mark.parametrize(
    ("names", "most", "said"),
    [
        ([], 3, ""),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        ({"a": 1, "b": 2}, 1, "a and 1 more"),
        ((1, 2), 3, "1, 2"),
    ],
)
def test_the_first_few_of_many_are_named(names, most, said) -> None:
    assert first_few(names, most) == said
