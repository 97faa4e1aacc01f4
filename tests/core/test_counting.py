"""Counts and lists of names in messages."""

import pytest

from napari_melanoma.core.formatting import format_count, format_names


def test_things_are_counted() -> None:
    assert [format_count(count, "image") for count in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert format_count(2, "class") == "2 classes"


@pytest.mark.parametrize(
    ("names", "most", "message"),
    [
        ([], 3, ""),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        ({"a": 1, "b": 2}, 1, "a and 1 more"),
        ((1, 2), 3, "1, 2"),
    ],
)
def test_the_first_few_of_many_are_named(names, most, message) -> None:
    assert format_names(names, most) == message
