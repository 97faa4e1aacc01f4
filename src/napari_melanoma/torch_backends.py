"""Print the backends of torch on this machine as JSON; a separate program, so that its caller does not load torch."""

from __future__ import annotations

import json
import sys


def describe_backends() -> dict[str, object]:
    """Describe the backends of torch.

    Returns ``torch`` and ``torchvision`` (versions), ``built_for`` (the CUDA or ROCm version that torch was built for,
    or None), ``gpus`` (names), ``bf16`` (whether the processor supports bfloat16) and ``threads``.
    """
    import torch
    import torchvision

    from napari_melanoma.models.torch_inference import cpu_has_bf16

    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "built_for": torch.version.cuda or torch.version.hip,
        "gpus": _list_gpus(),
        "bf16": cpu_has_bf16(),
        "threads": torch.get_num_threads(),
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe_backends()) + "\n")
