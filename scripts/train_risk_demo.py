"""Train the demonstration model for the risk of metastasis on synthetic patients, evaluate it, and write its bundle.

    python scripts/train_risk_demo.py OUT

Draws 800 training patients into ``OUT/cohort`` (a fifth of them, in other looks, are the test set) and 400 others into
``OUT/fresh``, trains the shipped recipe ``risk-small`` with three seeds in ``OUT/runs``, evaluates each on both,
including the pointing game, and writes the model with the smallest validation loss as the bundle ``risk-demo`` into
``OUT/bundles``. An interrupted call is resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.comparators import COMPARATORS_FILE
from napari_melanoma.classification.explanation import PointingOptions, run_pointing_game
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.classes import evaluate_classifier
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions
from napari_melanoma.evaluation.model_card import card_header, training_section
from napari_melanoma.metrics.metric_table import DEPTH_METRICS
from napari_melanoma.models.bundle import load_network, read_bundle, read_reference, write_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.phantoms.cohort.dataset import write_cohort
from napari_melanoma.phantoms.cohort.risk_law import CohortConfig
from napari_melanoma.runs.launching import read_run
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.runs.train import train

NAME = "risk-demo"
TITLE = "Risk of metastasis from a patch and patient data, phantom-trained, demonstration for the tutorial and tests"
COHORTS = {"cohort": CohortConfig(seed=3, count=800), "fresh": CohortConfig(seed=0, count=400)}
SEEDS = (0, 1, 2)
KEPT_BACK = "test"  # the split of unseen looks
MEASURED = {
    "fresh": "other patients, unseen stains and nuclei",
    "cohort": "test patients of the same cohort, unseen looks",
}
METHODS = {"grad_cam": "Grad-CAM", "attention": "attention"}
NOTES = """## Intended use

**A demonstration, trained on synthetic patients only. Not valid for real patients.** It shows how the risk of
metastasis is predicted with this program. It was never trained on a slide of a patient, and the formula for the
metastasis of its patients was defined manually. For a real slide its predictions are meaningless, whether or not the
patch is flagged as out of distribution.

## Data

Phantom patients of this program (`napari-melanoma phantom cohort --count 800 --seed 3`): a patch of 3 mm x 3 mm,
thickness, age, sex and site each. The encoder is that of `skin-demo`, which was trained on phantom slides,
from published ImageNet weights of EfficientNet-Lite0 (Apache 2.0). No data are from patients.

## Limitations

- Not for diagnosis, prognosis or research on patients; for testing the program only.
- Not for a comparison with thickness, Clark's level or other models: the formula determines the contribution of each
  input.
"""


def main() -> int:
    """Draw, train, evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--processes", type=int, default=1, help="number of processes for drawing")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.out)  # the bundle stores the path of its data set relative to this folder
    for name, config in COHORTS.items():
        if not (Path(name) / "cohort.json").is_file():
            write_cohort(config, Path(name), arguments.processes, RunContext())
    for seed in SEEDS:
        _train(seed)
    chosen = min(SEEDS, key=_validation_loss)
    order = [chosen, *(seed for seed in SEEDS if seed != chosen)]
    rows = [_measured(seed, name) for seed in order for name in MEASURED]
    draft = read_bundle(_folder(chosen).bundle)
    config = draft.config.model_copy(update={"name": NAME, "title": TITLE, "licence": "BSD-3-Clause"})
    card = "\n".join([card_header(config), *_table(rows), training_section(config), NOTES])
    network, reference = load_network(draft), read_reference(draft)
    target = Path("bundles") / NAME
    extra_files = [*draft.path.glob(FILE_NAME)]
    released = write_bundle(target, config, network, card, reference=reference, extra_files=extra_files)
    write_graphs(released, load_network(released))
    (target / COMPARATORS_FILE).write_bytes((draft.path / COMPARATORS_FILE).read_bytes())
    sys.stdout.write(card)
    return 0


def _folder(seed: int) -> RunFolder:
    """Run folder of a seed."""
    return RunFolder(Path("runs") / str(seed))


def _train(seed: int) -> None:
    """Train, unless the run is finished."""
    folder = _folder(seed)
    if folder.bundle.is_dir():
        return
    shipped, splits = find_shipped_recipe("risk-small"), {"split": "train", "test_split": KEPT_BACK}
    recipe = shipped.complete(["cohort"], shipped.start or "none", data=splits).model_copy(update={"seed": seed})
    train(recipe, folder.path, resume=folder.config.exists(), run=RunContext())


def _validation_loss(seed: int) -> float:
    """Final loss on the validation patients."""
    return read_run(_folder(seed).path).metrics[-1]["validation_loss"]


def _measured(seed: int, name: str) -> str:
    """Row of the table: a seed, evaluated on the test patients of a cohort."""
    classifier, out = Classifier.load(read_bundle(_folder(seed).bundle)), Path("measured") / str(seed) / name
    options = ClassEvaluationOptions(target="metastasis", split=KEPT_BACK)
    found = evaluate_classifier(classifier, [Path(name)], out, options, run=RunContext())
    pointing = PointingOptions(tuple(METHODS), KEPT_BACK)
    games = run_pointing_game(classifier, [Path(name)], out, pointing, run=RunContext())
    law = json.loads((Path(name) / "cohort.json").read_text(encoding="utf-8"))["auc_of_test"]["all"]
    depths = {name: value for name, value in found.parts["all"].items() if name in DEPTH_METRICS}
    hits = " | ".join(f"{games[method].share}" for method in METHODS)
    cells = [
        seed,
        f"{_validation_loss(seed):.3f}",
        MEASURED[name],
        len(found.predictions.labels),
        found.parts["all"]["AUC"],
        f"{law:.3f}",
        depths.get("depth_mae_mm", "-"),
        hits,
    ]
    return f"| {' | '.join(map(str, cells))} | {games['grad_cam'].by_chance:.2f} |"


def _table(rows: list[str]) -> Iterator[str]:
    """Results on all cohorts."""
    yield "## Performance\n"
    yield (
        "With measured thickness, age, sex and site. 95 % intervals in brackets (bootstrap over patients). Best AUC: "
        "that of the formula. Thickness: mean error of the thickness predicted from the image, in mm. Grad-CAM and "
        "attention: share of patches with necrosis whose maximum is on necrosis. The recipe was trained with three "
        "seeds; this bundle is the first in the table, with the smallest validation loss.\n"
    )
    yield "| seed | validation loss | patients | number | AUC | best AUC | thickness | Grad-CAM | attention | chance |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    yield from rows
    yield ""


if __name__ == "__main__":
    sys.exit(main())
