"""Which of all that can be said of an answer is shown: the answer, that it is awaited, or why there is none."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.ui.answer.queue import Question
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.workflows.answer import Answer

NOT_ANALYSED = "Analyse the photograph: the answer is about the lesion inside the border."
NONE_PICKED = "Pick a model beside <i>answer</i> to be told what the lesion may be."
OUTDATED = "Outdated: the inputs have changed since this prediction. A new one is being computed."
STOPPED = "Stopped: nothing was said of this lesion."


@dataclass(frozen=True)
class Said:
    """What came of a question: an answer, or why there is none."""

    question: Question
    answer: Answer | None = None
    fault: str = ""


def show_answer(
    controls: LesionControls,
    said: Said | None,
    known: Question | None,
    waits: bool,
    earlier: tuple[Answer, str] | None = None,
    *,
    changing: bool = False,
) -> None:
    """Show what is known of the photograph in view."""
    section, waits = controls.answer, waits or changing
    is_now = known is not None and said is not None and said.question == known and not changing
    if said is not None and said.answer is not None and (is_now or _is_alike(said, known, waits)):
        controls.heatmap.show_classes(said.answer.classes, said.answer.positive)
        section.show_answer(said.answer, awaited=not is_now, outdated="" if is_now else OUTDATED)
        return
    why = _why_none(controls, said.fault if said is not None and is_now else "", known, waits)
    if earlier is None:
        section.show_none(why)
    else:
        section.show_earlier(*earlier, why)


def _is_alike(said: Said, known: Question | None, waits: bool) -> bool:
    """Whether an answer of before may stay in sight until the one of the same model that is awaited is there."""
    return waits and known is not None and said.question.picture.model == known.picture.model


def _why_none(controls: LesionControls, fault: str, known: Question | None, waits: bool) -> str:
    """Say why there is no answer, as rich text."""
    again = controls.icons.link("again", "Ask again")
    if not controls.classifier.model:
        return NONE_PICKED if controls.classifier.has_any else _none_installed(controls)
    if known is None:
        return NOT_ANALYSED
    if fault:
        return f"{_first_capital(html.escape(fault))} {again}"
    return "Asking ..." if waits else f"{STOPPED} {again}"


def _none_installed(controls: LesionControls) -> str:
    train = controls.icons.link("train", "Train one")
    return (
        f"No model that says what a lesion may be is installed. {train}, or add one with "
        "<i>napari-melanoma models import</i>."
    )


def _first_capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
