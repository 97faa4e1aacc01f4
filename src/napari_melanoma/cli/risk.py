"""``risk``: how likely melanomas have spread, from slide or patch, depth and patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.classifier_options import Age, Metadata, Sex, Site, drop_unset
from napari_melanoma.cli.options import AcceptDamaged, Debug, Json, Out, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.lesion.patient_data import PatientTable
    from napari_melanoma.risk.batch import RiskOutcome
    from napari_melanoma.risk.prediction import RiskPrediction

HELP = examples(
    "napari-melanoma risk section.svs --model runs/risk/bundle --metadata patients.csv --out results",
    'napari-melanoma risk "patches/*.png" --model runs/risk/bundle --age 64 --depth-mm 2.4 --out results',
    "Tell how likely a melanoma has spread, from patches of 3 mm x 3 mm, its depth and the patient. Of a slide the "
    "patches lie where the analysis in OUT (or a reader) found the deepest place; a slide that was not analysed is. "
    "Writes OUT/risk.csv and OUT/<stem>/risk.json with the probability, its interval, what image, depth and patient "
    "move it by, and what depth, Clark's level and the image say alone. A bad file is reported and the others go on "
    "(exit code 1). Research use only.",
)


def risk(
    cases: Annotated[list[str], typer.Argument(metavar="SLIDE_OR_PATCH", help="Slides or patches, folders, patterns.")],
    model: Annotated[
        list[str], typer.Option(help="Name of a model that tells metastasis, or the folder of its bundle.")
    ],
    out: Out,
    metadata: Metadata = None,
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    depth_mm: Annotated[
        str | None, typer.Option("--depth-mm", help="Thickness where nobody measured it on the slide.")
    ] = None,
    pool: Annotated[
        Literal["mean", "maximum"] | None, typer.Option(help="How predictions of patches are pooled.")
    ] = None,
    patches: Annotated[int | None, typer.Option(help="Patches of a slide, at most.")] = None,
    patch_mm: Annotated[float | None, typer.Option("--patch-mm", help="Side of a patch, as learnt.")] = None,
    reader: Annotated[str | None, typer.Option(help="Whose reading of the depth counts; else the latest.")] = None,
    slide_model: Annotated[
        str | None, typer.Option("--slide-model", help="By which a slide is analysed that was not yet.")
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Of slides, also draw attention and Grad-CAM, for page and Slide dock.")
    ] = False,
    mpp: Annotated[
        float | None, typer.Option(help="Micrometres per pixel, where a slide does not say it or says it wrong.")
    ] = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell risks."""
    with command_session(json, debug, accept_damaged=accept_damaged) as current:
        from napari_melanoma.lesion.patient_data import PatientTable
        from napari_melanoma.risk.batch import assess_risk_of_files, case_name
        from napari_melanoma.risk.inputs import find_risk_inputs
        from napari_melanoma.risk.prediction import RiskOptions

        values = drop_unset(
            pool=pool, patches=patches, patch_mm=patch_mm, reader=reader, slide_model=slide_model, mpp=mpp
        )
        options = RiskOptions.parse({"model": _single_model(model), "maps": maps, **values}, "the command line")
        known = drop_unset(age=age, sex=sex, site=site, depth_mm=depth_mm)
        forms = PatientTable({name: str(value) for name, value in known.items()}, metadata)
        paths = find_risk_inputs(cases)
        _warn_of_table(current, forms, metadata, [case_name(path) for path in paths])
        current.lock_folder(out)
        done = assess_risk_of_files(
            paths, out, options, forms, run=current.run, on_outcome=lambda one: _report_input(current, one)
        )
        counts = f"{done.done} done" + (f", {done.failed} failed" if done.failed else "")
        step = "see the column 'error' there" if done.failed else "each risk.json says what it rests on"
        text = f"{counts}: table in {done.table}; {step}. For research only."
        written = {"out": str(out), "table": str(done.table)}
        current.finish(text, some_failed=done.failed > 0, completed=done.done, failed=done.failed, **written)


def _single_model(models: list[str]) -> str:
    """The model; of several none is taken silently."""
    if len(models) > 1:
        raise InputError(
            f"an answer is that of one model; found {len(models)}: {', '.join(models)}. Run it once for each, each "
            "with an --out of its own."
        )
    return models[0]


def _warn_of_table(current: CommandSession, forms: PatientTable, table: Path | None, cases: list[str]) -> None:
    """Name the columns that are not recognized and the cases that the table has no row for."""
    for about, said in forms.unrecognized:
        current.report.emit("warning", f"column '{about}' of {table}: {said}", column=about)
    if lacking := forms.missing_images(cases):
        who = f"{', '.join(lacking[:5])}{' and others' if len(lacking) > 5 else ''}"
        said = f"{table} has no row for {who} (image_id): what it would say is taken as not known"
        current.report.emit("warning", said, lacking=lacking)


def _report_input(current: CommandSession, outcome: RiskOutcome) -> None:
    """Say the answer to one input, what it rests on, and what a reader should know."""
    about = {"case": outcome.name, "path": outcome.path}
    if outcome.prediction is None:
        current.report.emit("failed", f"failed: {outcome.path}: {outcome.error}", **about, error=outcome.error)
    else:
        _report_risk(current, f"{outcome.name}: {outcome.prediction.headline}", outcome.prediction, about)
    for warning in outcome.warnings:
        current.report.emit("warning", f"  {outcome.name}: {warning}", **about, warning=warning)


def _report_risk(current: CommandSession, said: str, answer: RiskPrediction, about: dict[str, object]) -> None:
    """Say an answer, and what it rests on."""
    validity = answer.validity
    current.report.emit("answer", said, **about, probability=answer.probability, validity=validity.to_json())
    for reason in validity.cautions if validity.valid else validity.other_reasons:
        current.report.emit("warning", f"  {about['case']}: {reason}", **about, warning=reason)
    if not validity.valid:
        return
    parts = (
        answer.depth.description,
        answer.contributions_text,
        f"not known: {', '.join(answer.missing)}" if answer.missing else "",
    )
    current.report.emit("because", f"  {'; '.join(filter(None, parts))}", **about, shares=answer.shares)
    if answer.comparisons_text:
        current.report.emit(
            "beside", f"  beside it: {answer.comparisons_text}", **about, beside=answer.comparisons_text
        )
