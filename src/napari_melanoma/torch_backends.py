"""Print the backends of torch on this machine as JSON; a separate program, so that its caller does not load torch."""

from __future__ import annotations

import json
import sys


def describe_backends() -> dict[str, object]:
    """Describe the backends of torch, and run the default model once.

    Returns ``torch`` and ``torchvision`` (versions), ``built_for`` (the CUDA or ROCm version that torch was built for,
    or None), ``gpus`` (names), ``bf16`` (whether the processor supports bfloat16), ``threads``, and ``model`` (name and
    device of the default model) or ``model_error`` (why it cannot run).
    """
    import torch
    import torchvision

    from napari_melanoma.models.inference import cpu_has_bf16

    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "built_for": torch.version.cuda or torch.version.hip,
        "gpus": _list_gpus(),
        "bf16": cpu_has_bf16(),
        "threads": torch.get_num_threads(),
        **_check_default_model(),
    }


def _list_gpus() -> list[str]:
    import torch

    if torch.cuda.is_available():
        return [f"CUDA {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return ["MPS (Apple)"]
    xpu = getattr(torch, "xpu", None)
    if xpu is not None and xpu.is_available():
        return [f"XPU {xpu.get_device_name(index)}" for index in range(xpu.device_count())]
    return []


def _check_default_model() -> dict[str, object]:
    import numpy as np

    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        segmenter = Segmenter.load(find_bundle(DEFAULT_BUNDLE))
        segmenter.probability(np.zeros((32, 32, 3), np.uint8))
    except MelanomaError as error:
        return {"model_error": str(error)}
    return {"model": f"{DEFAULT_BUNDLE} on {segmenter.device}"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe_backends()) + "\n")
