"""Command ``risk``: predict the risk of metastasis from slides or patches, depth and patient data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    Age,
    Command,
    ConfigOptions,
    OptionValues,
    Out,
    Sex,
    Site,
    drop_unset,
    format_help,
)
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_names

if TYPE_CHECKING:
    from napari_melanoma.extensions.risk.batch import RiskOutcome
    from napari_melanoma.extensions.risk.prediction import RiskPrediction
    from napari_melanoma.lesion.patient_data import PatientTable

HELP = format_help(
    "napari-melanoma risk section.svs --model runs/risk/bundle --metadata patients.csv --out results",
    'napari-melanoma risk "patches/*.png" --model runs/risk/bundle --age 64 --depth-mm 2.4 --out results',
    "Predict the risk of metastasis of a melanoma from patches of 3 mm x 3 mm, its depth and patient data. The patches "
    "of a slide are taken at the deepest point found by the analysis in OUT (or by a reader); a slide without analysis "
    "is analyzed first. Writes OUT/risk.csv and OUT/<stem>/risk.json with the probability, its interval, the "
    "contributions of image, depth and patient data, and the predictions from depth, Clark level and image alone; with "
    "--heatmap, OUT/<stem>/risk/METHOD.tif, which the Slide dock and the report show. "
    "An unreadable file is reported and the others are processed (exit code 1). Research use only.",
)


def risk(
    current: Annotated[CommandSession, "accept_damaged", "backend", "device"],
    cases: Annotated[list[str], typer.Argument(metavar="SLIDE_OR_PATCH", help="Slides or patches, folders, patterns.")],
    model: Annotated[
        list[str], typer.Option(help="Name of a model that predicts metastasis, or the folder of its bundle.")
    ],
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "extensions.risk.prediction:RiskOptions",
            without=("model", "background"),
            names={"heatmap": "--heatmap METHOD"},
        ),
    ],
    metadata: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV with image_id (the file name without suffix), age, sex, site ..."),
    ] = None,
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    depth_mm: Annotated[
        str | None, typer.Option("--depth-mm", help="Breslow thickness, if it was not measured on the slide.")
    ] = None,
) -> None:
    """Predict risks."""
    from napari_melanoma.extensions.risk.batch import assess_risk_of_files, case_name
    from napari_melanoma.extensions.risk.inputs import find_risk_inputs
    from napari_melanoma.extensions.risk.prediction import RiskOptions
    from napari_melanoma.lesion.patient_data import PatientTable

    chosen = RiskOptions.parse({"model": _single_model(model), **options}, "the command line")
    patient = drop_unset(age=age, sex=sex, site=site, depth_mm=depth_mm)
    patients = PatientTable({name: str(value) for name, value in patient.items()}, metadata)
    paths = find_risk_inputs(cases)
    _warn_of_table(current, patients, metadata, [case_name(path) for path in paths])
    current.lock_folder(out)
    summary = assess_risk_of_files(
        paths, out, chosen, patients, run=current.run, on_outcome=lambda outcome: _report_input(current, outcome)
    )
    counts = f"{summary.done} done" + (f", {summary.failed} failed" if summary.failed else "")
    next_step = "each risk.json contains the inputs and contributions"
    if summary.failed:
        next_step = "see the column 'error' there"
    text = f"{counts}: table in {summary.table}; {next_step}. Research use only."
    written = {"out": str(out), "table": str(summary.table)}
    current.finish(text, some_failed=summary.failed > 0, completed=summary.done, failed=summary.failed, **written)


def _single_model(models: list[str]) -> str:
    """Return the model; raise an error if several are given."""
    if len(models) > 1:
        raise InputError(
            f"expected one model, found {len(models)}: {', '.join(models)}. Run the command once for each, each "
            "with its own --out."
        )
    return models[0]


def _warn_of_table(current: CommandSession, patients: PatientTable, table: Path | None, cases: list[str]) -> None:
    """Warn about unrecognized columns, cases without a row in the table, and cases that share a row."""
    for about, note in patients.unrecognized:
        current.report.emit("warning", f"column '{about}' of {table}: {note}", column=about)
    if missing := patients.missing_images(cases):
        names = f"{', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
        text = f"{table} has no row for {names} (image_id): their patient data is treated as unknown"
        current.report.emit("warning", text, lacking=missing)
    if shared := patients.shared_rows(cases):
        text = (
            f"{table} has one row for several inputs of the same name ({format_names(shared)}), which is used for all "
            "of them. If they show different patients, rename the files"
        )
        current.report.emit("warning", text, shared=shared)


def _report_input(current: CommandSession, outcome: RiskOutcome) -> None:
    """Report the prediction for one slide or patch, or why it failed, and its warnings."""
    about = {"case": outcome.name, "path": outcome.path}
    if outcome.prediction is None:
        current.report.emit("failed", f"failed: {outcome.path}: {outcome.error}", **about, error=outcome.error)
    else:
        _report_risk(current, f"{outcome.name}: {outcome.prediction.headline}", outcome.prediction, about)
    for warning in outcome.warnings:
        current.report.emit("warning", f"  {outcome.name}: {warning}", **about, warning=warning)


def _report_risk(current: CommandSession, headline: str, prediction: RiskPrediction, about: dict[str, object]) -> None:
    """Report a prediction with the reasons against it and, if it is valid, its inputs and their contributions.

    ``about``: ``case`` and ``path``, which are part of each event.
    """
    validity = prediction.validity
    current.report.emit(
        "prediction", headline, **about, probability=prediction.probability, validity=validity.to_json()
    )
    for reason in validity.cautions if validity.valid else validity.other_reasons:
        current.report.emit("warning", f"  {about['case']}: {reason}", **about, warning=reason)
    if not validity.valid:
        return
    parts = (
        prediction.depth.description,
        prediction.contributions_text,
        f"unknown: {', '.join(prediction.missing)}" if prediction.missing else "",
    )
    current.report.emit("because", f"  {'; '.join(filter(None, parts))}", **about, shares=prediction.shares)
    if comparisons := prediction.comparisons_text:
        current.report.emit("comparators", f"  for comparison: {comparisons}", **about, comparators=comparisons)


COMMAND = Command(
    risk, HELP, basic=("model", "metadata", "age", "sex", "site", "depth-mm", "mpp", "slide-model", "heatmap")
)
