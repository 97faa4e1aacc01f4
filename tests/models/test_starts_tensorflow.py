"""TensorFlow checkpoints, written here according to their format, are read and matched to our networks by name."""

from __future__ import annotations

import gzip
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.checkpoint_conversion import MAGIC, load_weights_file, read_tensorflow, read_weights
from napari_melanoma.models.weights_location import find_weights_file
from napari_melanoma.models.zoo import build_network

KINDS = {"float32": 1, "float64": 2, "int64": 9, "float16": 19}
TENSORS = {
    "aspp0/BatchNorm/gamma": np.arange(4, dtype=np.float32),
    "aspp0/weights": np.arange(24, dtype=np.float64).reshape(1, 1, 4, 6),
    "aspp1_depthwise/depthwise_weights": np.arange(27, dtype=np.float16).reshape(3, 3, 3, 1),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(7.0).reshape(()),
}


def varint(number: int) -> bytes:
    """Encode an integer with seven bits per byte."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    """Encode a field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Encode a block of a table, whose keys share a prefix with the previous one, with a restart every 16 entries."""
    out, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % 16 == 0:
            restarts.append(len(out))
        else:
            shared = next(
                (i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), min(len(last), len(key))
            )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    places = restarts or [0]
    return out + struct.pack(f"<{len(places) + 1}I", *places, len(places))


def table(entries: list[tuple[bytes, bytes]], *, compressed: bool = False, in_block: int = 40) -> bytes:
    """Encode a table: data blocks, an empty block, the index block, the footer."""
    import imagecodecs

    out = b""

    def put(content: bytes) -> bytes:
        nonlocal out
        stored = imagecodecs.snappy_encode(content) if compressed else content
        handle = varint(len(out)) + varint(len(stored))
        out += bytes(stored) + bytes([compressed]) + b"\0\0\0\0"
        return handle

    parts = [entries[place : place + in_block] for place in range(0, len(entries), in_block)]
    index = [(part[-1][0], put(block(part))) for part in parts]
    footer = put(block([])) + put(block(index))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def entry(kind: int, shape: tuple[int, ...], offset: int, size: int) -> bytes:
    """Encode the index entry of a tensor; fields of 0 are omitted."""
    sizes = b"".join(field(2, field(1, side) if side else b"") for side in shape)
    numbers = {1: kind, 4: offset, 5: size}
    return field(2, sizes) + b"".join(field(number, value) for number, value in numbers.items() if value)


def write_checkpoint(prefix: Path, tensors: Mapping[str, NDArray[Any]], **how: Any) -> Path:
    """Write ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``, in the order of the names."""
    entries, numbers = [(b"", field(1, 1) + field(3, field(1, 1)))], b""
    for name in sorted(tensors):
        value = tensors[name]
        entries.append((name.encode(), entry(KINDS[str(value.dtype)], value.shape, len(numbers), value.nbytes)))
        numbers += value.tobytes()
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(numbers)
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table(entries, **how))
    return index


@pytest.mark.parametrize("how", [{}, {"compressed": True}, {"in_block": 2}], ids=["plain", "snappy", "small blocks"])
def test_every_number_type_is_read(how: dict[str, Any], tmp_path: Path) -> None:
    step = {"global_step": np.array(40_000, np.int64)}
    many = {f"units/unit_{number}/weights": np.full(2, number, np.float32) for number in range(50)}
    found = read_tensorflow(write_checkpoint(tmp_path / "model.ckpt", {**TENSORS, **many, **step}, **how))
    assert found.keys() == {**TENSORS, **many}.keys()
    assert all(value.dtype == np.float32 for value in found.values())
    for name, expected in {**TENSORS, **many}.items():
        np.testing.assert_array_equal(found[name], expected)


def test_numbers_too_large_for_the_network_are_infinite(tmp_path: Path) -> None:
    found = read_tensorflow(write_checkpoint(tmp_path / "model.ckpt", {"weights": np.array([1e300, 1.0])}))
    np.testing.assert_array_equal(found["weights"], np.array([np.inf, 1], np.float32))


def test_an_archive_is_read_as_it_is_published(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.ckpt", TENSORS)
    archive = tmp_path / "deeplabv3_pascal.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for part in sorted(tmp_path.glob("model.ckpt.*")):
            packed.add(part, f"deeplabv3_pascal/{part.name}")
    assert read_tensorflow(archive).keys() == TENSORS.keys()


def test_convolutions_are_transposed_to_the_order_of_pytorch(tmp_path: Path) -> None:
    found = read_weights(write_checkpoint(tmp_path / "model.ckpt", TENSORS))
    assert found["aspp0/weights"].shape == (6, 4, 1, 1)
    assert float(found["aspp0/weights"][5, 3, 0, 0]) == TENSORS["aspp0/weights"][0, 0, 3, 5]
    name = "aspp1_depthwise/depthwise_weights"
    assert found[name].shape == (3, 1, 3, 3)
    assert float(found[name][2, 0, 0, 1]) == TENSORS[name][0, 1, 2, 0]


@pytest.mark.parametrize("named", ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001", "."])
def test_prefix_parts_and_folder_name_the_checkpoint(named: str, tmp_path: Path) -> None:
    index = write_checkpoint(tmp_path / "model.ckpt", TENSORS)
    assert find_weights_file(str(tmp_path / named)) == index


FAULTS = {
    "no end of a table": (lambda index, numbers: (index[:-9], numbers), "its end is not that of a table"),
    "numbers cut off": (lambda index, numbers: (index, numbers[:-60]), "their data are truncated"),
    "garbled index": (lambda index, numbers: (b"\xff" * 64 + index[64:], numbers), "damaged"),
    "empty": (lambda index, numbers: (b"", numbers), "its end is not that of a table"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_reported(fault: str, tmp_path: Path) -> None:
    index = write_checkpoint(tmp_path / "model.ckpt", TENSORS)
    numbers = tmp_path / "model.ckpt.data-00000-of-00001"
    harm, message = FAULTS[fault]
    for path, content in zip((index, numbers), harm(index.read_bytes(), numbers.read_bytes()), strict=True):
        path.write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read_tensorflow(index)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a checkpoint in each form in which checkpoints are published."""
    folder = tmp_path_factory.mktemp("published")
    index = write_checkpoint(folder / "model.ckpt", TENSORS)
    (folder / "old").mkdir()
    packed = write_checkpoint(folder / "old/model.ckpt", TENSORS, compressed=True)
    for mode, name in (("w:gz", "model.tar.gz"), ("w", "model.tar")):
        with tarfile.open(folder / name, mode) as archive:
            archive.add(index, index.name)
            archive.add(index.with_name("model.ckpt.data-00000-of-00001"), "model.ckpt.data-00000-of-00001")
    return {"plain": index, "snappy": packed, "tar.gz": folder / "model.tar.gz", "tar": folder / "model.tar"}


