"""Bit depth, orientation and color profiles, compared with independent calculations."""

import logging
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.color_conversion import apply_orientation, find_value_range, to_eight_bit, to_srgb8

DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))

DEPTHS = [
    ("truth values", np.array([False, True]), None, [0, 255]),
    ("8 bit stay", np.array([0, 7, 255], np.uint8), 8, [0, 7, 255]),
    ("4 bit", np.array([0, 1, 15], np.uint8), 4, [0, 17, 255]),
    ("16 bit round to the nearest", np.array([0, 128, 129, 257, 65535], np.uint16), None, [0, 0, 1, 1, 255]),
    ("12 bit", np.array([0, 2048, 4095], np.uint16), 12, [0, 128, 255]),
    ("12 bit with a value too large", np.array([5000], np.uint16), 12, [255]),
    ("fractions", np.array([0.0, 0.5, 1.0], np.float32), None, [0, 128, 255]),
    ("floats up to 255", np.array([0.0, 1.0, 254.6], np.float64), None, [0, 1, 255]),
    ("floats up to 65535", np.array([0.0, 257.0, 65535.0], np.float32), None, [0, 1, 255]),
    ("half precision", np.array([0.0, 1.0], np.float16), None, [0, 255]),
    ("all black floats", np.zeros(2, np.float32), None, [0, 0]),
]


@pytest.mark.parametrize(("samples", "bits", "expected"), [case[1:] for case in DEPTHS], ids=[c[0] for c in DEPTHS])
def test_eight_bit(samples, bits, expected) -> None:
    found = to_eight_bit(samples, find_value_range(samples, bits))
    assert found.dtype == np.uint8
    assert found.tolist() == expected


VALUES = np.linspace(10, 240, 2000)


def exceeded(values: np.ndarray, *others: float) -> np.ndarray:
    """Values of which the first are replaced."""
    replaced = values.copy()
    replaced[: len(others)] = others
    return replaced


RANGES = [
    ("fractions with an overshoot", exceeded(VALUES / 255, 1.02, -0.03), 1.0, "0 to 1; those outside were clipped"),
    ("fractions with a defective pixel", exceeded(VALUES / 255, 50.0), 1.0, "0 to 1; those outside were clipped"),
    ("many fractions a little above white", VALUES / 240 * 1.1, 1.0, "0 to 1; those outside were clipped"),
    ("fractions", VALUES / 255, 1.0, None),
    ("8 bits as floats", VALUES, 255.0, "0 to 255"),
    ("8 bits as floats with an overshoot", exceeded(VALUES, 262.0), 255.0, "0 to 255; those outside"),
    ("8 bits as floats in a black picture", exceeded(np.zeros(2000), 200.0, 90.0), 255.0, "0 to 255"),
    ("12 bits as floats", VALUES * 16, 4095.0, "0 to 4095"),
    ("16 bits as floats", VALUES * 257, 65535.0, "0 to 65535"),
    ("12 bits", (VALUES * 16).astype(np.uint16), 4095, "12-bit values, as no value exceeds 4095"),
    ("12 bits, big endian", (VALUES * 16).astype(">u2"), 4095, "12-bit values, as no value exceeds 4095"),
    (
        "12 bits and a label",
        exceeded((VALUES * 16).astype(np.uint16), 65535, 65535),
        4095,
        "as nearly no value exceeds",
    ),
    ("8 bits in 16", VALUES.astype(np.uint16), 255, "8-bit values"),
    ("16 bits", (VALUES * 257).astype(np.uint16), 65535, None),
    ("16 bits in a black picture", exceeded(np.zeros(2000, np.uint16), 60000, 9000), 65535, None),
    ("black", np.zeros(9, np.uint16), 65535, None),
    ("8 bits", VALUES.astype(np.uint8), 255, None),
]


@pytest.mark.parametrize(("samples", "white", "note"), [case[1:] for case in RANGES], ids=[case[0] for case in RANGES])
def test_the_range_follows_from_the_share_of_values(samples, white, note) -> None:
    found = find_value_range(samples)
    assert found.white == white
    assert found.note == note or note in found.note
    assert to_eight_bit(samples).dtype == np.uint8


@settings(max_examples=30)
@given(st.sampled_from([1.0, 255.0, 4095.0, 65535.0]), st.integers(0, 99))
@pytest.mark.slow
def test_a_few_values_outside_change_no_other_pixel(white, seed) -> None:
    generator = np.random.default_rng(seed)
    samples = generator.uniform(0.05, 0.95, (40, 50, 3)) * white
    outside = samples.copy()
    outside[0, :8] = generator.uniform(1.0, 3.0, (8, 3)) * white
    np.testing.assert_array_equal(to_eight_bit(outside)[1:], to_eight_bit(samples)[1:])
    assert (to_eight_bit(outside)[0, :8] == 255).all()


@pytest.mark.parametrize("opaque", [255, 4095, 65535])
def test_opacity_has_a_range_of_its_own(opaque) -> None:
    colors = np.full((8, 8, 3), 2048, np.uint16)
    samples = np.concatenate([colors, np.full((8, 8, 1), opaque, np.uint16)], axis=-1)
    samples[0, 0, 3] = opaque // 2
    found = to_eight_bit(samples, find_value_range(samples, has_alpha=True))
    assert found[4, 4].tolist() == [128, 128, 128, 255]
    assert abs(int(found[0, 0, 3]) - 127) <= 1


