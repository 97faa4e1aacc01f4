"""Tools for torch: device and precision, folded batch normalization, and exhausted memory."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


Precision = Literal["bf16", "fp32"]
log = logging.getLogger(__name__)


NORM_COUNTER = "num_batches_tracked"  # a counter of batch normalization, not a weight
MEMORY_WORDS = ("out of memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
ONNX_MEMORY_WORDS = ("Failed to allocate memory", "bad allocation", "bad_alloc")


def cpu_has_bf16() -> bool:
    """Whether the processor supports bfloat16 in hardware (emulated, it is slower than float32); False if unknown."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in torch before 2.10
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def list_devices() -> list[str]:
    """List the devices that torch finds, the fastest first.

    ``"xpu"``, a GPU of Intel, comes last: it is used only on request, as training does not support it.
    """
    import torch

    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
        "xpu": torch.xpu.is_available(),
    }
    return [name for name, is_available in found.items() if is_available]


def choose_device() -> str:
    """Return the fastest device that torch finds: ``"cuda"``, ``"mps"`` or ``"cpu"``."""
    return list_devices()[0]


def choose_precision(device: str) -> Precision:
    """Return the fastest precision of a device: ``"bf16"`` or ``"fp32"``."""
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "fp32"


def memory_layout(device: str | torch.device) -> torch.memory_format:
    """Return the fastest memory layout of images and weights on a device: channels last, or first on Apple's GPUs.

    With channels last, Apple's GPUs fail in the backward pass of batch normalization (PyTorch 188371), and compute
    wrong convolutions of some of the channels (PyTorch 180984).
    """
    import torch

    return torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last


def fold_normalization(network: nn.Module) -> nn.Module:
    """Fold each batch normalization into the preceding convolution, to save memory accesses.

    ``network``: in evaluation mode and float32; it is not changed. Returns a copy with the same modules and methods,
    whose output is equal up to rounding. Modules with input-dependent control flow cannot be traced; their submodules
    are folded separately.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    copied = copy.deepcopy(network)
    for convolution, norm in _find_foldable_pairs(copied, ""):
        before, after = cast("Any", copied.get_submodule(convolution)), cast("Any", copied.get_submodule(norm))
        _replace_module(copied, convolution, fuse_conv_bn_eval(before, after))
        _replace_module(copied, norm, _find_activation(after))
    return copied


def _find_foldable_pairs(module: nn.Module, prefix: str) -> list[tuple[str, str]]:
    """Find convolutions whose only successor is a batch normalization; returns the names of both."""
    from torch import fx, nn

    class Tracer(fx.Tracer):
        """A tracer that treats the layers to fold, including timm's subclasses, as one operation."""

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)

    if not any(isinstance(submodule, nn.BatchNorm2d) for submodule in module.modules()):
        return []
    try:
        steps = [node for node in Tracer().trace(module).nodes if node.op == "call_module"]
    except Exception as error:  # noqa: BLE001 - any error of a network that is called with a proxy
        log.debug("%s is not traced as a whole: %s", prefix or "the network", error)
        return [
            pair
            for name, submodule in module.named_children()
            for pair in _find_foldable_pairs(submodule, f"{prefix}{name}.")
        ]
    modules = dict(module.named_modules())
    called = Counter(step.target for step in steps)
    pairs = []
    for step in steps:
        before = step.args[0]
        if not (isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1):
            continue
        convolution, norm = modules[str(before.target)], modules[str(step.target)]
        both_called_once = called[step.target] == called[before.target] == 1
        if (
            both_called_once
            and isinstance(convolution, nn.Conv2d)
            and isinstance(norm, nn.BatchNorm2d)
            and _find_activation(norm)
        ):
            pairs.append((f"{prefix}{before.target}", f"{prefix}{step.target}"))
    return pairs


def _find_activation(norm: nn.Module) -> nn.Module | None:
    """Return the activation in a batch normalization layer of timm, or the identity; None for unknown layers."""
    from torch import nn

    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else None


def _replace_module(network: nn.Module, name: str, part: nn.Module | None) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, part)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out on any device.

    Recognizes torch's ``OutOfMemoryError``, the messages of its allocators and of ONNX Runtime's, and Python's
    ``MemoryError``.
    """
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    if type(error).__module__.startswith("onnxruntime."):  # they have no common base class
        return any(word in str(error) for word in ONNX_MEMORY_WORDS)
    return isinstance(error, RuntimeError) and any(word in str(error) for word in MEMORY_WORDS)


def find_norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the batch normalization layers of a network by name, in order."""
    from torch import nn

    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def rescale_norms(
    weights: Mapping[str, Tensor], norms: Mapping[str, nn.BatchNorm2d], epsilons: Mapping[str, float]
) -> dict[str, Tensor]:
    """Adapt weights for layers with another epsilon, so that ``gamma / sqrt(variance + epsilon)`` is unchanged.

    ``norms``: layers that the weights are for, by name. ``epsilons``: epsilon with which the weights of each layer were
    trained. Layers without gamma or variance, or with the same epsilon, keep their weights.
    """
    rescaled = dict(weights)
    for name, norm in norms.items():
        gamma, variance = weights.get(f"{name}.weight"), weights.get(f"{name}.running_var")
        if gamma is None or variance is None or norm.eps == epsilons[name]:
            continue
        double_variance = variance.double()
        factor = ((double_variance + norm.eps) / (double_variance + epsilons[name])).sqrt()
        rescaled[f"{name}.weight"] = (gamma.double() * factor).to(gamma.dtype)
    return rescaled
