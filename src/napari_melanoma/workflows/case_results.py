"""Results of images kept in a case: the result folder, the correction it rests on, and both named in the case."""

from __future__ import annotations

from datetime import UTC, datetime

from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.data.case.corrections import write_correction
from napari_melanoma.data.case.edit import add_result, set_correction
from napari_melanoma.data.case.model import Case, CaseResult
from napari_melanoma.data.case.store import CaseStore
from napari_melanoma.workflows.lesion import LesionResult, save_lesion


def keep_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result into the case folder; a mask that was corrected by hand becomes the image's correction.

    With correction and result; ``CaseStore.save`` writes it.
    """
    if store.read_only:
        raise SaveError(f"cannot save a result in {store.folder}: {store.read_only}")
    image, correction = case.image(image_id), None
    if result.corrected:
        digest = fingerprint(result.photograph.rgb)
        correction = write_correction(store, image.id, result.mask, image_digest=digest, model=result.model.name)
        case = set_correction(case, image_id, correction)
    folder = store.result_folder(image_id, correction)
    if not folder.exists():
        store.added(folder)
    kept = CaseResult(
        path=save_lesion(result, folder),
        correction=correction.digest if correction else "",
        model=result.model.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return add_result(case, image_id, kept)
