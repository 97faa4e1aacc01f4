"""The modalities of a new bundle."""

from __future__ import annotations

import pytest

from napari_melanoma.runs.bundling import choose_modalities


@pytest.mark.parametrize(
    ("named", "seen", "expected"),
    [
        ((), ["macroscopic", "dermoscopic", "macroscopic"], ("dermoscopic", "macroscopic")),
        (("tbp_tile",), ["dermoscopic"], ("tbp_tile", "dermoscopic")),
        ((), [None, None], ()),
        ((), ["macroscopic", None], ()),  # "macroscopic only" would be wrong
        (("dermoscopic",), ["macroscopic", None], ("dermoscopic", "macroscopic")),
    ],
)
def test_the_modalities_include_those_of_the_training_images(
    named: tuple[str, ...], seen: list[str | None], expected: tuple[str, ...]
) -> None:
    assert choose_modalities(named, seen) == expected
