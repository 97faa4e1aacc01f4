"""Convert a finished run of a classifier to the shipped bundle, with the results of a cross-validation in its card.

    python scripts/release_classifier.py runs/melanoma-small --figures OUT/figures.json --data DATA --out BUNDLE

``figures.json`` is the output of ``scripts/cross_validate.py`` for folds of the same recipe; DATA contains the other
data sets on which the bundle itself is evaluated: ``ph2`` and ``pad_ufes`` for ``melanoma-small``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from release_cards import CrossValidationMetrics, full_class_card

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.classes import evaluate_classifier
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import load_network, read_bundle, read_reference, write_bundle
from napari_melanoma.models.graphs import write_graphs

ELSEWHERE = {
    "melanoma-small": {
        "dermoscopic: PH2 (another clinic; age and sex unknown)": "ph2",
        "macroscopic: PAD-UFES-20 (smartphones, not an intended use)": "pad_ufes",
    },
    "lesion-phone": {},
}
MELANOMA_NOTES = """## Data

- ISIC 2017 challenge, training part (dermoscopic; CC0; doi:10.1109/ISBI.2018.8363547), with its diagnoses, ages and
  sexes. `nevus` is used as in the challenge: neither melanoma nor seborrheic keratosis. Two copies of each photograph
  were used: one of at most 512 pixels on its longer side that was enlarged from 256, so that it is soft, and of 1,791
  the sharp center of 512 x 512 pixels (listed as one among the similar cases). No patients are published for it: images
  are kept apart by lesion, if stated, and by similarity.
- The encoder is that of the previous version of `lesion-small`, in the cross-validation of the present one. Both were
  trained on the masks, not the diagnoses, of four fifths of the same photographs and of PAD-UFES-20 (CC BY 4.0); a row
  above counts the others. Initial weights: EfficientNet-Lite0 for ImageNet (Apache 2.0). Both copies of a photograph
  count, and stay in one fold.
- PH2 (Mendonca et al. 2013, doi:10.1109/EMBC.2013.6610779; research and education only) and PAD-UFES-20 (Pacheco et
  al. 2020, doi:10.1016/j.dib.2020.106221) are used for evaluation only.
- The bundle lists the public ISIC images of its training data, to show similar cases.

## Turned and framed photographs

Predictions are means over eight views, turned by quarter turns and mirrored; black around the picture is left out.
With masks of `lesion-small`, which averages four turned views, the probability of melanoma of 24 photographs of ISIC
2017 and 24 of PH2 changes by 0.002 and 0.003 if they are turned by 90 degrees (at most 0.02 if turned by any quarter
turn), by 0.003 and 0.006 if they are mirrored (at most 0.03), and by at most 0.03 in a black frame. Without turned
views of the mask: at most 0.34 if turned.

The cross-validation and its subgroups, and the prediction sets below, were measured with four mirrored views,
before the decision threshold, temperature and limits were determined again on the same calibration images.

## When not to rely on it

- Prediction sets with a nominal coverage of 90 % contain the true class in 0.97 of PH2 and 0.93 of the smartphone
  photographs of the same classes (nevi 0.87).
- Out of distribution, or of another type, are 2 % of PH2 and 90 % of the smartphone photographs.

## Limitations

- Not for diagnosis or any decision about a patient. About one of eleven melanomas is below its decision threshold,
  and more than half of the other lesions are above it. On other collections, its probabilities are less well
  calibrated.
- Young patients: of the melanomas of patients under 30, four of ten are below its threshold, from 30 to 49 two or three
  of ten, as it also uses the age.
- Selection of lesions: it was evaluated on lesions that had been selected for photography and, mostly, for excision.
  Where melanoma is rarer, its probabilities are too high.
- Other diagnoses: it has three classes. Basal cell carcinoma, dermatofibroma and all others are classified as one of
  them, mostly without the warning that the image is out of distribution.
- Types of photograph that it was not trained on: smartphone photographs, total-body tiles, histology, mucosa, nails.
- Dark skin: the training images show mostly light skin (Fitzpatrick I to III), and skin types are unknown.
- Fine structures: the training images were small, and the input is 224 x 224 pixels around the lesion.
"""
PHONE_NOTES = """## Data

- PAD-UFES-20 (smartphone photographs of a Brazilian outpatient program; CC BY 4.0; Pacheco et al. 2020,
  doi:10.1016/j.dib.2020.106221): 687 of its 2,298 images, at most 512 pixels on their longer side, half of them from
  copies of 300 pixels. `malignant`: basal cell carcinoma (214), squamous cell carcinoma (35) and melanoma (26), all
  proven by biopsy. `other`: actinic keratosis (172), nevus (129) and seborrheic keratosis (111), most of them without
  biopsy. Images of a patient are kept in one fold.
