"""Whether the folder of a slide holds all that is asked for already: then it is left alone, corrections and all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slide_folder import OUTLINES, read_content
from napari_melanoma.io.slide_results import WAITING, SlideResult
from napari_melanoma.io.slide_spec import differing
from napari_melanoma.workflows.slide_bags import info_of
from napari_melanoma.workflows.slide_plan import settings_of

if TYPE_CHECKING:
    from napari_melanoma.inference.tiles import TileModel
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.workflows.slide_options import SlideOptions

MADE = ("lesions", "score", "target", "prevalence")  # of tiles that are done


def analysed_before(folder: Path, slide: SlideInfo, model: TileModel, options: SlideOptions) -> dict[str, Any] | None:
    """Give the answer of an analysis that ended, where it is the one that is asked for now.

    Lesions at thresholds that somebody chose and saved later count as those that were asked for.

    Content of ``result.json``; None where there is something to do.
    """
    content = read_content(folder)
    if not content or (content.get("target") and content.get("outlines") and not (folder / OUTLINES).is_file()):
        return None
    try:
        result = SlideResult.open(folder)
        waits = (result.state == WAITING).any()
    except InputError:
        return None
    asked = json.loads(json.dumps(settings_of(model.info, options)))
    other = result.spec.fingerprint != slide.fingerprint or differing(result.spec.settings, asked)
    if waits or other or not _answered_by(content, model) or not _made_so(content, options):
        return None
    return content


def _answered_by(content: dict[str, Any], model: TileModel) -> bool:
    """Whether this very model answered."""
    told, info = content.get("model") or {}, info_of(model)
    return (told.get("name"), told.get("fingerprint"), told.get("answers")) == (
        info.name,
        info.fingerprint,
        info.answers,
    )


def _made_so(content: dict[str, Any], options: SlideOptions) -> bool:
    """Whether lesions and scores were made of the tiles as is asked for."""
    now = dict(content.get("options") or {})
    then = {**now, "lesions": content.get("lesions_asked") or now.get("lesions")}
    asked = options.model_dump(mode="json", include={*MADE})
    return any(all(made.get(key) == value for key, value in asked.items()) for made in (now, then))
