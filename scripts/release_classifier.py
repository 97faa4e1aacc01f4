"""Turn a finished run of a classifier into the bundle that ships: its card has the figures of a cross-validation.

    python scripts/release_classifier.py runs/melanoma-small --figures OUT/figures.json --data DATA --out BUNDLE

``figures.json`` is what ``scripts/cross_validate.py`` wrote of the same recipe; DATA holds the folders ``ph2`` and
``pad_ufes``, on which the bundle itself is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari_melanoma.classification.predictor import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
from napari_melanoma.evaluation.evaluate_classes import evaluate_classifier
from napari_melanoma.evaluation.model_card import CardSubgroup, CrossValidationMetrics, age_groups, full_class_card
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import load_network, read_bundle, read_reference, write_bundle

ASKED = {
    "both": "photograph, age and sex",
    "image": "photograph, an empty form",
    "form": "age and sex alone (boosted trees)",
}
ELSEWHERE = {
    "dermoscopic: PH2 (another clinic; no age, no sex)": "ph2",
    "macroscopic: PAD-UFES-20 (smartphones, which it is not for)": "pad_ufes",
}
NOTES = """## Data

- ISIC 2017 challenge, training part (dermoscopic; CC0; doi:10.1109/ISBI.2018.8363547), with its diagnoses, ages and
  sexes. `nevus` is what the challenge calls so: neither melanoma nor seborrheic keratosis. The copy used had at most
  512 pixels on its longer side and was enlarged from 256, so it is soft. No patients are published for it: images are
  kept apart by lesion, where one is named, and by what looks the same.
- The encoder is that of `lesion-small`, which has seen the same photographs and those of PAD-UFES-20 (CC BY 4.0) with
  their masks, in the folds too, and no diagnosis; it starts from ImageNet weights of EfficientNet-Lite0 (Apache 2.0).
- PH2 (Mendonca et al. 2013, doi:10.1109/EMBC.2013.6610779; research and education only) and PAD-UFES-20 (Pacheco et
  al. 2020, doi:10.1016/j.dib.2020.106221) are used for measuring alone.
- The bundle names the public ISIC images that it learnt from, to show which of them look alike.

## What it is not for

- Diagnosis, or any decision about a patient. Of seven melanomas it leaves about one below its cut.
- The young: of patients under 50 it leaves four of ten melanomas below its cut, as it goes by the age, too.
- Deciding which mole to look at: it was measured on lesions that somebody had chosen to photograph and, mostly, to
  remove. Where melanoma is rarer than there, its probabilities are too high.
- Other questions: it knows three classes. Basal cell carcinoma, dermatofibroma and all else is answered as if it were
  one of them, mostly without the warning that the picture is unlike its training.
- Kinds of photograph that it was not trained on: smartphone photographs, total-body tiles, histology, mucosa, nails.
- Dark skin: the images it learnt from show mostly light skin (Fitzpatrick I to III), and no skin type is known.
- Fine structures: its images were small and soft, and it looks at 160 x 160 pixels around the lesion.
"""


def main() -> int:
    """Measure elsewhere, write the bundle with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()

    draft = read_bundle(RunFolder(arguments.run).bundle)
    model = Classifier.load(draft)
    elsewhere = {name: _measure(model, arguments.data / folder) for name, folder in ELSEWHERE.items()}
    found = _read(json.loads(arguments.figures.read_text(encoding="utf-8")), arguments.folds)
    card = full_class_card(draft.config, found, elsewhere, NOTES)
    assert draft.config.classifier is not None
    judged = draft.config.classifier.model_copy(update={"ages": age_groups(found.groups)})
    config = draft.config.model_copy(update={"classifier": judged})
    beside = [*draft.path.glob(FILE_NAME)]
    write_bundle(arguments.out, config, load_network(draft), card, reference=read_reference(draft), extra_files=beside)
    sys.stdout.write(card)
    return 0


def _measure(model: Classifier, data: Path) -> dict[str, Estimate]:
    """Evaluate on a data set."""
    with TemporaryDirectory() as out:
        options = ClassEvaluationOptions(target="melanoma")
        return evaluate_classifier(model, [data], Path(out), options, run=RunContext()).parts["all"]


def _read(found: Mapping[str, Any], folds: int) -> CrossValidationMetrics:
    """Read the figures of a cross-validation."""
    groups = [CardSubgroup(**{**one, "figures": _estimates(one["figures"])}) for one in found["groups"]]
    images = sum(group.count for group in groups if group.name.startswith("diagnosis"))
    positives = sum(group.positives for group in groups if group.name.startswith("diagnosis"))
    asked = {words: _estimates(found[name]) for name, words in ASKED.items()}
    gain = Estimate(**found["both less image"]["AUC"])
    return CrossValidationMetrics(folds, positives / images, asked, gain, _estimates(found["sets"]), groups)


def _estimates(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    """Read named estimates."""
    return {name: Estimate(**values) for name, values in found.items()}


if __name__ == "__main__":
    sys.exit(main())
