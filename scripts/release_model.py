"""Convert a finished run to the shipped bundle: evaluate it on held-out images, and write its card and graphs.

    python scripts/release_model.py runs/lesion-small --data DATA --out src/napari_melanoma/models/weights/lesion-small

DATA contains the folders ``isic2017``, ``pad_ufes`` and ``ph2``. Prints the effect of half-precision storage. A model
that answers prompts also needs ``--clicks``, the folders of its evaluations by ``benchmarks/clicks.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from release_cards import full_card

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.masks import EvaluationOptions, MaskEvaluation, evaluate_masks
from napari_melanoma.lesion.prompting import load_any_segmenter
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo, load_network, read_bundle, write_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.models.inference import TorchNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

ELSEWHERE = {"dermoscopic: PH2, all (another clinic)": ("ph2", None)}
HELD_OUT = {
    **ELSEWHERE,
    "dermoscopic: ISIC 2017, a fifth of its training set": ("isic2017", "val"),
    "macroscopic: PAD-UFES-20, `val` split": ("pad_ufes", "val"),
}
DATA_NOTES = """## Data

- ISIC 2017 challenge, training part (dermoscopic; CC0; doi:10.1109/ISBI.2018.8363547), masks by several experts and
  tools. The copy used had at most 512 pixels on its longer side and was enlarged from 256, so it is soft.
- PAD-UFES-20 (smartphone, macroscopic; CC BY 4.0; Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221); masks drawn by
  students, not by physicians, published without a stated license. Two of them agree with a median Dice of about 0.81.
- PH2 (Mendonca et al. 2013, doi:10.1109/EMBC.2013.6610779; research and education only) is used for evaluation only.
- The initial weights of the encoder are published ImageNet weights of EfficientNet-Lite0 (Apache 2.0).

No patient identifiers are published for ISIC 2017 and PH2: images are kept apart by lesion and by near-duplicates in
the first, and by image in the second. PAD-UFES-20 is split by patient.

Sharp copies of most photographs of ISIC 2017 (512 x 512 pixels) and, as truths of their own, second drawings of masks
of PAD-UFES-20 by other students were used for training, too.
"""

PROMPTED_NOTES = """
A simulated user prompted and corrected each image up to three times per step.
"""
CLICK_METRICS = ("DI 0", "DI 1", "DI 2", "DI 3", "DI 5", "DI best of hypotheses", "NoC 85", "NoC 90")
CLICKS = """## Performance by clicks

A simulated user clicks in the middle of the largest error, at most 5 times. DI n: Dice after n clicks; NoC: clicks to a
Dice of 0.85 or 0.90, 5 if it is not reached. Intervals as above. Random walk and flood, which begin with the mask of
`lesion-small` and with none, for comparison.
"""


def main() -> int:
    """Evaluate, write the bundle, and compare both precisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clicks", type=Path, nargs="+", default=[], help="evaluations by clicks")
    parser.add_argument("--title", help="title of the bundle; by default that of the recipe")
    parser.add_argument("--licence", help="license of the bundle; by default that of the recipe")
    arguments = parser.parse_args()

    folder = RunFolder(arguments.run)
    draft = read_bundle(folder.bundle)
    if draft.config.answers_prompts != bool(arguments.clicks):
        parser.error("--clicks is for models that answer prompts, and they need it")
    stored = _measure(load_any_segmenter(draft), arguments.data)
    failed = [str(name) for name, evaluation in stored.items() if evaluation.failed]
    if failed:
        sys.stderr.write(f"not released: some images of {', '.join(failed)} could not be measured\n")
        return 1
    exact = _measure(_exact(folder, draft), arguments.data)
    for name, evaluation in stored.items():
        dice, full = evaluation.parts["all"]["DI"], exact[name].parts["all"]["DI"]
        sys.stdout.write(f"{name}: Dice {dice}, change by half precision {dice.mean - full.mean:+.5f}\n")
    named = {"title": arguments.title, "licence": arguments.licence}
    config = draft.config.model_copy(update={key: value for key, value in named.items() if value})
    notes = DATA_NOTES
    if arguments.clicks:
        notes += PROMPTED_NOTES + _click_tables(arguments.clicks)
    card = full_card(config, {name: found.parts["all"] for name, found in stored.items()}, notes, ELSEWHERE)
    extra_files = [*draft.path.glob(FILE_NAME)]
    released = write_bundle(arguments.out, config, load_network(draft), card, extra_files=extra_files)
    write_graphs(released, load_network(released))
    return 0


def _click_tables(evaluations: Sequence[Path]) -> str:
    """Write the metrics of each data set of evaluations by clicks as Markdown tables."""
    parts = {name: some for one in evaluations for name, some in read_json(one / "clicks.json")["metrics"].items()}
    lines = ["", CLICKS]
    for part, methods in parts.items():
        if part == "all":
            continue
        first = next(iter(methods.values()))
        lines += [f"{part}, {first['DI 0']['count']} images:", "", "| | " + " | ".join(methods) + " |"]
        lines += ["|---" * (len(methods) + 1) + "|"]
        lines += [
            f"| {metric} | " + " | ".join(str(Estimate(**one[metric])) for one in methods.values()) + " |"
            for metric in CLICK_METRICS
        ]
        lines.append("")
    return "\n".join(lines)


def _exact(folder: RunFolder, draft: BundleInfo) -> Segmenter:
    """Load the network in its training precision."""
    import torch

    network = load_network(draft)
    is_last = draft.config.provenance["recipe"]["keep"] == "last"
    checkpoint = folder.last_checkpoint if is_last else folder.best_checkpoint
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): value for name, value in state.items()})
    return Segmenter(draft, TorchNetwork(network, draft.config))


def _measure(segmenter: Segmenter, data: Path) -> dict[str, MaskEvaluation]:
    """Evaluate on each held-out set."""
    with TemporaryDirectory() as out:
        return {
            name: evaluate_masks(
                segmenter, [data / folder], Path(out), EvaluationOptions(split=split), run=RunContext()
            )
            for name, (folder, split) in HELD_OUT.items()
        }


if __name__ == "__main__":
    sys.exit(main())
