"""Load published weights: TensorFlow and PyTorch checkpoints, translated to the tensor names of our networks.

A naming scheme (``Dialect``) translates the names of one kind of file; the scheme that matches most tensors is used.
"""

from __future__ import annotations

import gzip
import pickle
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_error_reason, shorten
from napari_melanoma.models.inference import NORM_COUNTER, find_norms, rescale_norms
from napari_melanoma.models.weights_location import DATA_SUFFIX, INDEX_SUFFIX, explain_missing, list_data_files

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

MIN_SHARE = 0.5  # of the encoder's tensors; with fewer matches the file is for another network or width
MAX_LISTED = 4  # tensors that a message lists


@dataclass(frozen=True)
class WeightsFit:
    """The match between a file and a network.

    ``matched`` are tensors of the file by the network's names, ``other_shape`` the file's shapes of tensors that have
    another shape in the network. ``absent`` are tensors of the network that the file lacks, ``unused`` tensors of the
    file that the network lacks. ``epsilon`` is the value that the file's network adds to variances; None if it is the
    same as in ours.
    """

    matched: dict[str, Tensor]
    other_shape: dict[str, tuple[int, ...]]
    absent: tuple[str, ...]
    unused: tuple[str, ...]
    epsilon: float | None = None


def load_weights_file(network: nn.Module, path: Path) -> str:
    """Load those weights of a file whose names and shapes match the network; other weights are unchanged.

    Returns a summary for the user.
    """
    weights = read_weights(path)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(NORM_COUNTER)}
    fit = find_best_fit(weights, state)
    share, part = _matched_share(fit, state)
    if share < MIN_SHARE:
        raise BundleError(
            f"{path.name} does not fit this network: it contains {share:.0%} of the {part}'s tensors in the same "
            f"shape. {_describe_other_shapes(fit, state) or 'None of its names is known.'} "
            "Select the architecture and the options (width, decoder_channels ...) that the file was trained with."
        )
    network.load_state_dict(_rescale_to_epsilon(fit, network), strict=False)
    return _describe_fit(path, fit, state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights in any supported format.

    Returns tensors by the names in the file, in PyTorch's axis order: convolutions are (out, in, row, column).
    """
    import torch

    if not path.is_file():
        raise BundleError(explain_missing(path))
    if path.suffix != INDEX_SUFFIX and not is_archive(path):
        return read_pytorch(path)
    tensors = {name: torch.from_numpy(value) for name, value in read_tensorflow(path).items()}
    return {name: _to_pytorch_axes(name, value) for name, value in tensors.items()}


def find_best_fit(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> WeightsFit:
    """Match the tensors of a file and a network by the naming scheme that matches most of them."""
    fits = (
        replace(_match_dialect(dialect, weights, state), epsilon=EPSILONS.get(name))
        for name, dialect in DIALECTS.items()
    )
    return max(fits, key=lambda fit: (len(fit.matched), len(fit.other_shape)))


def _match_dialect(dialect: Dialect, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> WeightsFit:
    """Match the tensors of a file and a network by one naming scheme."""
    translated = {name: dialect(name) for name in weights if not name.endswith(NORM_COUNTER)}
    source = {ours: name for name, ours in translated.items() if ours is not None and ours in state}
    same_shape = {ours: weights[name].shape == state[ours].shape for ours, name in source.items()}
    return WeightsFit(
        matched={ours: weights[source[ours]] for ours, fits in same_shape.items() if fits},
        other_shape={ours: tuple(weights[source[ours]].shape) for ours, fits in same_shape.items() if not fits},
        absent=tuple(name for name in state if name not in source),
        unused=tuple(name for name, ours in translated.items() if ours not in state),
    )


def _rescale_to_epsilon(fit: WeightsFit, network: nn.Module) -> dict[str, Tensor]:
    """Adapt the matched weights so that our network computes the same as the network of the file."""
    from napari_melanoma.models.blocks.convolutions import INNER_PREFIX

    norms = {name.removeprefix(INNER_PREFIX): norm for name, norm in find_norms(network).items()}
    return fit.matched if fit.epsilon is None else rescale_norms(fit.matched, norms, dict.fromkeys(norms, fit.epsilon))


def _to_pytorch_axes(name: str, value: Tensor) -> Tensor:
    """Transpose a convolution of TensorFlow: (row, column, in, out), or depthwise (row, column, channel, 1)."""
    if value.ndim != 4:
        return value
    return value.permute(2, 3, 0, 1) if name.endswith("depthwise_weights") else value.permute(3, 2, 0, 1)


def _matched_share(fit: WeightsFit, state: Mapping[str, Tensor]) -> tuple[float, str]:
    """Return the share of matched tensors in the encoder, or in a network without encoder, and which of the two."""
    encoder = [name for name in state if name.startswith("encoder.")]
    names = encoder or list(state)
    return sum(name in fit.matched for name in names) / max(1, len(names)), "encoder" if encoder else "network"


def _describe_fit(path: Path, fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Summarize what was loaded from a file."""
    parts = [f"start: {len(fit.matched)} of the network's {len(state)} tensors are from {path.name}"]
    if fit.other_shape:
        parts.append(_describe_other_shapes(fit, state).rstrip(".").replace("Randomly", "randomly", 1))
    if fit.absent:
        parts.append(f"not in the file and therefore randomly initialized: {format_names(fit.absent, MAX_LISTED)}")
    if fit.unused:
        parts.append(f"unused tensors of the file: {format_names(fit.unused, MAX_LISTED)}")
    return "; ".join(parts) + "."


def _describe_other_shapes(fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Describe the tensors of another shape, which keep their random initial values."""
    if not fit.other_shape:
        return ""
    differences = [
        f"{name} is {shape} in the file, {tuple(state[name].shape)} in the network"
        for name, shape in fit.other_shape.items()
    ]
    return f"Randomly initialized because of a different shape: {format_names(differences, MAX_LISTED)}."


# PyTorch files

# Keys under which a checkpoint may have its weights
WRAPPER_KEYS = ("model_state", "state_dict", "model_state_dict", "model", "net", "network", "weights")
MAX_WRAPPERS = 4  # nested keys
PARALLEL_PREFIX = "module."  # prefix of names in DataParallel
REFUSED_NAME = re.compile(r"\bGLOBAL ([\w.]+)")  # name of a function or class, in errors of torch


def read_pytorch(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file written by ``torch.save`` or safetensors.

    Returns tensors by the names in the file, without the prefix of parallel training.
    """
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    tensors = _unwrap(content)
    if not tensors:
        raise BundleError(f"{path} contains no weights: expected the names and tensors of a model's state_dict().")
    return {name.removeprefix(PARALLEL_PREFIX): value for name, value in tensors.items()}


def _load_pickle(path: Path) -> object:
    import torch

    try:
        with _allow_numpy_scalars():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = REFUSED_NAME.search(str(error))
        contents = "contains more than weights"
        fault = f"{contents} ({shorten(refused[1])})" if refused else f"is damaged, or {contents}"
        raise BundleError(
            f"{path} {fault} and would execute code when loaded. "
            "If you trust the file, save only its state dict with torch.save(model.state_dict(), FILE)."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _load_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BundleError:
    reason = "it is incomplete" if isinstance(error, EOFError) else parse_error_reason(error)
    return BundleError(f"cannot read {path}: {reason}. Download or copy the file again.")


def _allow_numpy_scalars() -> AbstractContextManager[Any]:
    """Allow NumPy scalars in files: published checkpoints contain their best score as one."""
    import torch

    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    # torch before 2.6 cannot allow types by name
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        return nullcontext()
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    context: AbstractContextManager[Any] = torch.serialization.safe_globals([*names, np.dtype, *kinds])
    return context


def _unwrap(content: object, depth: int = 0) -> dict[str, Tensor]:
    """Return the tensors at the top level or under one of ``WRAPPER_KEYS``: the largest of these groups."""
    import torch

    if not isinstance(content, Mapping) or depth > MAX_WRAPPERS:
        return {}
    top = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    return max(*(_unwrap(content.get(key), depth + 1) for key in WRAPPER_KEYS), top, key=len)


# TensorFlow checkpoints of format V2: a table (the index) of protocol buffers, and data files

MAGIC = 0xDB4775248B80FB57  # the last 8 bytes of a table
FOOTER = 48  # bytes at the end of a table
SNAPPY = 1  # compression of a block; TensorFlow before 1.2 compressed its tables
BFLOAT16 = 14
DTYPES = {1: "<f4", 2: "<f8", 19: "<f2", BFLOAT16: "<u2"}  # number in TensorFlow's DataType: type of weights
GZIP, TAR = b"\x1f\x8b", b"ustar"  # signatures of archives
TAR_OFFSET = 257  # position of the signature in a tar archive
# Limits above those of any published checkpoint: bytes of an archive and of a table, length of a name, entries
MAX_BYTES, MAX_TABLE_BYTES, MAX_NAME_LENGTH, MAX_ENTRIES = 1 << 32, 1 << 26, 1 << 12, 100_000
MAX_DIGITS = 10  # groups of seven bits in a 64-bit integer
Field = int | bytes  # value of a field in a protocol buffer


def is_archive(path: Path) -> bool:
    """Whether a file is a tar or gzip archive, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(TAR_OFFSET + len(TAR))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error}.") from error
    return start.startswith(GZIP) or start[TAR_OFFSET:] == TAR


def read_tensorflow(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a TensorFlow checkpoint.

    Returns tensors by TensorFlow's names, in TensorFlow's axis order: convolutions are (row, column, in, out).
    """
    try:
        index, parts = _open_archive(path) if is_archive(path) else _open_folder(path)
        return dict(_iter_tensors(index, parts))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise _unreadable(path, error) from error
    except (struct.error, IndexError, ValueError, KeyError, OverflowError) as error:
        raise BundleError(
            f"{path} is damaged, or not a TensorFlow checkpoint of format V2 (model.ckpt.index with "
            f"model.ckpt.data-00000-of-00001): {error}. Download or copy it again."
        ) from error


def _open_folder(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint of several files: the content of its index, and the data files, which are read on demand."""
    parts = list_data_files(path)
    if not parts:
        numbers = f"{path.name.removesuffix(INDEX_SUFFIX)}{DATA_SUFFIX}00000-of-00001"
        raise BundleError(f"{path.name} needs the data file in the same folder: {numbers}.")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise ValueError("its table is too large")
    mapped = [np.memmap(part, np.uint8, "r") if part.stat().st_size else np.empty(0, np.uint8) for part in parts]
    return path.read_bytes(), mapped


def _open_archive(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint in an archive without unpacking it to disk; returns the index and the data."""
    with path.open("rb") as file:
        zipped = file.read(len(GZIP)) == GZIP
    with (
        _BoundedGzipFile(path) if zipped else path.open("rb") as source,
        tarfile.open(fileobj=source, mode="r:") as archive,
    ):
        members = {member.name: member for member in _iter_members(archive) if member.isfile()}
        indices = [name for name in members if name.endswith(INDEX_SUFFIX)]
        if len(indices) != 1:
            raise BundleError(f"{path} contains {len(indices)} TensorFlow checkpoints (*.index), expected one.")
        data = sorted(name for name in members if name.startswith(indices[0].removesuffix(INDEX_SUFFIX) + DATA_SUFFIX))
        contents = [archive.extractfile(members[name]) for name in (indices[0], *data)]
        index, *parts = [file.read() for file in contents if file is not None]
    return index, [np.frombuffer(part, np.uint8) for part in parts]


class _BoundedGzipFile(gzip.GzipFile):
    """A gzip file that limits the size of a read, as tarfile reads as many bytes as a header of the archive states."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_TABLE_BYTES:
            raise ValueError("a header of the archive is too large")
        return super().read(size)


def _iter_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """List the members of an archive, up to the limits of a checkpoint."""
    size = 0
    for number, member in enumerate(archive):
        size += max(0, member.size)
        if size > MAX_BYTES or number > MAX_ENTRIES:
            raise ValueError("it has more members than any checkpoint")
        yield member


def _iter_tensors(index: bytes, parts: list[NDArray[np.uint8]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield names and tensors of a checkpoint; the entry without a name is the header."""
    unread_bytes = sum(len(part) for part in parts)
    for key, value in _iter_table(index):
        entry = _read_message(value)
        if not key:
            if entry.get(2):
                raise ValueError("its numbers are big-endian")
            continue
        kind, sliced = entry.get(1, 0), 7 in entry
        if kind in DTYPES and not sliced:
            unread_bytes -= _read_integer(entry, 5)
            if unread_bytes < 0:
                raise ValueError("its tensors overlap, or their data are truncated")
            yield key.decode(), _read_tensor(key.decode(), entry, parts)


def _read_tensor(name: str, entry: Mapping[int, Field], parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Read one tensor from the data file that its entry names."""
    kind, number, offset, size = (_read_integer(entry, field) for field in (1, 3, 4, 5))
    shape = _read_shape(entry.get(2, b""))
    dtype = np.dtype(DTYPES[kind])
    if size != prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes for the shape {shape}")
    part = parts[number]
    if offset + size > len(part):
        raise ValueError(f"the data of {name} are truncated")
    values = np.frombuffer(part[offset : offset + size].tobytes(), dtype)
    if kind == BFLOAT16:  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # values too large for float32 become infinite
        return values.astype(np.float32).reshape(shape)


def _read_shape(value: Field) -> tuple[int, ...]:
    """Read a TensorShapeProto: its dimensions, each a message with a size."""
    if not isinstance(value, bytes):
        raise ValueError("a shape is a number")
    dimensions = (
        _read_message(part) for number, part in _iter_fields(value) if number == 2 and isinstance(part, bytes)
    )
    return tuple(_read_integer(dimension, 1) for dimension in dimensions)


def _read_integer(entry: Mapping[int, Field], number: int) -> int:
    """Read an integer from a message; a missing one is 0."""
    value = entry.get(number, 0)
    if not isinstance(value, int):
        raise ValueError("a size is not a number")
    return value


def _iter_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a table; its index block lists the blocks that contain them."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("its end is not that of a table")
    _, _, position = _read_block_handle(data[-FOOTER:], 0)  # the metaindex block, which is not needed
    offset, size, _ = _read_block_handle(data[-FOOTER:], position)
    entries = 0
    for _, handle in _iter_block_entries(_read_block(data, offset, size)):
        offset, size, _ = _read_block_handle(handle, 0)
        for entry in _iter_block_entries(_read_block(data, offset, size)):
            entries += 1
            if entries > MAX_ENTRIES:
                raise ValueError("it has more entries than any checkpoint")
            yield entry


def _read_block_handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the offset and size of a block, and the position after these numbers."""
    offset, position = _read_varint(data, position)
    size, position = _read_varint(data, position)
    return offset, size, position


def _read_block(data: bytes, offset: int, size: int) -> bytes:
    """Read a block of a table; the byte after it states the compression."""
    content, kind = data[offset : offset + size], data[offset + size]
    if kind == SNAPPY:
        import imagecodecs

        if _read_varint(content, 0)[0] > MAX_TABLE_BYTES:
            raise ValueError("a block of its table is too large")
        try:
            return bytes(imagecodecs.snappy_decode(content))
        except imagecodecs.SnappyError as error:
            raise ValueError(f"a block of its table cannot be decompressed ({error})") from error
    return content


def _iter_block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; each key shares a prefix with the previous key."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = len(block) - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _read_varint(block, position)
        own, position = _read_varint(block, position)
        size, position = _read_varint(block, position)
        if shared + own > MAX_NAME_LENGTH or position + own + size > end:
            raise ValueError("an entry of its table is too long")
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + size]
        position += size


def _read_message(data: bytes) -> dict[int, Field]:
    """Read the fields of a protocol buffer by number; the last one counts if a field is repeated."""
    return dict(_iter_fields(data))


def _iter_fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """Yield numbers and values of the fields of a protocol buffer."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _read_varint(data, position)
            yield number, value
        elif wire == 2:
            size, position = _read_varint(data, position)
            yield number, data[position : position + size]
            position += size
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[position : position + width], "little")
            position += width
        else:
            raise ValueError(f"a field of the type {wire}")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an integer, stored with seven bits in each byte, and the position after it."""
    value = 0
    for digit in range(MAX_DIGITS):
        byte = data[position + digit]
        value |= (byte & 127) << 7 * digit
        if byte < 128:
            return value, position + digit + 1
    raise ValueError("an integer is too long")


# Naming schemes

Dialect = Callable[[str], str | None]  # translates a name in a file to ours; None if our networks have no such tensor
# Patterns of names, and functions that return our name for a match
Rules = tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]
CONV, NORM = "conv", "norm"
PARAMETER = r"\.(weight|bias|running_mean|running_var)$"
_TENSORFLOW_TAILS = {
    "weights": "conv.weight",
    "depthwise_weights": "conv.weight",
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}
_TENSORFLOW_TAIL = re.compile(rf"(.+?)/({'|'.join(_TENSORFLOW_TAILS)})")
_UNIT = r"xception_\d+/(entry|middle|exit)_flow/block(\d+)/unit_(\d+)/xception_module/"


def _zero_based(text: str, first: int = 1) -> int:
    """Convert a number that counts from ``first`` to one that counts from 0."""
    return int(text) - first


def _unit_name(match: re.Match[str]) -> str:
    """Return our name of an Xception unit: the middle flow is a block of many units, other flows are blocks of one."""
    flow, block, unit = match.group(1, 2, 3)
    return f"encoder.{flow}.{_zero_based(unit if flow == 'middle' else block)}"


def _compile_rules(*pairs: tuple[str, Callable[[re.Match[str]], str]]) -> Rules:
    return tuple((re.compile(pattern), target) for pattern, target in pairs)


def _apply_rules(rules: Rules, name: str) -> str | None:
    """Return the name by the first rule that matches the whole name; None if none does."""
    for pattern, target in rules:
        if match := pattern.fullmatch(name):
            return target(match)
    return None


_TENSORFLOW = _compile_rules(
    (r"xception_\d+/entry_flow/conv1_([12])", lambda m: f"encoder.stem.{_zero_based(m[1])}"),
    (_UNIT + r"separable_conv(\d)_(\w+)", lambda m: f"{_unit_name(m)}.separable.{_zero_based(m[4])}.{m[5]}"),
    (_UNIT + "shortcut", lambda m: f"{_unit_name(m)}.shortcut"),
    ("MobilenetV2/Conv", lambda _: "encoder.stem"),
    (r"MobilenetV2/expanded_conv/(\w+)", lambda m: f"encoder.blocks.0.{m[1]}"),
    (r"MobilenetV2/expanded_conv_(\d+)/(\w+)", lambda m: f"encoder.blocks.{m[1]}.{m[2]}"),
    ("image_pooling", lambda _: "aspp.image"),
    ("aspp0", lambda _: "aspp.point"),
    (r"aspp([123])_(\w+)", lambda m: f"aspp.atrous.{_zero_based(m[1])}.{m[2]}"),
    ("concat_projection", lambda _: "aspp.project"),
    ("decoder/feature_projection0", lambda _: "decoder.low_level"),
    (r"decoder/decoder_conv([01])_(\w+)", lambda m: f"decoder.fuse.{m[1]}.{m[2]}"),
)


def translate_tensorflow_name(name: str) -> str | None:
    """Translate a name of the official DeepLab and MobileNetV2 checkpoints.

    None for values that our networks do not have, such as the optimizer state.
    """
    if match := re.fullmatch(r"logits/semantic/(weight|bias)(?:e?s)", name):
        return f"logits.{match[1]}"
    match = _TENSORFLOW_TAIL.fullmatch(name)
    target = _apply_rules(_TENSORFLOW, match[1]) if match else None
    return f"{target}.{_TENSORFLOW_TAILS[match[2]]}" if match and target else None


def _port_unit_name(block: str) -> str:
    """Return our name of an Xception unit in ports that number all units: 3 of entry, 16 of middle, then exit flow."""
    number = int(block)
    if number <= 3:
        return f"encoder.entry.{number - 1}"
    return f"encoder.middle.{number - 4}" if number < 20 else f"encoder.exit.{number - 20}"


def _port_convolution_name(block: str, position: str) -> str:
    """Return our name of one of the three convolutions of a unit by its position in the sequence.

    Each convolution has a ReLU before it and a normalization after it, but the first unit has no first ReLU.
    """
    return f"{_port_unit_name(block)}.separable.{(int(position) + (block == '1')) // 3}"


_STEPS = {  # part of a separable convolution in PyTorch ports: our name
    "conv1": "depthwise.conv",
    "depthwise": "depthwise.conv",
    "bn": "depthwise.norm",
    "bn1": "depthwise.norm",
    "pointwise": "pointwise.conv",
    "bn2": "pointwise.norm",
}
_STEP = f"({'|'.join(_STEPS)})"
_PORT_XCEPTION = _compile_rules(
    (r"conv([12])", lambda m: f"encoder.stem.{_zero_based(m[1])}.conv"),
    (r"bn([12])", lambda m: f"encoder.stem.{_zero_based(m[1])}.norm"),
    (r"block(\d+)\.skip", lambda m: f"{_port_unit_name(m[1])}.shortcut.conv"),
    (r"block(\d+)\.skipbn", lambda m: f"{_port_unit_name(m[1])}.shortcut.norm"),
    (
        rf"block(\d+)\.sepconv([123])\.{_STEP}",
        lambda m: f"{_port_unit_name(m[1])}.separable.{_zero_based(m[2])}.{_STEPS[m[3]]}",
    ),
    (rf"block(\d+)\.rep\.(\d+)\.{_STEP}", lambda m: f"{_port_convolution_name(m[1], m[2])}.{_STEPS[m[3]]}"),
    (r"block(\d+)\.rep\.(\d+)", lambda m: f"{_port_convolution_name(m[1], m[2])}.pointwise.norm"),
    (rf"conv([345])\.{_STEP}", lambda m: f"encoder.exit.1.separable.{_zero_based(m[1], 3)}.{_STEPS[m[2]]}"),
    (r"bn([345])", lambda m: f"encoder.exit.1.separable.{_zero_based(m[1], 3)}.pointwise.norm"),
)
# The layers of an inverted residual, and their positions in torchvision's nested and older flat sequences.
_NESTED = {"0.0": "expand.conv", "0.1": "expand.norm", "1.0": "depthwise.conv", "1.1": "depthwise.norm"}
_NESTED |= {"2": "project.conv", "3": "project.norm"}
_NESTED_FIRST = {"0.0": "depthwise.conv", "0.1": "depthwise.norm", "1": "project.conv", "2": "project.norm"}
_FLAT = {"0": "expand.conv", "1": "expand.norm", "3": "depthwise.conv", "4": "depthwise.norm"}
_FLAT |= {"6": "project.conv", "7": "project.norm"}
_FLAT_FIRST = {"0": "depthwise.conv", "1": "depthwise.norm", "3": "project.conv", "4": "project.norm"}
_FEATURES = re.compile(r"(?:low_level_|high_level_)?features\.(\d+)\.(?:conv\.)?([\d.]+)")
_PORT_HEADS = _compile_rules(
    (r"classifier\.aspp\.convs\.0\.([01])", lambda m: f"aspp.point.{(CONV, NORM)[int(m[1])]}"),
    (r"classifier\.aspp\.convs\.4\.([12])", lambda m: f"aspp.image.{(CONV, NORM)[_zero_based(m[1])]}"),
    (r"classifier\.project\.([01])", lambda m: f"decoder.low_level.{(CONV, NORM)[int(m[1])]}"),
    (r"classifier\.classifier\.3", lambda _: "logits"),
    (r"aspp\.aspp1\.atrous_conv", lambda _: "aspp.point.conv"),
    (r"aspp\.aspp1\.bn", lambda _: "aspp.point.norm"),
    (r"aspp\.global_avg_pool\.([12])", lambda m: f"aspp.image.{(CONV, NORM)[_zero_based(m[1])]}"),
    (r"decoder\.conv1", lambda _: "decoder.low_level.conv"),
    (r"decoder\.bn1", lambda _: "decoder.low_level.norm"),
    (r"decoder\.last_conv\.[68]", lambda _: "logits"),
)


def _make_port_dialect(encoder: Dialect) -> Dialect:
    """Create the naming scheme of PyTorch ports from the naming scheme of their encoder."""

    def translate(name: str) -> str | None:
        match = re.fullmatch(rf"(.+){PARAMETER}", name)
        if match is None:
            return None
        target = _apply_rules(_PORT_HEADS, match[1]) or encoder(match[1].removeprefix("backbone."))
        return f"{target}.{match[2]}" if target else None

    return translate


def _make_mobilenet_dialect(first_block: dict[str, str], other_blocks: dict[str, str]) -> Dialect:
    """Create the naming scheme of a MobileNetV2 from the positions of layers in the first and in other blocks."""

    def translate(name: str) -> str | None:
        match = _FEATURES.fullmatch(name)
        if match is None:
            return None
        number, position = int(match[1]), match[2]
        if number == 0:
            return {"0": "encoder.stem.conv", "1": "encoder.stem.norm"}.get(position)
        step = (first_block if number == 1 else other_blocks).get(position)
        return f"encoder.blocks.{number - 1}.{step}" if step else None

    return translate


def _make_prefix_dialect(prefix: str) -> Dialect:
    """Create the naming scheme of a file with the weights of one part of a network."""
    return lambda name: prefix + name


def _translate_timm_name(name: str) -> str:
    """Translate a name of a whole timm network to the encoder, which has the items of sequences as submodules."""
    return "encoder.model." + re.sub(r"^(stem|stages|layers|features)\.", r"\1_", name)


_FASTAI = {  # position in the sequence: name in timm
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
}


def _translate_fastai_name(name: str) -> str | None:
    """Translate a name of a ResNet that fastai converted to a sequence, possibly in an image submodule."""
    match = re.fullmatch(r"(?:cnn_model\.|image_model\.|encoder\.|0\.)?0\.(\d)\.(.+)", name)
    part = _FASTAI.get(match[1]) if match else None
    return f"encoder.model.{part}.{match[2]}" if match and part else None


DIALECTS: dict[str, Dialect] = {
    "our own names": lambda name: name,
    "an encoder": _make_prefix_dialect("encoder."),
    "an encoder of timm": _make_prefix_dialect("encoder.model."),
    "a network of timm": _translate_timm_name,
    "a transformer of timm": _make_prefix_dialect("encoder.model.model."),
    "a ResNet of fastai": _translate_fastai_name,
    "DeepLab for TensorFlow": translate_tensorflow_name,
    "DeepLab with Xception for PyTorch": _make_port_dialect(lambda name: _apply_rules(_PORT_XCEPTION, name)),
    "MobileNetV2 for PyTorch": _make_port_dialect(_make_mobilenet_dialect(_NESTED_FIRST, _NESTED)),
    "MobileNetV2 for PyTorch, flat": _make_port_dialect(_make_mobilenet_dialect(_FLAT_FIRST, _FLAT)),
}
# Epsilon of batch normalization in the networks of a naming scheme, where it differs from ours
EPSILONS: dict[str, float] = {
    "DeepLab with Xception for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch, flat": 1e-5,
}
