"""``biomarkers``: what of pictures tells the classes apart, as a model sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.classifier_options import Target, drop_unset
from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, Out, examples
from napari_melanoma.cli.session import command_session

HELP = examples(
    "napari-melanoma biomarkers runs/risk/bundle --data cohort --split test --tissue-model skin-demo --out biomarkers",
    "napari-melanoma biomarkers melanoma-small --data data/isic2017 --count 30 --shown 6 --out biomarkers",
    "Rank the features of a classifier's embedding by how well each tells the classes apart (AUC of patients, 95 % "
    "interval, q of Benjamini and Hochberg), and show each by the pictures that excite it most and by its map on them. "
    "Beside them what can be counted in a section: nuclear stain, nuclei, pigment, and with --tissue-model how much of "
    "the tumour's surface has no epidermis. Writes OUT/biomarkers.csv, "
    "OUT/biomarkers.json, OUT/measures.csv, OUT/exciting.csv and OUT/figures/gallery.png.",
)


def biomarkers(
    model: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a classifier, or the folder of a bundle.")],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DATASET", help="Folder of a data set; may be given several times.")
    ],
    out: Out,
    count: Annotated[int | None, typer.Option(help="How many features; 15 by default.")] = None,
    shown: Annotated[int | None, typer.Option(help="Pictures of each; 4 by default.")] = None,
    split: Annotated[str | None, typer.Option(help="Only pictures of this split, such as 'test'.")] = None,
    target: Target = None,
    tissue_model: Annotated[
        str | None,
        typer.Option(
            "--tissue-model",
            metavar="BUNDLE",
            help="A model that draws epidermis and tumour, such as skin-demo: also measure the share of ulceration.",
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which features tell the classes apart."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.classification.predictor import Classifier
        from napari_melanoma.evaluation.biomarkers import BiomarkerOptions, find_biomarkers
        from napari_melanoma.lesion.loaded_models import report_loading
        from napari_melanoma.models.registry import find_bundle

        values = drop_unset(count=count, shown=shown, split=split, target=target, tissue_model=tissue_model)
        options = BiomarkerOptions.parse(values, "the command line")
        current.lock_folder(out)
        with report_loading(current.run):
            classifier = Classifier.load(find_bundle(model))
        found = find_biomarkers(classifier, data, out, options, run=current.run)
        sure = sum(one.marker.q < 0.05 for one in found.features)
        best = found.features[0] if found.features else None
        said = f"the strongest, {best.name}, has an AUC of {best.marker.auc}; " if best else ""
        for name, why in found.not_measured.items():
            current.report.emit("not_measured", f"not measured: {name}: {why}", measure=name, why=why)
        text = f"{len(found.features)} of {found.feature_count} features: {said}{sure} have q below 0.05"
        current.finish(f"{text}; written to {out}", out=str(out), features=len(found.features), sure=sure)
