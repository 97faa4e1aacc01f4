"""Commands ``studies ...``: analyses of many results for a publication, which no single patient needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import ConfigOptions, OptionValues, Out, add_command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

READINGS_HELP = format_help(
    "napari-melanoma studies readings results --out agreement",
    'napari-melanoma studies readings reader-a reader-b --out agreement --reader "A. Meyer" --reader model',
    "Collect depth readings and measure the agreement of two readers. The input is result folders with readings saved "
    "by the Slide dock, or folders of such; readings of the same slide are combined, also from different folders of "
    "the readers. Writes readings.csv (one row per reading) and, for the two given readers or the only two readers, "
    "agreement.json (Bland-Altman bias and limits of agreement, ICC(2,1), each with its 95 % interval) "
    "and figures/bland_altman.png. The reader 'model' is the automatic measurement. Files that cannot be read are "
    "reported and the rest is processed (exit code 1).",
)
BIOMARKERS_HELP = format_help(
    "napari-melanoma studies biomarkers runs/risk/bundle --data cohort --tissue-model skin-layers --out biomarkers",
    "napari-melanoma studies biomarkers melanoma-small --data data/isic2017 --count 30 --shown 6 --out biomarkers",
    "Rank the features of a classifier by how well each separates the classes: AUC by patient with its 95 % interval, "
    "and Benjamini-Hochberg q value. Shows the images that activate each feature most, with its activation map. Also "
    "measures properties of the section: nuclear stain, nuclei, pigment, and, with --tissue-model, the share "
    "of the tumor surface without epidermis. Writes OUT/biomarkers.csv, "
    "OUT/biomarkers.json, OUT/measures.csv, OUT/exciting.csv and OUT/figures/gallery.png.",
)
app = typer.Typer(
    help="Analyses for a publication: agreement of readers, features of classifiers, areas of lesions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def readings(
    current: CommandSession,
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Result folders, or folders that contain them.")
    ],
    out: Out,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", metavar="NAME", help="Give it twice: the readers to compare.")
    ] = None,
) -> None:
    """Collect depth readings and measure the agreement of two readers."""
    from napari_melanoma.slides.depth_readings import (
        agreement_to_json,
        collect_readings,
        compare_readers,
        describe_agreement,
        list_comparable_readers,
        list_readers,
        write_readings,
    )

    current.after_stop = "Nothing was written."
    collected = collect_readings(folders)
    for name, error in collected.failed:
        current.report.emit("failed", f"failed: {name}: {error}", slide=name, error=error)
    readers = list_readers(collected)
    comparable = list_comparable_readers(collected)
    chosen = reader or (list(comparable) if len(comparable) == len(readers) == 2 else [])
    agreement = compare_readers(collected, chosen) if chosen else None
    for note in (*collected.notes, *(agreement.notes if agreement else ())):
        current.report.emit("warning", f"Warning: {note}", message=note)
    current.lock_folder(out)
    written = write_readings(collected, agreement, out)
    if agreement is not None:
        current.report.emit_item("agreement", describe_agreement(agreement), **agreement_to_json(agreement))
    count = sum(len(slide.readings) for slide in collected.slides)
    names = ", ".join(readers) or "no reader"
    of_slides = f"of {format_count(len(collected.slides), 'slide')}"
    text = f"{format_count(count, 'reading')} {of_slides} by {names} in {written[0]}."
    if agreement is None and len(readers) != 1:
        text += " Select two readers with --reader to measure their agreement."
    current.finish(f"{text} Research use only.", some_failed=bool(collected.failed), out=str(out), readings=count)


def biomarkers(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    model: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Name of a classifier, or the folder of a bundle or run.")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions("evaluation.biomarkers:BiomarkerOptions", names={"tissue_model": "--tissue-model BUNDLE"}),
    ],
) -> None:
    """Rank the features of a classifier by how well each separates the classes."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.data.dataset import require_outside_datasets
    from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
    from napari_melanoma.lesion.loaded_models import report_loading
    from napari_melanoma.models.installed_bundles import find_bundle

    chosen = BiomarkerOptions.parse(options, "the command line")
    require_outside_datasets(out, data)
    current.lock_folder(out)
    with report_loading(current.run):
        classifier = Classifier.load(find_bundle(model))
    result = find_biomarkers(classifier, data, out, chosen, run=current.run)
    significant = sum(feature.marker.q < 0.05 for feature in result.features)
    best = result.features[0] if result.features else None
    strongest = f"the strongest, {best.name}, has an AUC of {best.marker.auc}; " if best else ""
    for name, reason in result.not_measured.items():
        current.report.emit("not_measured", f"not measured: {name}: {reason}", measure=name, why=reason)
    text = f"{len(result.features)} of {result.feature_count} features: {strongest}{significant} have q below 0.05"
    current.finish(f"{text}; written to {out}", out=str(out), features=len(result.features), sure=significant)


add_command(app, "readings", readings, READINGS_HELP)
add_command(app, "biomarkers", biomarkers, BIOMARKERS_HELP)