- The region of interest comes from masks drawn by students, without a stated license.
- The encoder is that of `melanoma-small`, which was trained on the diagnoses of ISIC 2017 (CC0). Its own start was an
  encoder that was trained on the masks of 546 of these photographs, without diagnoses, also of the test folds; the row
  above counts the 141 others. The initial weights are those of EfficientNet-Lite0 for ImageNet (Apache 2.0).
- Two answers of the patients, whether the lesion grew and whether it changed, are not used: they are unknown mostly
  where a biopsy was taken, which would give the class away.
- No other smartphone photographs with diagnoses were available: how it transfers to other cameras is not known.
- The bundle lists the images of its training data, to show similar cases.

## Turned and framed photographs

Predictions are means over eight views, turned by quarter turns and mirrored; black around the picture is left out.
With masks of `lesion-small`, which averages four turned views, the probability of malignancy of 24 photographs of
PAD-UFES-20 changes by 0.008 if they are turned by 90 degrees (at most 0.06 if turned by any quarter turn), by 0.019 if
they are mirrored (at most 0.11), and by 0.008 in a wide black frame (at most 0.04). Without turned views of the mask:
0.030 and at most 0.30 if turned. With the same mask, 0.007.

The cross-validation and its subgroups were measured with four mirrored views, before the decision threshold,
temperature and limits were determined again on the same calibration images.

## Limitations

- Not for diagnosis or any decision about a patient. Of the 26 melanomas, 8 were below the decision threshold, and
  about half of those of new patients with the version before: most of the malignant lesions of its training are basal
  cell carcinomas.
- The patient's answers (itching, pain, bleeding, elevation) were taken with different care from patients with and
  without a biopsy. Without them the figures are those of the row without clinical metadata.
- Selection of lesions: four of ten were malignant. Where cancer is rarer, its probabilities are too high.
- `other` does not mean harmless: actinic keratosis is a precursor of squamous cell carcinoma. Almost half of them were
  above the threshold.
- Other diagnoses, such as dermatofibroma, inflammation and infection, are classified as one of the two.
- Types of photograph that it was not trained on: dermoscopic images, total-body tiles, histology, mucosa, nails.
- Dark skin: the training images show mostly Fitzpatrick I to III.
- Ink around a lesion, drawn before a biopsy, may have been learned as a sign of malignancy.
"""
NOTES = {"melanoma-small": MELANOMA_NOTES, "lesion-phone": PHONE_NOTES}


def main() -> int:
    """Evaluate on other data sets, and write the bundle with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()

    draft = read_bundle(RunFolder(arguments.run).bundle)
    model = Classifier.load(draft)
    elsewhere = {name: _measure(model, arguments.data / folder) for name, folder in ELSEWHERE[draft.name].items()}
    fields = draft.config.tabular.fields if draft.config.tabular else ()
    found = _read(
        json.loads(arguments.figures.read_text(encoding="utf-8")), arguments.folds, format_names(fields, len(fields))
    )
    card = full_class_card(draft.config, found, elsewhere, NOTES[draft.name])
    assert draft.config.classifier is not None
    evaluated = draft.config.classifier.model_copy(update={"ages": age_groups(found.groups)})
    config = draft.config.model_copy(update={"classifier": evaluated})
    extra_files = [*draft.path.glob(FILE_NAME)]
    released = write_bundle(
        arguments.out, config, load_network(draft), card, reference=read_reference(draft), extra_files=extra_files
    )
    write_graphs(released, load_network(released))
    sys.stdout.write(card)
    return 0


def _measure(model: Classifier, data: Path) -> dict[str, Estimate]:
    """Evaluate on a data set."""
    with TemporaryDirectory() as out:
        options = ClassEvaluationOptions(target="melanoma")
        return evaluate_classifier(model, [data], Path(out), options, run=RunContext()).parts["all"]


def _read(found: Mapping[str, Any], folds: int, fields: str) -> CrossValidationMetrics:
    """Read the results of a cross-validation."""
    inputs = {
        "both": f"photograph, {fields}",
        "new": "the same, only images that its encoder had not seen either",
        "image": "photograph without clinical metadata",
        "form": f"{fields} alone (boosted trees)",
    }
    groups = [CardSubgroup(**{**one, "figures": _estimates(one["figures"])}) for one in found["groups"]]
    images = sum(group.count for group in groups if group.name.startswith("diagnosis"))
    positives = sum(group.positives for group in groups if group.name.startswith("diagnosis"))
    metrics = {words: _estimates(found[name]) for name, words in inputs.items() if name in found}
    gain = _estimates(found["both less image"])["AUC"] if "both less image" in found else None
    sets = _estimates(found.get("sets", {}))
    return CrossValidationMetrics(folds, positives / images, metrics, gain, sets, groups)


def _estimates(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    """Read named estimates; those of a single patient have no interval, which JSON has as null."""
    return {
        name: Estimate(**{key: math.nan if value is None else value for key, value in values.items()})
        for name, values in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
