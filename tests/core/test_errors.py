"""The hierarchy of errors."""

from __future__ import annotations

import pytest

from napari_melanoma.core import errors
from napari_melanoma.core.context import Cancelled

PARENTS = {
    "ConfigError": "MelanomaError",
    "ClusterError": "MelanomaError",
    "InputError": "MelanomaError",
    "UnreadableImage": "InputError",
    "DataSetError": "InputError",
    "BundleError": "MelanomaError",
    "SaveError": "MelanomaError",
    "CaseChanged": "SaveError",
    "DiskFull": "SaveError",
    "ScaleMissing": "MelanomaError",
    "RunError": "MelanomaError",
    "ResultsMismatch": "RunError",
    "MalformedFile": "InputError",
    "NotMeasured": "InputError",
    "DamagedImage": "UnreadableImage",
    "TrainingError": "MelanomaError",
    "TrainingDiverged": "TrainingError",
    "WorkerTerminated": "MelanomaError",
}


@pytest.mark.parametrize(("child", "parent"), PARENTS.items())
def test_each_error_has_its_parent(child: str, parent: str) -> None:
    assert issubclass(getattr(errors, child), getattr(errors, parent))


def test_the_table_above_is_whole() -> None:
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert public == {*PARENTS, "MelanomaError"}


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
