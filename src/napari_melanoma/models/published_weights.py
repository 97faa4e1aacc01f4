"""Published weights from files: TensorFlow and PyTorch checkpoints fitted into our networks."""

from __future__ import annotations

import gzip
import pickle
import re
import struct
import tarfile
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
from napari_melanoma.models.inference import find_norms, rescale_norms
from napari_melanoma.models.weights_location import DATA_SUFFIX, INDEX_SUFFIX, explain_missing, list_data_files

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # of batch normalisation; no weight
MIN_SHARE = 0.5  # of the encoder's tensors; with fewer the file is of another network, or of another width
MAX_NAMED = 4


@dataclass(frozen=True)
class WeightsFit:
    """How a file fits a network: tensors taken by our names, those of another shape there, and what is left over.

    ``epsilon`` is what the file's network adds to variances, where that is known to be the same throughout.
    """

    matched: dict[str, Tensor]
    other_shape: dict[str, tuple[int, ...]]
    absent: tuple[str, ...]
    unused: tuple[str, ...]
    epsilon: float | None = None


def load_weights_file(network: nn.Module, path: Path) -> str:
    """Put the weights of a file into a network where name and shape fit; the rest of it stays as it is.

    What was taken and what was not, for a person.
    """
    weights = read_weights(path)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    fit = find_best_fit(weights, state)
    share, part = _matched_share(fit, state)
    if share < MIN_SHARE:
        raise BundleError(
            f"{path.name} does not fit this network: of the {part}'s tensors {share:.0%} are in it with their shape. "
            f"{_describe_other_shapes(fit, state) or 'No name is known.'} "
            "Choose the architecture and the options (width, decoder_channels ...) that the file was made with."
        )
    network.load_state_dict(_rescale_to_epsilon(fit, network), strict=False)
    return _describe_fit(path, fit, state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights of any known form.

    By the file's own names, in PyTorch's axis order: convolutions are (out, in, row, column).
    """
    import torch

    if not path.is_file():
        raise BundleError(explain_missing(path))
    if path.suffix != INDEX_SUFFIX and not is_archive(path):
        return read_pytorch(path)
    found = {name: torch.from_numpy(value) for name, value in read_tensorflow(path).items()}
    return {name: _to_pytorch_axes(name, value) for name, value in found.items()}


def find_best_fit(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> WeightsFit:
    """Match names and shapes in the dialect that fits most.

    What fits, and what does not.
    """
    fits = (
        replace(_match_dialect(speak, weights, state), epsilon=EPSILONS.get(name)) for name, speak in DIALECTS.items()
    )
    return max(fits, key=lambda fit: (len(fit.matched), len(fit.other_shape)))


def _match_dialect(dialect: Dialect, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> WeightsFit:
    """Match names and shapes in one dialect."""
    named = {name: dialect(name) for name in weights if not name.endswith(COUNTER)}
    source = {ours: name for name, ours in named.items() if ours is not None and ours in state}
    same = {ours: weights[name].shape == state[ours].shape for ours, name in source.items()}
    return WeightsFit(
        matched={ours: weights[source[ours]] for ours, fits in same.items() if fits},
        other_shape={ours: tuple(weights[source[ours]].shape) for ours, fits in same.items() if not fits},
        absent=tuple(name for name in state if name not in source),
        unused=tuple(name for name, ours in named.items() if ours not in state),
    )


def _rescale_to_epsilon(fit: WeightsFit, network: nn.Module) -> dict[str, Tensor]:
    """Give what is taken such that our network computes with it what the file's own does."""
    from napari_melanoma.models.blocks.padding import INNER_PREFIX

    norms = {name.removeprefix(INNER_PREFIX): norm for name, norm in find_norms(network).items()}
    return fit.matched if fit.epsilon is None else rescale_norms(fit.matched, norms, dict.fromkeys(norms, fit.epsilon))


def _to_pytorch_axes(name: str, value: Tensor) -> Tensor:
    """Turn a convolution of TensorFlow, (row, column, in, out) or, channel by channel, (row, column, channel, 1)."""
    if value.ndim != 4:
        return value
    return value.permute(2, 3, 0, 1) if name.endswith("depthwise_weights") else value.permute(3, 2, 0, 1)


def _matched_share(fit: WeightsFit, state: Mapping[str, Tensor]) -> tuple[float, str]:
    """Give the share of the encoder that was found, or of a network without one, and which of the two."""
    encoder = [name for name in state if name.startswith("encoder.")]
    asked = encoder or list(state)
    return sum(name in fit.matched for name in asked) / max(1, len(asked)), "encoder" if encoder else "network"


def _describe_fit(path: Path, fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Say what came from a file and what did not."""
    parts = [f"start: {len(fit.matched)} of the network's {len(state)} tensors come from {path.name}"]
    if fit.other_shape:
        parts.append(_describe_other_shapes(fit, state).rstrip("."))
    if fit.absent:
        parts.append(f"random because it is not in the file: {format_names(fit.absent, MAX_NAMED)}")
    if fit.unused:
        parts.append(f"in the file and not used: {format_names(fit.unused, MAX_NAMED)}")
    return "; ".join(parts) + "."


def _describe_other_shapes(fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Say which tensors have another shape in the file; they stay random."""
    if not fit.other_shape:
        return ""
    some = [f"{name} is {shape} there, {tuple(state[name].shape)} here" for name, shape in fit.other_shape.items()]
    return f"Random because of another shape: {format_names(some, MAX_NAMED)}."


WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model", "net", "network", "weights")
MAX_WRAPPERS = 4  # wrappers in each other
ANSI_STYLE = re.compile(r"\x1b\[[0-9;]*m")  # torch writes its refusals in bold
PARALLEL_PREFIX = "module."  # that DataParallel puts before each name


def read_pytorch(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that ``torch.save`` or safetensors wrote.

    By the file's own names, without the prefix of parallel training.
    """
    found = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    tensors = _unwrap(found)
    if not tensors:
        raise BundleError(f"{path} holds no weights: expected the names and tensors of a model's state_dict().")
    return {name.removeprefix(PARALLEL_PREFIX): value for name, value in tensors.items()}


def _load_pickle(path: Path) -> object:
    import torch

    try:
        with _allow_numpy_scalars():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = ANSI_STYLE.sub("", str(error)).partition("\n")[0]
        raise BundleError(
            f"{path} is damaged, or holds more than weights and would run code when read ({reason}). "
            "Save its state dict alone, with torch.save(model.state_dict(), FILE), where you trust it."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error


def _load_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error


def _allow_numpy_scalars() -> AbstractContextManager[Any]:
    """Let numbers of numpy pass, which published checkpoints keep as their best score."""
    import torch

    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # names for globals came with it, in 2.6
        return nullcontext()
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    context: AbstractContextManager[Any] = torch.serialization.safe_globals([*names, np.dtype, *kinds])
    return context


def _unwrap(found: object, depth: int = 0) -> dict[str, Tensor]:
    """Take the tensors from under a usual name, or those that lie bare: whichever are more; others count something."""
    import torch

    if not isinstance(found, Mapping) or depth > MAX_WRAPPERS:
        return {}
    bare = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return max(*(_unwrap(found.get(wrapper), depth + 1) for wrapper in WRAPPERS), bare, key=len)


MAGIC = 0xDB4775248B80FB57
FOOTER = 48
SNAPPY = 1  # TensorFlow before 1.2 compressed its tables
BFLOAT16 = 14
DTYPES = {1: "<f4", 2: "<f8", 19: "<f2", BFLOAT16: "<u2"}  # numbers of TensorFlow's DataType; weights have no other
GZIP, TAR, TAR_OFFSET = b"\x1f\x8b", b"ustar", 257  # how archives begin, and where a tar says what it is
# More than any published checkpoint has: bytes of an archive's contents, of a table, of a name; entries of a table.
MAX_BYTES, MAX_TABLE_BYTES, MAX_NAME_LENGTH, MAX_ENTRIES = 1 << 32, 1 << 26, 1 << 12, 100_000
MAX_DIGITS = 10  # of seven bits, in a whole number of 64
Field = int | bytes


def is_archive(path: Path) -> bool:
    """Tell by its beginning whether a file is an archive, as checkpoints are published.

    True for a tar, and for whatever gzip compressed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(TAR_OFFSET + len(TAR))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error}.") from error
    return start.startswith(GZIP) or start[TAR_OFFSET:] == TAR


def read_tensorflow(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a TensorFlow checkpoint.

    By TensorFlow's names, in TensorFlow's axis order: convolutions are (row, column, in, out).
    """
    try:
        index, parts = _open_archive(path) if is_archive(path) else _open_folder(path)
        return dict(_iter_tensors(index, parts))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error
    except (struct.error, IndexError, ValueError, KeyError, OverflowError) as error:
        raise BundleError(
            f"{path} is damaged, or no TensorFlow checkpoint of format V2 (model.ckpt.index beside "
            f"model.ckpt.data-00000-of-00001): {error}. Get it again from where it came."
        ) from error


def _open_folder(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint whose parts lie beside each other; numbers are read as they are asked for."""
    parts = list_data_files(path)
    if not parts:
        numbers = f"{path.name.removesuffix(INDEX_SUFFIX)}{DATA_SUFFIX}00000-of-00001"
        raise BundleError(f"{path.name} needs the file with the numbers beside it: {numbers}.")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise ValueError("its table is too large")
    mapped = [np.memmap(part, np.uint8, "r") if part.stat().st_size else np.empty(0, np.uint8) for part in parts]
    return path.read_bytes(), mapped


def _open_archive(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint in its archive, without unpacking anything to the disk."""
    with path.open("rb") as file:
        zipped = file.read(len(GZIP)) == GZIP
    with (
        _BoundedGzipFile(path) if zipped else path.open("rb") as source,
        tarfile.open(fileobj=source, mode="r:") as archive,
    ):
        members = {member.name: member for member in _iter_members(archive) if member.isfile()}
        indices = [name for name in members if name.endswith(INDEX_SUFFIX)]
        if len(indices) != 1:
            raise BundleError(f"{path} holds {len(indices)} TensorFlow checkpoints (*.index), expected one.")
        data = sorted(name for name in members if name.startswith(indices[0].removesuffix(INDEX_SUFFIX) + DATA_SUFFIX))
        contents = [archive.extractfile(members[name]) for name in (indices[0], *data)]
        index, *parts = [file.read() for file in contents if file is not None]
    return index, [np.frombuffer(part, np.uint8) for part in parts]


class _BoundedGzipFile(gzip.GzipFile):
    """Gives no more at once than a header can need: tarfile asks for as much as an archive says that one has."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_TABLE_BYTES:
            raise ValueError("a header of the archive is too large")
        return super().read(size)


def _iter_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """List what is in an archive, up to as much as a checkpoint can have."""
    size = 0
    for number, member in enumerate(archive):
        size += max(0, member.size)
        if size > MAX_BYTES or number > MAX_ENTRIES:
            raise ValueError("there is more in it than in any checkpoint")
        yield member


def _iter_tensors(index: bytes, parts: list[NDArray[np.uint8]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Walk through the table; the entry without a name is the header."""
    room = sum(len(part) for part in parts)
    for key, value in _iter_table(index):
        entry = _read_message(value)
        if not key:
            if entry.get(2):
                raise ValueError("its numbers are big-endian")
            continue
        kind, sliced = entry.get(1, 0), 7 in entry
        if kind in DTYPES and not sliced:
            room -= _read_integer(entry, 5)
            if room < 0:
                raise ValueError("its tensors lie over each other, or their numbers are cut off")
            yield key.decode(), _read_tensor(key.decode(), entry, parts)


def _read_tensor(name: str, entry: Mapping[int, Field], parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Cut one tensor out of the file that it is in."""
    kind, number, offset, size = (_read_integer(entry, field) for field in (1, 3, 4, 5))
    shape = _read_shape(entry.get(2, b""))
    dtype = np.dtype(DTYPES[kind])
    if size != prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes for the shape {shape}")
    part = parts[number]
    if offset + size > len(part):
        raise ValueError(f"the numbers of {name} are cut off")
    found = np.frombuffer(part[offset : offset + size].tobytes(), dtype)
    if kind == BFLOAT16:  # the upper half of a float32
        found = (found.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for a float32 becomes infinite
        return found.astype(np.float32).reshape(shape)


def _read_shape(value: Field) -> tuple[int, ...]:
    """Read a TensorShapeProto: its dimensions, each a message with a size."""
    if not isinstance(value, bytes):
        raise ValueError("a shape is a number")
    dimensions = (
        _read_message(part) for number, part in _iter_fields(value) if number == 2 and isinstance(part, bytes)
    )
    return tuple(_read_integer(dimension, 1) for dimension in dimensions)


def _read_integer(entry: Mapping[int, Field], number: int) -> int:
    """Take a whole number out of a message; one that is not written is 0."""
    value = entry.get(number, 0)
    if not isinstance(value, int):
        raise ValueError("a size is no number")
    return value


def _iter_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the keys and values of a table: the index block names the blocks that hold them."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("its end is not that of a table")
    _, _, place = _read_block_handle(data[-FOOTER:], 0)  # of a block that says nothing to us
    offset, size, _ = _read_block_handle(data[-FOOTER:], place)
    entries = 0
    for _, handle in _iter_block_entries(_read_block(data, offset, size)):
        offset, size, _ = _read_block_handle(handle, 0)
        for entry in _iter_block_entries(_read_block(data, offset, size)):
            entries += 1
            if entries > MAX_ENTRIES:
                raise ValueError("it has more entries than any checkpoint")
            yield entry


def _read_block_handle(data: bytes, place: int) -> tuple[int, int, int]:
    """Read where a block lies: offset and size, and the place after them."""
    offset, place = _read_varint(data, place)
    size, place = _read_varint(data, place)
    return offset, size, place


def _read_block(data: bytes, offset: int, size: int) -> bytes:
    """Take a block out of a table; the byte after it says whether it is compressed."""
    content, kind = data[offset : offset + size], data[offset + size]
    if kind == SNAPPY:
        import imagecodecs

        if _read_varint(content, 0)[0] > MAX_TABLE_BYTES:
            raise ValueError("a block of its table is too large")
        try:
            return bytes(imagecodecs.snappy_decode(content))
        except imagecodecs.SnappyError as error:
            raise ValueError(f"a block of its table cannot be unpacked ({error})") from error
    return content


def _iter_block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the entries of a block; each key says how much of its beginning it shares with the one before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = len(block) - 4 * (restarts + 1), 0, b""
    while place < end:
        shared, place = _read_varint(block, place)
        own, place = _read_varint(block, place)
        size, place = _read_varint(block, place)
        if shared + own > MAX_NAME_LENGTH or place + own + size > end:
            raise ValueError("an entry of its table is too long")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + size]
        place += size


def _read_message(data: bytes) -> dict[int, Field]:
    """Read a protocol buffer whose fields do not repeat (or whose last repetition is enough)."""
    return dict(_iter_fields(data))


def _iter_fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """List the fields of a protocol buffer: their numbers, and whole numbers or bytes."""
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _read_varint(data, place)
            yield number, value
        elif wire == 2:
            size, place = _read_varint(data, place)
            yield number, data[place : place + size]
            place += size
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[place : place + width], "little")
            place += width
        else:
            raise ValueError(f"a field of the kind {wire}")


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a whole number of seven bits a byte, and the place after it."""
    value = 0
    for digit in range(MAX_DIGITS):
        byte = data[place + digit]
        value |= (byte & 127) << 7 * digit
        if byte < 128:
            return value, place + digit + 1
    raise ValueError("a number is too long")


Dialect = Callable[[str], str | None]
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


def _zero_based(text: str, by: int = 1) -> int:
    """Count from 0 what a name counts from ``by``."""
    return int(text) - by


def _unit_name(found: re.Match[str]) -> str:
    """Name a unit of Xception: the middle flow is one block of many units, the other flows many blocks of one."""
    flow, block, unit = found.group(1, 2, 3)
    return f"encoder.{flow}.{_zero_based(unit if flow == 'middle' else block)}"


def _compile_rules(*pairs: tuple[str, Callable[[re.Match[str]], str]]) -> Rules:
    return tuple((re.compile(pattern), place) for pattern, place in pairs)


def _apply_rules(rules: Rules, name: str) -> str | None:
    """Apply the first rule whose whole pattern fits."""
    for pattern, place in rules:
        if found := pattern.fullmatch(name):
            return place(found)
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

    Our name; None for what a network does not hold, such as the optimiser's state.
    """
    if found := re.fullmatch(r"logits/semantic/(weight|bias)(?:e?s)", name):
        return f"logits.{found[1]}"
    found = _TENSORFLOW_TAIL.fullmatch(name)
    place = _apply_rules(_TENSORFLOW, found[1]) if found else None
    return f"{place}.{_TENSORFLOW_TAILS[found[2]]}" if found and place else None


def _port_unit_name(block: str) -> str:
    """Name a unit of Xception where a port counts all of them in a row: 3, then 16, then the first of the exit."""
    number = int(block)
    if number <= 3:
        return f"encoder.entry.{number - 1}"
    return f"encoder.middle.{number - 4}" if number < 20 else f"encoder.exit.{number - 20}"


def _port_convolution_name(block: str, place: str) -> str:
    """Name the one of a unit's three convolutions that a place of its sequence belongs to.

    Each has a ReLU before it and a normalisation after it; the first unit has no first ReLU.
    """
    return f"{_port_unit_name(block)}.separable.{(int(place) + (block == '1')) // 3}"


_STEPS = {
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
# The steps of an inverted residual, and where torchvision's nested and older flat sequences have them.
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
    """Make the dialect of PyTorch ports from how one of them names its encoder."""

    def translate(name: str) -> str | None:
        found = re.fullmatch(rf"(.+){PARAMETER}", name)
        if found is None:
            return None
        place = _apply_rules(_PORT_HEADS, found[1]) or encoder(found[1].removeprefix("backbone."))
        return f"{place}.{found[2]}" if place else None

    return translate


def _make_mobilenet_dialect(first: dict[str, str], others: dict[str, str]) -> Dialect:
    """Make the dialect of a MobileNetV2 from where the steps of its blocks stand; the first block does not widen."""

    def translate(name: str) -> str | None:
        found = _FEATURES.fullmatch(name)
        if found is None:
            return None
        number, place = int(found[1]), found[2]
        if number == 0:
            return {"0": "encoder.stem.conv", "1": "encoder.stem.norm"}.get(place)
        step = (first if number == 1 else others).get(place)
        return f"encoder.blocks.{number - 1}.{step}" if step else None

    return translate


def _make_prefix_dialect(prefix: str) -> Dialect:
    """Make the dialect of a file with the weights of one part of a network."""
    return lambda name: prefix + name


def _from_timm(name: str) -> str:
    """Name a tensor of a whole network of timm where an encoder holds the parts of its sequences by themselves."""
    return "encoder.model." + re.sub(r"^(stem|stages|layers|features)\.", r"\1_", name)


_FASTAI = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def _from_fastai(name: str) -> str | None:
    """Name a tensor of a ResNet that fastai has cut into a sequence: its body, at times below the part for images."""
    found = re.fullmatch(r"(?:cnn_model\.|image_model\.|encoder\.|0\.)?0\.(\d)\.(.+)", name)
    part = _FASTAI.get(found[1]) if found else None
    return f"encoder.model.{part}.{found[2]}" if found and part else None


DIALECTS: dict[str, Dialect] = {
    "our own names": lambda name: name,
    "an encoder": _make_prefix_dialect("encoder."),
    "an encoder of timm": _make_prefix_dialect("encoder.model."),
    "a network of timm": _from_timm,
    "a transformer of timm": _make_prefix_dialect("encoder.model.model."),
    "a ResNet of fastai": _from_fastai,
    "DeepLab for TensorFlow": translate_tensorflow_name,
    "DeepLab with Xception for PyTorch": _make_port_dialect(lambda name: _apply_rules(_PORT_XCEPTION, name)),
    "MobileNetV2 for PyTorch": _make_port_dialect(_make_mobilenet_dialect(_NESTED_FIRST, _NESTED)),
    "MobileNetV2 for PyTorch, flat": _make_port_dialect(_make_mobilenet_dialect(_FLAT_FIRST, _FLAT)),
}
# What the networks of a dialect add to the variance in every batch normalisation, where ours do not the same.
EPSILONS: dict[str, float] = {
    "DeepLab with Xception for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch, flat": 1e-5,
}