@pytest.mark.parametrize("form", ["plain", "snappy", "tar.gz", "tar"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(form: str, published: dict[str, Path], data: st.DataObject) -> None:
    path = published[form]
    whole = path.read_bytes()
    harmed = bytearray(whole)
    flips = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    for place, byte in data.draw(flips):
        harmed[place] = byte
    path.write_bytes(harmed[: data.draw(st.sampled_from([len(whole), len(whole) // 2, len(whole) - 9]))])
    try:
        found = list(read_tensorflow(path).values())
    except BundleError as refusal:
        found = [str(refusal)]
    finally:
        path.write_bytes(whole)
    assert all(isinstance(value, str) or value.dtype == np.float32 for value in found)


def snappy_bomb() -> bytes:
    """A table whose index block declares an unpacked size of four gigabytes."""
    content = b"\xff\xff\xff\xff\x0f" + b"\0" * 8
    footer = varint(0) + varint(0) + varint(0) + varint(len(content))
    return content + b"\x01\0\0\0\0" + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


one = {"weights": np.arange(4, dtype=np.float32)}
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a block that unpacks to gigabytes": (snappy_bomb, "a block of its table is too large"),
    "a number without an end": (
        lambda: b"\xff" * 60 + b"\xff" * 40 + struct.pack("<Q", MAGIC),
        "an integer is too long",
    ),
    "a size that is text": (
        lambda: table([(b"weights", field(1, 1) + field(2, b"") + field(5, b"four"))]),
        "a size is not a number",
    ),
    "a shape that is a number": (lambda: table([(b"weights", field(1, 1) + field(2, 4) + field(5, 4))]), "a shape is"),
    "a shape beyond all numbers": (
        lambda: table([(b"weights", entry(1, (0, 1 << 62, 1 << 62), 0, 0))]),
        "damaged",
    ),
    "the same numbers a thousand times": (
        lambda: table([(f"w{number}".encode(), entry(1, (4,), 0, 16)) for number in range(1000)]),
        "tensors overlap",
    ),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_checkpoint_index_is_rejected(how: str, tmp_path: Path) -> None:
    make, message = HOSTILE[how]
    index = write_checkpoint(tmp_path / "model.ckpt", one)
    index.write_bytes(make())
    with pytest.raises(BundleError, match=message):
        read_tensorflow(index)


def test_an_archive_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
            member = tarfile.TarInfo(name)
            archive.addfile(member)
    content = bytearray((tmp_path / "model.tar").read_bytes())
    huge = tarfile.TarInfo("model.ckpt.index")
    huge.size = 1 << 40
    content[:512] = huge.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "model.tar").write_bytes(content)
    with pytest.raises(BundleError, match="more members than any checkpoint"):
        read_tensorflow(tmp_path / "model.tar")


def test_a_header_that_declares_a_large_size_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("headers")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(BundleError, match="a header of the archive is too large"):
        read_tensorflow(tmp_path / "model.tar.gz")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    index = write_checkpoint(tmp_path / "model.ckpt", TENSORS)
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(BundleError, match=r"model\.ckpt\.index needs the data .*: model\.ckpt\.data-00000-of-00001"):
        read_tensorflow(index)


def test_an_archive_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.txt").write_text("nothing")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "card.txt", "card.txt")
    with pytest.raises(BundleError, match="contains 0 TensorFlow checkpoints"):
        read_tensorflow(tmp_path / "model.tar.gz")


def xception_names(middle: int) -> Iterator[tuple[str, str]]:
    """Return the names of the same convolution in the official checkpoint and in our network."""
    flows = {"entry": [(block, 1, block - 1) for block in (1, 2, 3)], "exit": [(1, 1, 0), (2, 1, 1)]}
    flows["middle"] = [(1, unit, unit - 1) for unit in range(1, middle + 1)]
    yield from ((f"xception_65/entry_flow/conv1_{number}", f"encoder.stem.{number - 1}") for number in (1, 2))
    for flow, units in flows.items():
        for in_block, unit, ours in units:
            there, here = (
                f"xception_65/{flow}_flow/block{in_block}/unit_{unit}/xception_module",
                f"encoder.{flow}.{ours}",
            )
            if flow == "entry" or (flow, ours) == ("exit", 0):
                yield f"{there}/shortcut", f"{here}.shortcut"
            for number in (1, 2, 3):
                for step in ("depthwise", "pointwise"):
                    yield f"{there}/separable_conv{number}_{step}", f"{here}.separable.{number - 1}.{step}"
    yield "image_pooling", "aspp.image"
    yield "aspp0", "aspp.point"
    yield "concat_projection", "aspp.project"
    yield "decoder/feature_projection0", "decoder.low_level"
    for step in ("depthwise", "pointwise"):
        yield from ((f"aspp{number}_{step}", f"aspp.atrous.{number - 1}.{step}") for number in (1, 2, 3))
        yield from ((f"decoder/decoder_conv{number}_{step}", f"decoder.fuse.{number}.{step}") for number in (0, 1))


def mobilenet_names() -> Iterator[tuple[str, str]]:
    """Return these names for MobileNetV2 with the reduced head."""
    yield "MobilenetV2/Conv", "encoder.stem"
    for number in range(17):
        there = f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}"
        steps = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        yield from ((f"{there}/{step}", f"encoder.blocks.{number}.{step}") for step in steps)
    yield "image_pooling", "aspp.image"
    yield "aspp0", "aspp.point"
    yield "concat_projection", "aspp.project"


TAILS = {
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}
NETWORKS = {
    "deeplabv3plus_xception": ({"width": 0.03, "middle": 2, "decoder_channels": 8}, list(xception_names(2))),
    "deeplabv3plus_mobilenetv2": ({"width": 0.1, "head_channels": 8}, list(mobilenet_names())),
}


def official_tensors(state: Mapping[str, Any], names: list[tuple[str, str]]) -> dict[str, NDArray[np.float32]]:
    """Return a network's state under the official names, in TensorFlow's order, with 21 classes and an optimizer."""
    found = {}
    for there, here in names:
        kernel, tail = state[f"{here}.conv.weight"].numpy(), "weights"
        order = (2, 3, 1, 0)
        if there.endswith("depthwise"):
            order, tail = (2, 3, 0, 1), "depthwise_weights"
        found[f"{there}/{tail}"] = np.ascontiguousarray(kernel.transpose(order))
        found[f"{there}/{tail}/Momentum"] = np.zeros(3, np.float32)
        found |= {f"{there}/{theirs}": state[f"{here}.{ours}"].numpy() for theirs, ours in TAILS.items()}
    head = np.zeros((1, 1, state["logits.weight"].shape[1], 21), np.float32)
    return found | {"logits/semantic/weights": head, "logits/semantic/biases": np.zeros(21, np.float32)}


def test_official_files_fill_the_encoder_of_the_full_decoder(tmp_path: Path) -> None:
    options, names = NETWORKS["deeplabv3plus_mobilenetv2"]
    reduced = build_network("deeplabv3plus_mobilenetv2", options)
    index = write_checkpoint(tmp_path / "model.ckpt", official_tensors(reduced.state_dict(), names))
    network = build_network("deeplabv3plus_mobilenetv2_full", options)
    load_weights_file(network, index)
    truth, found = reduced.state_dict(), network.state_dict()
    for key in (key for key in truth if key.startswith(("encoder.", "aspp.image.", "aspp.point."))):
        assert key.endswith("num_batches_tracked") or bool((found[key] == truth[key]).all()), key


@pytest.mark.parametrize("name", NETWORKS)
def test_official_files_fill_every_tensor_except_the_classes(name: str, tmp_path: Path) -> None:
    options, names = NETWORKS[name]
    truth = {
        key: value.uniform_(0.5, 1.5) if value.is_floating_point() else value
        for key, value in build_network(name, options).state_dict().items()
    }
    index = write_checkpoint(tmp_path / "model.ckpt", official_tensors(truth, names))
    network = build_network(name, options)
    report = load_weights_file(network, index)
    found = network.state_dict()
    other = [
        key
        for key in truth
        if key.split(".")[-1] != "num_batches_tracked" and not bool((found[key] == truth[key]).all())
    ]
    assert other == ["logits.weight", "logits.bias"]
    assert "logits.weight is (21, 8, 1, 1) in the file, (1, 8, 1, 1) in the network" in report
    assert "missing in the file" not in report
