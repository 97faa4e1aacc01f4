"""Errors and their descriptions."""

from __future__ import annotations

import pytest

from napari_melanoma.core import errors
from napari_melanoma.core.context import Cancelled


def test_a_cancellation_is_not_an_error() -> None:
    assert not issubclass(Cancelled, errors.MelanomaError)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (errors.InputError("no  such\nimage"), "no such image"),
        (MemoryError("17 GiB"), "out of memory. Close other programs"),
        (KeyError("size"), "unexpected KeyError: 'size'. The file may be damaged"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_an_error_is_described_on_one_line(error: BaseException, described: str) -> None:
    assert errors.describe_error(error).startswith(described)
