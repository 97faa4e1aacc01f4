"""Command ``adapt``: adapt a classifier to the photographs of a clinic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import ConfigOptions, OptionValues, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.evaluation.adaptation_card import AdaptationFigures
    from napari_melanoma.runs.adapting import Adaptation, AdaptationPlan

HELP = format_help(
    "napari-melanoma adapt melanoma-small datasets/clinic --out melanoma-clinic",
    "napari-melanoma adapt melanoma-small datasets/clinic --target melanoma --group patient_id --check",
    "Adapt a classifier to the photographs of a clinic: fits a linear layer to its outputs on photographs with a "
    "diagnosis, in seconds. From the model as it is to a new layer, the candidate is chosen by cross-validation over "
    "patients; to keep the model is a possible result. Writes a model bundle with both models side by side in its "
    "card. Computed embeddings are stored in DATASET/embeddings, and used again. --check lists the photographs by "
    "class, what is left out and why, and the time needed, and writes nothing.",
)


def adapt(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged", "backend", "device"],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a classifier, or the folder of its bundle.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Data set with the column diagnosis.")],
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "runs.clinic_photographs:AdaptOptions", names={"segmenter": "--segmenter BUNDLE", "only": "--only FILE"}
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="NAME", help="Folder that receives the bundle; its name.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only report what would be used, and the time.")] = False,
) -> None:
    """Adapt a classifier."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.runs.adapting import adapt as adapt_model
    from napari_melanoma.runs.adapting import plan_adaptation
    from napari_melanoma.runs.clinic_photographs import AdaptOptions

    chosen, info = AdaptOptions.parse(options, "the command line"), find_bundle(model)
    if check:
        plan = plan_adaptation(info, dataset, chosen, run=current.run)
        _report_plan(current, plan)
        done = f"Not possible: {plan.refusal}" if plan.missing else f"Possible, in about {plan.minutes:g} min."
        current.finish(done, some_failed=bool(plan.missing), **vars(plan))
        return
    if out is None:
        raise InputError("the name of the adapted model is missing. Add --out NAME, or use --check.")
    current.after_stop = "Run the same command again to continue; computed embeddings are kept."
    result = adapt_model(info, dataset, out, chosen, run=current.run)
    _report_plan(current, result.plan)
    for warning in result.warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    for figure, text in _list_figures(result.figures).items():
        current.report.emit_item("figure", text, metric=figure)
    current.finish(_summarize(result), **result.to_json())


def _report_plan(current: CommandSession, plan: AdaptationPlan) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in plan.classes.items())
    groups = f"{plan.groups:,} {'patient or lesion' if plan.groups == 1 else 'patients or lesions'}"
    text = f"{format_count(plan.photographs, 'photograph')} of {groups}: {counts}"
    current.report.emit("photographs", text, classes=dict(plan.classes), groups=plan.groups)
    current.report.emit("candidates", f"Candidates: {', '.join(plan.candidates)}", candidates=plan.candidates)
    for note in plan.notes:
        current.report.emit("note", f"note: {note}", message=note)


def _list_figures(figures: AdaptationFigures) -> dict[str, str]:
    """Return the line of each figure: both models."""
    return {
        name: f"{name.replace('_', ' ')}: {figures.shipped[name]} as it is, {one} adapted"
        for name, one in figures.adapted.items()
        if name in figures.shipped
    }


def _summarize(result: Adaptation) -> str:
    from napari_melanoma.evaluation.pages import ADVICE

    if result.bundle is None:
        return f"Keep '{result.plan.model}': no candidate predicts these photographs better. Nothing was written."
    return (
        f"{result.chosen}. {ADVICE[result.figures.advice]} {result.figures.reason} Bundle in {result.bundle.path}; to "
        f"install it: napari-melanoma models import {result.bundle.path}"
    )
