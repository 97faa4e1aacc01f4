"""PyTorch's files of weights, read so that they cannot run code, whatever their authors wrapped the weights in."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model", "net", "network", "weights")
DEEPEST = 4  # wrappers in each other
STYLE = re.compile(r"\x1b\[[0-9;]*m")  # torch writes its refusals in bold
PARALLEL = "module."  # that DataParallel puts before each name


def read_pytorch(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that ``torch.save`` or safetensors wrote.

    By the file's own names, without the prefix of parallel training.
    """
    found = _safetensors(path) if path.suffix == ".safetensors" else _loaded(path)
    tensors = _unwrapped(found)
    if not tensors:
        raise BundleError(f"{path} holds no weights: expected the names and tensors of a model's state_dict().")
    return {name.removeprefix(PARALLEL): value for name, value in tensors.items()}


def _loaded(path: Path) -> object:
    import torch

    try:
        with _numbers_of_numpy():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = STYLE.sub("", str(error)).partition("\n")[0]
        raise BundleError(
            f"{path} is damaged, or holds more than weights and would run code when read ({reason}). "
            "Save its state dict alone, with torch.save(model.state_dict(), FILE), where you trust it."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error


def _safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error


def _numbers_of_numpy() -> AbstractContextManager[Any]:
    """Let numbers of numpy pass, which published checkpoints keep as their best score."""
    import torch

    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # names for globals came with it, in 2.6
        return nullcontext()
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    context: AbstractContextManager[Any] = torch.serialization.safe_globals([*names, np.dtype, *kinds])
    return context


def _unwrapped(found: object, depth: int = 0) -> dict[str, Tensor]:
    """Take the tensors from under a usual name, or those that lie bare: whichever are more; others count something."""
    import torch

    if not isinstance(found, Mapping) or depth > DEEPEST:
        return {}
    bare = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return max(*(_unwrapped(found.get(wrapper), depth + 1) for wrapper in WRAPPERS), bare, key=len)
