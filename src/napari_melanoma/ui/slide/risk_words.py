"""What the Risk fold says, in sentences, from what lies beside the slide; no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from napari_melanoma.ui.answer.words import field_title

if TYPE_CHECKING:
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.workflows.risk_answer import DepthUsed
    from napari_melanoma.workflows.slide_risk_files import RiskKept

ELSEWHERE = ("depth_mm", "clark", "ulceration", "mitoses_per_mm2")  # set in the fold Depth, and told from there
NONE_INSTALLED = (
    "No model that tells metastasis is installed, and none for real patients is part of this program: there are no "
    "public slides to learn from. Train one in the Train dock with the recipe <i>risk-small</i>, on patches of your "
    "own or, to try it out, on a phantom cohort; or choose the folder of a bundle above."
)
NO_PLACE = "Nothing says yet where the melanoma is: analyse the slide, or measure the thickness in the fold Depth."
NO_SCALE = "A patch has a size in millimetres: set the scale first, with the ruler beside the slide's name."
NOT_BRIGHTFIELD = "The models have learnt from brightfield stains."
NO_MODEL = "Pick a model that tells metastasis."
AT_WORK = "It is at work."
PHANTOM = "'{}' was trained on synthetic patients only. Not valid for real patients."
OTHERWISE = "This is the answer of before: {} since. Estimate again."
NO_SHARES = "The model remembers no training cases: what each part changes is not known."


def why_not(info: SlideInfo | None, model: str, kept: RiskKept | None, *, at_work: bool) -> str:
    """Say why no risk can be estimated now.

    Empty where one can be.
    """
    if info is None or kept is None:
        return "The slide is being looked at."
    if info.kind != "brightfield":
        return NOT_BRIGHTFIELD
    if info.pixel_size is None:
        return NO_SCALE
    if not model:
        return NO_MODEL
    if not kept.places:
        return NO_PLACE
    return AT_WORK if at_work else ""


def said_depth(depth: DepthUsed) -> str:
    """Say which thickness an estimate started now would rest on."""
    if depth.mm is None:
        return "Depth: not measured (fold Depth), so the network goes by what it tells from the slide itself."
    said = depth.words
    return f"{said[0].upper()}{said[1:]}."


def said_shares(answer: Mapping[str, Any]) -> str:
    """Say from where the shares count."""
    if answer.get("shares") is None or answer.get("without") is None:
        return NO_SHARES
    return f"From {answer['without']:.2f}, where nothing of this case is known."


def said_beside(answer: Mapping[str, Any]) -> str:
    """Say why some of the other methods give no answer.

    Empty where all do.
    """
    lacking = [one for one in answer["beside"].values() if one.get("probability") is None and one.get("why")]
    return " ".join(f"{one['title']}: {one['why']}." for one in lacking)


def said_patches(answer: Mapping[str, Any], link: Callable[[str, str], str]) -> str:
    """Say on which patches the answer rests."""
    patches, side = answer["patches"], answer["options"].get("patch_mm", 3.0)
    told = [one["depth_mm"] for one in patches if one.get("depth_mm") is not None]
    there = [
        link(str(place), f"{one.get('what', 'patch')} {one['probability']:.2f}") for place, one in enumerate(patches)
    ]
    said = f"From {len(patches)} {'patch' if len(patches) == 1 else 'patches'} of {side:g} mm: {', '.join(there)}"
    return f"{said}; the network itself tells a depth of {told[0]:.2f} mm." if told else f"{said}."


def cautions(answer: Mapping[str, Any]) -> str:
    """Say what to know before trusting an answer.

    A line each; empty where there is nothing.
    """
    missing = [field_title(str(name)).lower() for name in answer.get("missing") or ()]
    lines = [f"Not known: {', '.join(missing)}."] if missing else []
    warnings = [str(one) for one in answer.get("warnings") or ()]
    lines += [f"{one[:1].upper()}{one[1:]}." for one in warnings]
    return "\n".join(lines)


def changed_since(answer: Mapping[str, Any], fingerprint: str, row: Mapping[str, str], depth: DepthUsed) -> str:
    """Say what is another now than when an answer was given.

    Empty where nothing is.
    """
    changes = []
    if fingerprint and fingerprint != answer["model"]["fingerprint"]:
        changes.append("the model is another one")
    told = {name: cell for name, cell in answer["known"].items() if name not in ELSEWHERE}
    if {name: cell for name, cell in row.items() if cell} != told:
        changes.append("the patient's data were changed")
    used = answer["depth"]
    before = None if used.get("source") == "predicted" else used.get("mm")
    if before != depth.mm:
        changes.append("the depth was changed")
    return OTHERWISE.format(" and ".join(changes)) if changes else ""
