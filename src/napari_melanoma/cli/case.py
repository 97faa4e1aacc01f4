"""``case``: one patient with lesions and images, printed, checked or made without a window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import AcceptDamaged, Debug, Json, examples
from napari_melanoma.cli.session import Session, session
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.wording import counted

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CasePart
    from napari_melanoma.case.predictions import LesionAnswer

HELP = examples(
    "napari-melanoma case P-0042 --from photographs",
    "napari-melanoma case P-0042",
    "Print a case and check it: its patient, lesions and images, and whether files, corrections and results are there "
    "and fit each other. The exit code is 1 where something is wrong. With --from, make the case first, or add to it: "
    "images of a folder, a table of images or a folder of DICOM files, filed by lesion as names, headers and tables "
    "tell. What is guessed has a question mark until somebody confirms it in the Case dock. With --answer, ask a "
    "classifier about every lesion, over all of its images, and keep what it says in answers.json of the case.",
)
PATIENT = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
ON_SLIDES = {"depth_mm": "depth in mm", "clark": "Clark level", "mitoses_per_mm2": "mitoses per mm²"}
PLACE = ("sub_site", "site", "laterality")


def case(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the case.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="PATH", help="Images, a folder, a table; may be given several times."),
    ] = None,
    patient: Annotated[str, typer.Option(help="What the files call the patient, where they tell of several.")] = "",
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML that says what the columns of a table mean.")
    ] = None,
    answer: Annotated[bool, typer.Option("--answer", help="Ask a classifier about its lesions.")] = False,
    classifier: Annotated[
        str, typer.Option(metavar="NAME", help="Which one, with --answer: its name or folder; none: the usual one.")
    ] = "",
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print, check, make or classify a case."""
    with session(json, debug, accept_damaged=accept_damaged) as current:
        _check_options(answer=answer, classifier=classifier, makes=bool(sources))
        if sources:
            _make(current, folder, sources, patient, mapping)
        elif answer:
            _answer(current, folder, classifier)
        else:
            _print(current, folder)


def _check_options(*, answer: bool, classifier: str, makes: bool) -> None:
    """Refuse options that do not go together."""
    if makes and answer:
        raise InputError("--from makes a case, --answer asks about one. Make it first, and ask then.")
    if classifier and not answer:
        raise InputError("--classifier says who answers, so it needs --answer. Add it, or leave both out.")


def _make(current: Session, folder: Path, sources: list[Path], patient: str, map_file: Path | None) -> None:
    """Make a case, or add to it."""
    from napari_melanoma.case.gathering import make_case
    from napari_melanoma.data.mapping import read_mapping

    current.after_stop = f"Nothing was written to {folder}."
    mapping = read_mapping(map_file) if map_file else None
    made = make_case(folder, sources, patient=patient, mapping=mapping, run=current.run)
    for about, said in made.notes:
        current.report.tell("note", f"note: {about}: {said}", about=about, said=said)
    counts = f"{counted(made.added, 'image')} added, {counted(len(made.case.lesions), 'lesion')} in all"
    text = f"{counts}: case in {folder}; next: napari-melanoma case {folder}"
    current.done(text, out=str(folder), added=made.added, lesions=len(made.case.lesions))


def _print(current: Session, folder: Path) -> None:
    """Print a case, and say what is wrong with it."""
    from napari_melanoma.case.check import check_case
    from napari_melanoma.case.store import case_text
    from napari_melanoma.core.parsing import parse_json

    current.after_stop = "Nothing was written."
    found = check_case(folder, run=current.run)
    values = parse_json(case_text(found.case, folder.absolute()), str(folder))
    current.report.listing("case", "\n".join(_lines(found.case)), **values)
    for kind, things in (("fault", found.faults), ("note", found.notes)):
        for about, said in things:
            current.report.tell(kind, f"{kind}: {about}: {said}", about=about, said=said)
    faults = counted(len(found.faults), "fault")
    text = f"{faults} found: mend them, and check again." if found.faults else f"Nothing is wrong with {folder}."
    current.done(text, some_failed=bool(found.faults), case=str(folder), faults=len(found.faults))


def _answer(current: Session, folder: Path, classifier: str) -> None:
    """Ask a classifier about the lesions of a case."""
    from napari_melanoma.case.predictions import answer_with, keep_answers
    from napari_melanoma.case.store import CaseStore

    current.after_stop = f"Nothing was written to {folder}."
    with CaseStore.open(folder) as store:
        answers = answer_with(store, classifier, current.run)
        written = keep_answers(store, answers)
    current.report.listing("answers", "\n".join(_answer_line(one) for one in answers.lesions), **answers.to_json())
    for about, said in answers.notes:
        current.report.tell("note", f"note: {about}: {said}", about=about, said=said)
    counts = f"{counted(len(answers.lesions), 'lesion')} answered by {answers.model.name}"
    text = f"{counts}: {written}. Research use only; not for diagnosis."
    current.done(text, some_failed=bool(answers.notes), out=str(written), lesions=len(answers.lesions))


def _answer_line(one: LesionAnswer) -> str:
    """The answer of a lesion for people."""
    odd = one.odd.sentence if one.odd else ""
    return f"{one.lesion_id}  {'; '.join(filter(None, (one.answer.verdict, odd)))}"


def _lines(shown: Case) -> Iterator[str]:
    """A case for people; a question mark stands behind what is guessed."""
    patient = shown.patient
    named = (_said(patient, name, f"{_title(name)} ") for name in PATIENT)
    yield ", ".join((f"Patient {patient.patient_id or 'unknown'}", *filter(None, named)))
    for lesion in shown.lesions:
        place = " ".join(filter(None, (_said(lesion, name) for name in PLACE))) or "place unknown"
        facts = (_said(lesion, "diagnosis"), *(_said(lesion, name, f"{words} ") for name, words in ON_SLIDES.items()))
        yield f"{lesion.id}  {', '.join((place, *filter(None, facts)))}"
        yield from _image_lines(lesion.images)
    if shown.images:
        yield "Of no lesion yet"
        yield from _image_lines(shown.images)


def _image_lines(images: Iterable[CaseImage]) -> Iterator[str]:
    """The images of a lesion for people."""
    for image in images:
        results = counted(len(image.results), "result") if image.results else ""
        risk = f"risk: {image.risk.headline}" if image.risk else ""
        facts = (_said(image, "modality"), image.taken_on, "corrected" if image.correction else "", results, risk)
        yield f"    {image.id}  {', '.join((image.path.name, *filter(None, facts)))}"


def _said(part: CasePart, name: str, before: str = "") -> str:
    """A value for people, "" where it is not known."""
    text = part.cell(name)
    return f"{before}{text}{' ?' if name in part.guesses else ''}" if text else ""


def _title(name: str) -> str:
    """What people read for a column."""
    from napari_melanoma.data.table_schema import column_named

    column = column_named(name)
    return (column.title if column else name).lower()
