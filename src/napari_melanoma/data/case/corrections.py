"""Masks that a person drew, in the case folder: a file for each content, never written over, so that undo finds it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.data.case.files import CASE, CORRECTIONS
from napari_melanoma.data.case.model import CaseCorrection
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.io.results import read_mask, write_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGITS = 12  # of the digest, in the file's name


def write_correction(
    store: CaseStore, image_id: str, mask: NDArray[np.bool_], *, image_digest: str = "", model: str = ""
) -> CaseCorrection:
    """Write a mask into the case folder; ``edit.set_correction`` and ``CaseStore.save`` make it part of the case.

    ``mask``: bool (row, column), of the upright image's size. Returns the same where the same mask was written before.
    """
    from napari_melanoma import __version__

    if store.read_only:
        raise SaveError(f"cannot save a mask in {store.folder / CASE}: {store.read_only}")
    digest = fingerprint(mask.astype(bool))
    path = store.folder / CORRECTIONS / f"{image_id}-{digest[:DIGITS]}.png"
    if not path.is_file():
        store.added(path)
        write_mask(path, mask)
    return CaseCorrection(
        path=path,
        digest=digest,
        image_digest=image_digest,
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
    )


def read_correction(correction: CaseCorrection) -> NDArray[np.bool_]:
    """Read a mask that a person stands for.

    Returns bool (row, column).
    """
    mask = read_mask(correction.path)
    if fingerprint(mask) != correction.digest:
        raise InputError(
            f"{correction.path} is not the mask that was saved: another program changed it. Bring it back from a "
            "backup, or draw it again."
        )
    return mask