def test_a_stated_maximum_is_used_if_it_fits() -> None:
    ten_bits = (VALUES * 4).astype(np.uint16)
    assert find_value_range(ten_bits, largest=1023).white == 1023
    assert find_value_range(exceeded(ten_bits, 5000), largest=1023).white == 1023
    assert find_value_range(ten_bits * 16, largest=1023).white == 65535


REFUSED = [
    (np.array([0.5, np.nan, np.inf]), "2 values that are not finite"),
    (np.array([-0.1, 0.5]), "from -0.1 to 0.5"),
    (np.linspace(-1, 1, 100), "from -1 to 1"),
    (np.array([0.0, 1e6]), "from 0 to 1e+06"),
    (np.array([1], np.int16), "16-bit signed integer samples"),
    (np.array([1], np.uint32), "32-bit unsigned integer samples"),
    (np.array([1j]), "128-bit complex samples"),
]


@pytest.mark.parametrize(("samples", "message"), REFUSED, ids=[case[1] for case in REFUSED])
def test_eight_bit_refuses(samples, message) -> None:
    with pytest.raises(UnreadableImage) as caught:
        to_eight_bit(samples)
    assert message in str(caught.value)


STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores that notes this orientation beside an image which is upright."""
    turn = STORED_AS.get(orientation)
    return image if turn is None else np.asarray(Image.fromarray(image).transpose(turn))


@settings(max_examples=40)
@given(st.integers(0, 9), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_the_orientation_of_the_camera_is_undone(orientation, height, width, seed) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = apply_orientation(stored(image, orientation), orientation)
    np.testing.assert_array_equal(found, image)
    assert found.flags.c_contiguous


def in_srgb(colours: np.ndarray, primaries, gamma: float) -> np.ndarray:
    """Convert display colors to sRGB by the defining equations."""
    to_xyz, from_xyz = np.array(primaries).T, np.linalg.inv(np.array(SRGB).T)
    linear = np.clip((colours / 255.0) ** gamma @ to_xyz.T @ from_xyz.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
def test_wide_gamuts_are_converted(primaries, scene, matrix_profile) -> None:
    found = to_srgb8(Image.fromarray(scene), matrix_profile(primaries, 2.2))
    assert np.abs(found - in_srgb(scene, primaries, 2.2)).max() <= 2
    assert np.abs(found.astype(int) - scene).max() > 10


def test_srgb_under_its_own_profile_stays_exactly(scene) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(to_srgb8(Image.fromarray(scene), profile), scene)


def test_gray_follows_its_profile(old_grey_profile) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = to_srgb8(Image.fromarray(grey), old_grey_profile)
    expected = in_srgb(np.repeat(grey[..., None], 3, axis=-1), SRGB, 1.8)
    assert np.abs(found - expected).max() <= 2


def test_gray_with_the_profile_of_colors_follows_it_too(matrix_profile) -> None:
    grey = np.full((16, 16), 128, np.uint8)
    found = to_srgb8(Image.fromarray(grey), matrix_profile(SRGB, 1.0))
    assert np.abs(found.astype(int) - 188).max() <= 2


def test_cmyk_is_converted_by_its_profile(key_only_profile) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0] = 255
    inks[8:, :, 3] = 255
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    found = to_srgb8(image, key_only_profile)
    assert found[:8].min() >= 253
    assert found[8:].max() <= 2


def test_cmyk_without_profile_is_converted_by_formula() -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert np.unique(to_srgb8(image, None).reshape(-1, 3), axis=0).tolist() == [[0, 255, 255]]


def test_a_profile_of_another_color_space_is_ignored(scene, key_only_profile, caplog) -> None:
    for fault, profile in {"damaged": b"no profile", "of other colors": key_only_profile}.items():
        with caplog.at_level(logging.INFO):
            np.testing.assert_array_equal(to_srgb8(Image.fromarray(scene), profile), scene, err_msg=fault)
    assert [record.message.startswith("An ICC profile is ignored") for record in caplog.records] == [True, True]


def test_transparency_is_laid_over_white(scene) -> None:
    alpha = np.full((*scene.shape[:2], 1), 51, np.uint8)
    found = to_srgb8(Image.fromarray(np.concatenate([scene, alpha], axis=-1)), None)
    assert np.abs(found - (0.2 * scene + 0.8 * 255)).max() <= 1


def test_the_profile_applies_below_transparency(scene, matrix_profile) -> None:
    alpha = np.full((*scene.shape[:2], 1), 255, np.uint8)
    found = to_srgb8(Image.fromarray(np.concatenate([scene, alpha], axis=-1)), matrix_profile(DISPLAY_P3, 2.2))
    assert np.abs(found - in_srgb(scene, DISPLAY_P3, 2.2)).max() <= 2


def test_a_png_with_one_transparent_gray() -> None:
    buffer = BytesIO()
    Image.fromarray(np.array([[10, 20]] * 2, np.uint8)).save(buffer, "PNG", transparency=10)
    assert to_srgb8(Image.open(buffer), None)[0].tolist() == [[255] * 3, [20] * 3]
