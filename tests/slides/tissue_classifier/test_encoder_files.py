"""Recognize the file of an encoder, and remember that its license was accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_melanoma.slides.tissue_classifier.encoder_files import (
    ENCODERS_FILE,
    UNKNOWN_LICENCE,
    EncoderFile,
    _encoders_path,
    accept_encoder,
    describe_encoder,
    find_weights,
    guess_by_path,
    guess_encoder,
    inspect_encoder,
    list_encoder_names,
    read_accepted,
)
from napari_melanoma.slides.tissue_classifier.published_features import is_published

SCALE = {"blocks.0.ls1.gamma": (8,)}


@dataclass(frozen=True)
class Case:
    name: str
    width: int
    side: int
    expected: str
    tokens: int = 197
    registers: int = 0
    prefix: str = ""
    others: dict[str, tuple[int, ...]] = field(default_factory=lambda: SCALE)


CASES = [
    Case("DINOv2 small", 384, 14, "timm:vit_small_patch14_dinov2", tokens=1370),
    Case("DINOv2 giant with registers", 1536, 14, "timm:vit_giant_patch14_reg4_dinov2", tokens=1369, registers=4),
    Case("H-optimus-0 has the same shape with fewer positions", 1536, 14, "h-optimus-0", tokens=257, registers=4),
    Case("UNI", 1024, 16, "uni"),
    Case("UNI2", 1536, 14, "uni2-h", registers=8),
    Case("Virchow2", 1280, 14, "virchow2", registers=4),
    Case("GigaPath", 1536, 16, "gigapath"),
    Case("CONCH", 768, 16, "conch", prefix="visual.trunk."),
    Case("a transformer of ImageNet", 1024, 16, "", others={}),
    Case("another width", 200, 14, "", tokens=1370),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_encoder_is_recognized_by_its_tensors(case: Case) -> None:
    shapes = {
        "patch_embed.proj.weight": (case.width, 3, case.side, case.side),
        "pos_embed": (1, case.tokens, case.width),
        **({"reg_token": (1, case.registers, case.width)} if case.registers else {}),
        **case.others,
    }
    assert guess_encoder({f"{case.prefix}{name}": shape for name, shape in shapes.items()}) == case.expected


def test_other_networks_are_not_recognized() -> None:
    assert guess_encoder({"conv1.weight": (64, 3, 7, 7)}) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hub/models--MahmoodLab--UNI/snapshots/1/pytorch_model.bin", "uni"),
        ("hub/models--MahmoodLab--UNI2-h/pytorch_model.bin", "uni2-h"),
        ("weights/virchow2/pytorch_model.bin", "virchow2"),
        ("university/pytorch_model.bin", ""),
    ],
)
def test_an_encoder_is_recognized_by_its_folder(path: str, expected: str) -> None:
    assert guess_by_path(Path(path)) == expected


def test_the_license_of_listed_encoders_is_known() -> None:
    for name in list_encoder_names():
        terms = describe_encoder(name)
        assert is_published(name)
        assert terms.page.startswith("https://")
        assert terms.licence != UNKNOWN_LICENCE
    assert describe_encoder("timm:vit_small_patch14_reg4_dinov2").title == "DINOv2 ViT-S/14 with registers"
    assert describe_encoder("timm:resnet50").licence == UNKNOWN_LICENCE


@pytest.fixture
def encoder(tmp_path: Path, user_folders: Path) -> EncoderFile:
    weights = tmp_path / "model.safetensors"
    tensors = {"patch_embed.proj.weight": (384, 3, 14, 14), "pos_embed": (1, 1370, 384)}
    save_file({name: np.zeros(shape, np.float16) for name, shape in tensors.items()}, weights)
    return inspect_encoder(weights)


def test_an_accepted_encoder_is_found_until_its_file_changes(encoder: EncoderFile) -> None:
    assert encoder.name == "timm:vit_small_patch14_dinov2"
    assert not encoder.accepted
    assert find_weights(encoder.name, encoder.fingerprint) is None
    accepted = accept_encoder(encoder)
    assert accepted.accepted
    assert inspect_encoder(encoder.weights) == accepted
    assert read_accepted() == [accepted]
    assert find_weights(encoder.name, encoder.fingerprint) == encoder.weights
    assert find_weights("uni", encoder.fingerprint) is None
    encoder.weights.write_bytes(b"another file")
    assert find_weights(encoder.name, encoder.fingerprint) is None
    assert inspect_encoder(encoder.weights).name == "timm:"


def test_a_damaged_list_counts_as_empty(encoder: EncoderFile) -> None:
    accept_encoder(encoder)
    assert _encoders_path().name == ENCODERS_FILE
    _encoders_path().write_text("{")
    assert read_accepted() == []
