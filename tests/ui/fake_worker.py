"""A fake worker without a network: dark is lesion, large and old is melanoma; the model's name selects faults.

Each test with a window starts one and most use few verbs, so every verb has its own imports.
"""

from __future__ import annotations

import os
import sys
import time

from napari_melanoma import worker
from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import BundleError, InputError


def prepare_segmenter(model, run):
    pass


def prepare_classifier(model, run):
    pass


def make_stamp(model):
    from napari_melanoma.lesion.analysis import ModelStamp

    return ModelStamp(model, "0" * 64, "cpu", 0.5, backend="onnxruntime")


def segment(model, photograph, flips, run):
    import numpy as np

    from napari_melanoma.lesion.segmentation import LesionPrediction

    run.report(Progress(0, None, "Finding the lesion"))
    if model.startswith("slow"):
        time.sleep(float(model.removeprefix("slow-")))
    if model == "dies":
        os._exit(3)
    if model == "nonsense":
        raise BundleError("there is no model named 'nonsense' (known: lesion-small), and no folder of that path.")
    sys.stdout.write("a library that prints\n")
    gray = photograph.values.astype(np.float32).mean(axis=2) / 255
    probability = (1 / (1 + np.exp(20 * (gray - 0.5)))).astype(np.float32)
    # At a threshold of 0.5 the predictions differ on the skin, at 0.9 in the lesion.
    spread = np.stack([20 * (0.5 - gray) - 5, 20 * (0.5 - gray) + 5]).astype(np.float32) if flips else None
    return LesionPrediction(probability, spread), make_stamp(model)


def encode(model, photograph, run):
    """Nothing is to be computed for the masks of ``prompt``."""


def prompt(model, photograph, prompts, run):
    """Three masks: the dark pixels, fewer and more of them; what was clicked is in all."""
    import numpy as np

    gray = photograph.values[::2, ::2].astype(np.float32).mean(axis=2) / 255
    logits = np.stack([20 * (limit - gray) for limit in (0.3, 0.5, 0.7)]).astype(np.float32)
    return logits, np.array([0.6, 0.9, 0.7], np.float32), make_stamp(model)


def find_lesions(model, photograph, run):
    """The components of the dark pixels."""
    import numpy as np
    from scipy import ndimage

    from napari_melanoma.imaging.prompts import Point

    gray = photograph.values[::2, ::2].astype(np.float32).mean(axis=2) / 255
    parts, count = ndimage.label(gray < 0.5)
    logits = np.array([np.where(parts == n, 5, -5) for n in range(1, count + 1)], np.float32)
    centers = ndimage.center_of_mass(parts > 0, parts, range(1, count + 1))
    seeds = [Point(2 * row, 2 * column) for row, column in centers]
    return logits, np.full(count, 0.9, np.float32), seeds, make_stamp(model)


def rate(model, path, measure, run):
    """The number at the end of the file name is the score in percent; the words before select faults."""
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.lesion.uncertainty_ratings import Rating
    from napari_melanoma.models.installed_bundles import find_bundle

    kind, _, number = path.stem.rpartition("-")
    if kind == "slow":
        time.sleep(1)
    if kind == "dies":
        os._exit(3)
    rgb = read_photograph(path).rgb
    found = kind != "empty", array_fingerprint(rgb), model, find_bundle(model).fingerprint
    return Rating(int(number) / 100, measure, *found)


def embed_photograph(model, folder, files, run):
    """The mask is the dark pixels; the embedding depends on their shade.

    An image named "dies" ends the process, and one named "bare" has the error of a model without an encoder.
    """
    import numpy as np

    from napari_melanoma.classification.embeddings import EmbeddingStore
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.io.results import write_mask
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.runs.labeling import make_key

    image = files.image
    if image.stem.startswith("dies"):
        os._exit(3)
    if image.stem.startswith("bare"):
        raise BundleError("'melanoma-small' has no encoder, and cannot be adapted.")
    rgb, info = read_photograph(image).rgb, find_bundle(model)
    store, segmenter = EmbeddingStore(folder, info), find_bundle("lesion-small")
    key, path = make_key(store, segmenter, files)
    if not key:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, rgb.mean(axis=2) < 128)
        key, path = make_key(store, segmenter, files)
    shade = (float(rgb[60, 80, 2]) - 60) / 30
    store.folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        store.folder / f"{key}.npz",
        embedding=np.random.default_rng(int(rgb.sum())).normal(shade, 0.1, 320).astype(np.float32),
        logits=np.array([shade / 4, 0, -1], np.float32),
        kind=np.array("dermoscopic"),
        probability=np.array(0.99),
        pixels=np.array(int(rgb.sum()), np.uint64),
    )


OPERATING_POINT = {
    "target_sensitivity": 0.9,
    "threshold": 0.2,
    "sensitivity": 0.91,
    "sensitivity_interval": [0.86, 0.95],
    "specificity": 0.55,
}
FORM = ("age", "sex")


def likely(share, row):
    """Melanoma by the share of the photograph that is lesion, by age and by sex."""
    import numpy as np

    logit = 20 * (share - 0.1) + (float(row.get("age") or 50) - 50) / 25 + (row.get("sex") == "male")
    return 1 / (1 + np.exp(-logit))


