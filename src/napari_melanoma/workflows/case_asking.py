"""A case as the worker is asked about it: a folder in, plain values out; what is heavy is imported when it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext


def answer_case(arguments: dict[str, Any], run: RunContext) -> dict[str, Any]:
    """Answer about every lesion of a case, over all of its images; the case is not changed.

    Returns ``answers``: as ``workflows.case_answer.CaseAnswers.from_json`` takes them.
    """
    from napari_melanoma.data.case.store import CaseStore
    from napari_melanoma.workflows.case_answers import answer_with

    with CaseStore.open(Path(arguments["folder"])) as store:
        return {"answers": answer_with(store, arguments["model"], run).to_json()}
