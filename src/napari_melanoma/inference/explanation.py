"""Where in a picture an answer comes from: heatmaps by four methods, and a network's own attention, in its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.runs import Progress, RunContext

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.analysis.views import View
    from napari_melanoma.core.geometry import Box
    from napari_melanoma.inference.asking import Asked
    from napari_melanoma.inference.classification import Classifier, Lesion

Method = Literal["grad_cam", "cam", "occlusion", "integrated_gradients"]
METHODS: tuple[Method, ...] = get_args(Method)  # of any network
ATTENTION = "attention"  # of one that weighs places, whatever it answers

STEPS = 32  # of integrated gradients, from the covered view to the view
AT_ONCE = 8  # views in a pass
PATCH = 8  # the side of what is covered is an eighth of the view's
SMOOTHED = 64  # integrated gradients are smoothed by a 64th of the view's side: single pixels cannot be seen
RIM = 16  # what covers has the colour of the outermost 16th of the view


def explain(
    classifier: Classifier,
    lesion: Lesion,
    method: Method | Literal["attention"] = "grad_cam",
    target_class: str | None = None,
    run: RunContext | None = None,
) -> NDArray[np.float32]:
    """Show where the evidence for a class lies.

    What is explained are the log odds of the class against the others. Evidence against it is left out.

    ``grad_cam``: the deepest map, weighted by its gradient (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74); of a
    network that tells a depth too, the maps of the image alone. ``cam``:
    what the head says of each place of the deepest map by itself, less what it says of none; for a linear head that is
    the map of Zhou et al. 2016 (doi:10.1109/CVPR.2016.319). ``occlusion``: how much is lost where a patch is covered
    (Zeiler and Fergus 2014, doi:10.1007/978-3-319-10590-1_53). ``integrated_gradients``: Sundararajan et al. 2017
    (arXiv:1703.01365) from a view of one colour, smoothed. All but ``cam`` are computed by captum. What covers, and
    where gradients start, is the colour at the rim of the view. ``attention`` is none of these: the weights of a
    network with spatial attention, less the least of them; they say where it looks, nothing of class or patient.

    Returns float32 (row, column) in [0, 1], of the photograph's size; the strongest evidence is 1, zero outside the
    view, and zero everywhere where nothing speaks for the class.
    """
    known = methods_of(classifier)
    if method not in known:
        raise InputError(f"'{classifier.info.name}' has no explanation named '{method}' (known: {', '.join(known)}).")
    classes = classifier.info.config.classes
    wanted = target_class or classifier.config.positive
    if wanted not in classes:
        raise InputError(f"'{classifier.info.name}' knows no class '{wanted}' (known: {', '.join(classes)}).")
    view = classifier.seen(lesion.rgb, lesion.mask)
    evidence = evidence_in(classifier, view, lesion.row, method, classes.index(wanted), run or RunContext())
    heat = np.maximum(evidence, 0.0)
    strongest = float(heat.max(initial=0.0))
    heat = heat / strongest if strongest > 0 else heat
    return placed(heat.astype(np.float32), view.box, (lesion.rgb.shape[0], lesion.rgb.shape[1]))


def methods_of(classifier: Classifier) -> tuple[str, ...]:
    """Name the explanations that a model has.

    Returns ``METHODS``, and ``attention`` of a network that weighs places.
    """
    return (*METHODS, ATTENTION) if classifier.network.weighs_places else METHODS


def evidence_in(
    classifier: Classifier, view: View, row: Mapping[str, object], method: str, target: int, run: RunContext
) -> NDArray[np.float32]:
    """Find the evidence for a class in a view, with its sign.

    Returns float32 (row, column), of the view's size.
    """
    import torch

    from napari_melanoma.inference import asking
    from napari_melanoma.models.preprocessing import to_tensor

    asked = asking.Asked(classifier.network, *classifier.inputs(row), target, run)
    image, cover = (
        to_tensor([pixels], classifier.info.config).to(classifier.device) for pixels in (view.image, _covered(view))
    )
    finders: dict[str, Callable[[Asked, Tensor, Tensor], Tensor]] = {
        ATTENTION: _attention,
        "grad_cam": _grad_cam,
        "cam": _cam,
        "occlusion": _occlusion,
        "integrated_gradients": _integrated_gradients,
    }
    run.report(Progress(0, None, "Looking where the answer comes from"))
    with torch.enable_grad():
        found = finders[method](asked, image, cover)
    evidence: NDArray[np.float32] = found.detach().float().cpu().numpy()
    side = view.image.shape[0]
    return evidence if len(evidence) == side else spread_out(evidence, side, classifier.looks_beside)


def spread_out(coarse: NDArray[np.float32], side: int, offset: float) -> NDArray[np.float32]:
    """Bring the deepest map to the size of the view, each value to where its place looks; linear between them.

    ``coarse``: float32 (row, column) of the map. ``side``: of the view, in pixels. ``offset``: how far beside the
    middle of its cell each place looks, in pixels of the view. Returns float32 (side, side); beyond the outermost
    places their values.
    """
    wide = []
    for count in coarse.shape:
        stride = side / count
        centres = (np.arange(count) + 0.5) * stride - 0.5 + offset
        wide.append(np.stack([np.interp(np.arange(side), centres, one) for one in np.eye(count)], axis=1))
    return (wide[0] @ coarse @ wide[1].T).astype(np.float32)


def placed(heat: NDArray[np.float32], box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Put a map of a view where the view lies in the photograph.

    ``heat``: float32 (row, column), of any size: it covers the whole box. Returns float32 (row, column) of that shape,
    zero outside the box.
    """
    from PIL import Image

    resized = np.asarray(Image.fromarray(heat).resize((box.width, box.height), Image.Resampling.BILINEAR), np.float32)
    whole = np.zeros(shape, np.float32)
    top, left = max(0, box.top), max(0, box.left)
    seen = resized[top - box.top :, left - box.left :][: shape[0] - top, : shape[1] - left]
    whole[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return whole


def _covered(view: View) -> NDArray[np.uint8]:
    """A view of one colour: the median of the pixels at the rim."""
    image = view.image
    wide = max(1, image.shape[0] // RIM)
    rim = np.ones(image.shape[:2], bool)
    rim[wide:-wide, wide:-wide] = False
    return np.broadcast_to(np.median(image[rim], axis=0).astype(np.uint8), image.shape).copy()


def _grad_cam(asked: Asked, image: Tensor, cover: Tensor) -> Tensor:
    """Grad-CAM at the deepest map, (row, column) of the map."""
    from captum.attr import LayerGradCam

    each = LayerGradCam(asked, asked.deepest).attribute(image, attr_dim_summation=False)[0]
    of_image = asked.network.image_maps  # behind these stand maps of what else the network tells, such as a depth
    return each[:of_image].sum(dim=0) if of_image else each.sum(dim=0)


def _cam(asked: Asked, image: Tensor, cover: Tensor) -> Tensor:
    """What the head says of each place, (row, column) of the map."""
    import torch

    with torch.no_grad():
        return asked.places(image)


def _attention(asked: Asked, image: Tensor, cover: Tensor) -> Tensor:
    """How much more than the least each place weighs, (row, column) of the map."""
    import torch

    with torch.no_grad():
        weights = asked.network.attended(image)
    assert weights is not None  # whoever has none does not offer it
    return weights[0, 0] - weights[0, 0].min()


def _occlusion(asked: Asked, image: Tensor, cover: Tensor) -> Tensor:
    """What is lost where a patch is covered, (row, column) of the view."""
    from captum.attr import Occlusion

    side = max(1, image.shape[-1] // PATCH)
    window, step = (image.shape[1], side, side), (image.shape[1], max(1, side // 2), max(1, side // 2))
    steps = -(-(image.shape[-1] - side) // step[1]) + 1
    asked.expect(1 + steps**2)
    found = Occlusion(asked).attribute(image, window, strides=step, baselines=cover, perturbations_per_eval=AT_ONCE)
    return found[0, 0]  # the same in every channel, for they are covered together


def _integrated_gradients(asked: Asked, image: Tensor, cover: Tensor) -> Tensor:
    """Integrated gradients, added up over the channels and smoothed, (row, column) of the view."""
    from captum.attr import IntegratedGradients
    from torchvision.transforms.functional import gaussian_blur

    asked.expect(STEPS)
    found = IntegratedGradients(asked).attribute(image, cover, n_steps=STEPS, internal_batch_size=AT_ONCE)
    sigma = max(image.shape[-1] / SMOOTHED, 0.5)
    reach = 2 * round(3 * sigma) + 1
    return gaussian_blur(found.sum(dim=1, keepdim=True), [reach, reach], [sigma, sigma])[0, 0]