def classify(model, photograph, about, masks, row, run):
    mask, labels = masks
    if mask.shape != photograph.values.shape[:2]:
        raise InputError("the mask is of another photograph.")
    if not mask.any():
        raise InputError("there is no lesion to look at: draw the lesion.")
    if "slow" in model:
        run.report(Progress(0, None, "Loading the model"))
        time.sleep(60)
    lesions = [] if labels is None else [labels == number for number in range(1, labels.max() + 1)]
    return [describe_share(float(lesion.mean()), model, row) for lesion in (mask, *lesions)]


def describe_share(share, model, known):
    from napari_melanoma.classification.prediction import ClassPrediction

    row = {name: value for name, value in known.items() if name in FORM}
    probability = likely(share, row)
    changes = [
        {
            "field": name,
            "value": value,
            "change": probability - likely(share, {k: v for k, v in row.items() if k != name}),
        }
        for name, value in row.items()
    ]
    alike = [{"image_id": f"ISIC_{index:07}", "diagnosis": "nevus", "distance": 0.1 * index} for index in range(3)]
    answer = {
        "classes": ["other", "melanoma"],
        "positive": "melanoma",
        "probabilities": [1 - probability, probability],
        "interval": [max(0.0, probability - 0.1), min(1.0, probability + 0.1)],
        "possible": ["other", "melanoma"]
        if 0.1 < probability < 0.9
        else ["melanoma"]
        if probability > 0.5
        else ["other"],
        "coverage": 0.9,
        "operating_point": {**OPERATING_POINT, "specificity_interval": [0.5, 0.6]},
        "novelty": {"distance": 30.0 if "novel" in model else 10.0, "limit": 20.0},
        "contributions": changes,
        "from_image": likely(share, {}),
        "neighbours": alike,
        "missing": [name for name in FORM if name not in row],
        "unused": [name for name in known if name not in FORM],
        "warnings": [],
        "age_group": None,
        "validity": {"valid": True},
        "model": {"name": model, "title": model, "fingerprint": "0" * 64, "device": "cpu", "modalities": []},
        "options": {"model": model},
        "provenance": {"pid": os.getpid()},
    }
    if "three" in model:
        answer["classes"], answer["probabilities"] = ["nevus", "other", "melanoma"], [0.0, 1 - probability, probability]
    return ClassPrediction.from_json(answer)


def classify_case(folder, model, run):
    """Each lesion is larger than the previous one; the last is an outlier."""
    from napari_melanoma.case.results import CasePredictions, collect_metadata, compute_input_digest
    from napari_melanoma.case.store import CaseStore

    case = CaseStore.open_read_only(folder).case
    model = "melanoma-test" if model == "auto" else model
    if "slow" in model:
        time.sleep(60)
    lesions = []
    for index, lesion in enumerate(found for found in case.lesions if found.images):
        row = collect_metadata(case, lesion, lesion.images[0])
        prediction = describe_share(0.05 * (index + 1), model, row).to_json()
        used = {*prediction["missing"], *(one["field"] for one in prediction["contributions"])}
        odd = {"lesions": 3, "rank": 3 - index, "distance": 0.1, "z": 5.0 * index}
        lesions.append(
            {
                "lesion_id": lesion.id,
                "image_ids": [image.id for image in lesion.images],
                "prediction": prediction,
                "outlier": odd,
                "input_digest": compute_input_digest(case, lesion, used),
            }
        )
    notes = [[image.id, "is a slide."] for _, image in case.iterate_images() if image.modality == "wsi"]
    return CasePredictions.from_json({"version": 1, "created": "", "notes": notes, "lesions": lesions})


def explain(model, photograph, mask, row, method, target, run):
    """High where the mask is, depending on the method and the class; nowhere for the class ``other``."""
    import numpy as np

    if (method, target) == ("occlusion", "other"):
        raise InputError("this network has no map for occlusion.")
    heat = mask.astype(np.float32) * (0.5 if method == "occlusion" else 1.0)
    return heat * np.float32({"nevus": 0.25, "other": 0.0}.get(target, 1.0))


def predict_slide_risk(slide, folder, options, row, run):
    """The patient's age in percent; ages 13 to 16 select faults and delays."""
    from fake_models import make_risk_prediction

    from napari_melanoma.core.files import write_json
    from napari_melanoma.slides.result_folder import record_slide

    age = int(row.get("age") or 50)
    run.report(Progress(1, 3, "Reading the deepest places"))
    if age == 13:
        os._exit(3)
    if age == 14:
        time.sleep(60)
    if age == 15:
        raise InputError("there is no tumour to look at.")
    time.sleep(0.3 * (age == 16))
    record_slide(folder, slide, record_name=True)
    write_json(folder / "risk.json", make_risk_prediction(age / 100, row, options))


def explain_slide_risk(slide, folder, model, method, run):
    """A quarter of each patch for attention, nowhere for CAM; occlusion is not available."""
    import numpy as np

    from napari_melanoma.extensions.risk.maps import compose_patch_maps, write_risk_map
    from napari_melanoma.extensions.risk.slide_files import patch_boxes, read_risk

    if method == "occlusion":
        raise InputError("this network has no map for occlusion.")
    heat = np.zeros((4, 4), np.float32)
    heat[:2, :2] = method == "attention"
    prediction = read_risk(folder).prediction
    boxes = patch_boxes(prediction)
    write_risk_map(folder, prediction, method, compose_patch_maps([heat] * len(boxes), boxes, (512, 512)))


if __name__ == "__main__":
    worker.import_module = lambda name: sys.modules["__main__"]
    worker.main()
