"""What the bundle of a run says of the photographs that it is for."""

from __future__ import annotations

import pytest

from napari_melanoma.runs.bundling import choose_modalities


@pytest.mark.parametrize(
    ("named", "seen", "kinds"),
    [
        ((), ["macroscopic", "dermoscopic", "macroscopic"], ("dermoscopic", "macroscopic")),
        (("tbp_tile",), ["dermoscopic"], ("tbp_tile", "dermoscopic")),
        ((), [None, None], ()),
        ((), ["macroscopic", None], ()),  # "macroscopic alone" would be false
        (("dermoscopic",), ["macroscopic", None], ("dermoscopic", "macroscopic")),
    ],
)
def test_a_model_is_said_to_be_for_no_less_than_it_has_learnt_from(
    named: tuple[str, ...], seen: list[str | None], kinds: tuple[str, ...]
) -> None:
    assert choose_modalities(named, seen) == kinds
