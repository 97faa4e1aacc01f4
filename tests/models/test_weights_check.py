"""A bundle whose weights are not finite, or do not match their header, is refused by import and by load."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models import installed_bundles
from napari_melanoma.models.bundle import CARD, WEIGHTS, check_weights, load_network, read_bundle
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER, install_bundle


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(installed_bundles, "user_models_folder", lambda: tmp_path / "models")
    return Path(shutil.copytree(SHIPPED_FOLDER / "lesion-small", tmp_path / "bundle"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_on_import_and_on_load(bundle: Path, value: float) -> None:
    tensors = load_file(bundle / WEIGHTS)
    name = sorted(key for key, tensor in tensors.items() if tensor.dtype.kind == "f" and tensor.size > 3)[-1]
    tensors[name] = tensors[name].copy()
    tensors[name].flat[2] = value
    save_file(tensors, bundle / WEIGHTS)
    for use in (install_bundle, load_network):
        with pytest.raises(BundleError, match=f"value 3 of .* in tensor '{name}' is NaN or infinite"):
            use(read_bundle(bundle))
    assert not installed_bundles.user_models_folder().exists()


def raw(dtype: str, content: bytes, shape: list[int]) -> bytes:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]}}).encode()
    return len(header).to_bytes(8, "little") + header + content


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("F64", np.float64(1.7e308).tobytes(), np.float64(np.inf).tobytes()),
        ("F32", np.float32(3.4e38).tobytes(), np.float32(np.nan).tobytes()),
        ("F16", np.float16(-65504).tobytes(), np.float16(-np.inf).tobytes()),
        ("BF16", b"\x7f\x7f", b"\x80\x7f"),
    ],
)
def test_every_kind_of_float_is_checked(tmp_path: Path, dtype: str, good: bytes, bad: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw(dtype, good * 9, [9]))
    check_weights(path)
    path.write_bytes(raw(dtype, good * 8 + bad, [9]))
    with pytest.raises(BundleError, match="value 9 of 9 in tensor 'w'"):
        check_weights(path)


def test_integers_of_any_bits_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw("I64", b"\xff" * 16, [2]))
    check_weights(path)


WHOLE = raw("F16", b"\x00\x3c" * 8, [8])
TWICE = json.dumps({n: {"dtype": "F16", "shape": [8], "data_offsets": [0, 16]} for n in "ab"}).encode()
LYING = [
    ("nothing", b""),
    ("a few bytes", b"\x10\x00"),
    ("a cut header", WHOLE[:20]),
    ("cut data", WHOLE[:-1]),
    ("more data than it states", WHOLE + b"\x00\x00"),
    ("a header longer than the file", (10**6).to_bytes(8, "little") + b"{}"),
    ("a header of 2**63 bytes", (2**63).to_bytes(8, "little") + b"{}"),
    ("a header that is no JSON", (8).to_bytes(8, "little") + b"no JSON!"),
    ("a header nested deeply", (50_000).to_bytes(8, "little") + b"[" * 50_000),
    ("a shape of another size", raw("F16", b"\x00\x3c" * 8, [9])),
    ("an absurd shape", raw("F16", b"\x00\x3c" * 8, [2**40, 2**40])),
    ("a shape below zero", raw("F16", b"\x00\x3c" * 8, [-8])),
    ("an unknown type", raw("F17", b"\x00\x3c" * 8, [8])),
    ("tensors that overlap", len(TWICE).to_bytes(8, "little") + TWICE + b"\x00" * 16),
    ("a list", (2).to_bytes(8, "little") + b"[]"),
]


@pytest.mark.parametrize("content", [case[1] for case in LYING], ids=[case[0] for case in LYING])
def test_a_file_that_does_not_match_its_header_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / WEIGHTS).write_bytes(content)
    for use in (install_bundle, load_network):
        with pytest.raises(BundleError, match=WEIGHTS):
            use(read_bundle(bundle))


def test_the_check_is_fast_compared_with_loading(bundle: Path) -> None:
    path = bundle / "large.safetensors"
    save_file({f"w{number}": np.ones(5_000_000, np.float16) for number in range(4)}, path)
    started = time.process_time()
    check_weights(path)
    assert time.process_time() - started < 0.5  # 0.03 s for 40 MB


def test_a_card_that_is_not_utf8_is_refused(bundle: Path) -> None:
    (bundle / CARD).write_bytes(b"# Modell f\xfcr L\xe4sionen")
    with pytest.raises(BundleError, match=r"README\.md, the card of the model, as text in UTF-8"):
        read_bundle(bundle)
