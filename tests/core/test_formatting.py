"""Words of texts for users."""

from __future__ import annotations

import pytest

from napari_melanoma.core.formatting import format_class


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("naevus", "nevus"),
        ("Naevus", "Nevus"),
        ("Spitz naevus", "Spitz nevus"),
        ("blue naevi", "blue nevi"),
        ("nevus", "nevus"),
        ("melanoma", "melanoma"),
        ("naevoid", "naevoid"),
    ],
)
def test_classes_are_shown_in_one_spelling(stored: str, shown: str) -> None:
    assert format_class(stored) == shown
