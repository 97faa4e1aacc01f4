"""Which bundles tell metastasis, what they have learnt from, and what they ask of a patient; no weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.models.registry import find_bundle

if TYPE_CHECKING:
    from napari_melanoma.core.tabular import TabularEncoding
    from napari_melanoma.models.bundle import BundleInfo

POSITIVE = "metastasis"


def tells_risk(bundle: BundleInfo) -> bool:
    """Say whether a model tells metastasis from patches."""
    config = bundle.config
    return config.classifier is not None and config.encoder is None and config.classifier.positive == POSITIVE


def told_by(name: str) -> BundleInfo | None:
    """Find a model that tells metastasis.

    None where there is none of that name, or it tells something else.
    """
    try:
        found = find_bundle(name)
    except MelanomaError:
        return None
    return found if tells_risk(found) else None


def asked_of_patient(encoding: TabularEncoding | None, elsewhere: tuple[str, ...]) -> TabularEncoding | None:
    """Leave out of what a model takes what is said at another place of the dock."""
    if encoding is None:
        return None
    numbers = tuple(column for column in encoding.numbers if column.name not in elsewhere)
    words = tuple(column for column in encoding.words if column.name not in elsewhere)
    return encoding.model_copy(update={"numbers": numbers, "words": words})


def is_phantom(bundle: BundleInfo) -> bool:
    """Say whether a model has learnt from drawn patients alone.

    False where nothing says so.
    """
    from napari_melanoma.workflows.risk_comparators import read_comparators

    try:
        return bundle.config.drawn_share == 1 or read_comparators(bundle.path).phantom
    except MelanomaError:
        return False
