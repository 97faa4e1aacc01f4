"""The phantom lesion: exact truth, reproducible, and independent elements."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion, label, map_coordinates
from scipy.signal import find_peaks
from skimage.color import rgb2lab

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.phantoms.lesion.phantom import LesionPhantom, lesion_phantom, lesion_phantoms
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

MODALITIES = ["dermoscopic", "macroscopic"]
SMALL = (150, 200)
CLEAN = {
    "artefacts": {"hairs": 0, "ruler": False, "bubbles": 0, "ink": False},
    "camera": {"aperture": False, "vignette": 0, "gradient": 0, "cast": 0, "noise": 0, "shine": 0},
}


@cache
def drawn(text: str) -> LesionPhantom:
    return lesion_phantom(LesionPhantomConfig.parse(json.loads(text), "test"))


def phantom(**values: object) -> LesionPhantom:
    return drawn(json.dumps({"size": SMALL} | values, sort_keys=True))


def luminance(rgb: np.ndarray) -> np.ndarray:
    return rgb2lab(rgb)[..., 0]


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_phantom_is_an_image_a_mask_and_a_scale(modality: str) -> None:
    result = phantom(modality=modality, seed=2)
    assert result.rgb.dtype == np.uint8
    assert result.rgb.shape == (*SMALL, 3)
    assert result.mask.dtype == bool
    assert result.mask.shape == SMALL
    um = result.parameters["pixel_size_um"]
    assert result.pixel_size == PixelSize(um, um, "phantom")
    assert um == pytest.approx(1000 * result.parameters["field_mm"] / SMALL[1])


def test_by_default_it_is_a_dermoscopic_lesion_of_450_by_600_pixels() -> None:
    result = lesion_phantom()
    assert result.rgb.shape == (450, 600, 3)
    assert result.parameters["modality"] == "dermoscopic"
    assert label(result.mask, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_same_configuration_gives_the_same_bytes(modality: str) -> None:
    config = LesionPhantomConfig(seed=11, size=SMALL, modality=modality)
    one, other = lesion_phantom(config), lesion_phantom(config)
    assert one.rgb.tobytes() == other.rgb.tobytes()
    assert one.mask.tobytes() == other.mask.tobytes()
    assert one.parameters == other.parameters


def test_another_seed_gives_another_lesion() -> None:
    one, other = lesion_phantoms(LesionPhantomConfig(seed=5, size=SMALL), 2)
    assert (one.parameters["seed"], other.parameters["seed"]) == (5, 6)
    assert (one.mask != other.mask).any()


ELEMENTS = [
    ("artefacts", {"hairs": 20, "ruler": False, "bubbles": 0, "ink": False}),
    ("artefacts", {"hairs": 0, "ruler": True, "bubbles": 0, "ink": False}),
    ("artefacts", {"hairs": 0, "ruler": False, "bubbles": 9, "ink": False}),
    ("artefacts", {"hairs": 0, "ruler": False, "bubbles": 0, "ink": True}),
]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize(("group", "options"), ELEMENTS, ids=["hairs", "ruler", "bubbles", "ink"])
def test_an_artifact_changes_only_what_it_covers(modality: str, group: str, options: dict) -> None:
    values = {"seed": 3, "modality": modality, "camera": {"blur_mm": 0, "noise": 0}}
    bare = phantom(**values, artefacts=CLEAN["artefacts"])
    dressed = phantom(**values, **{group: options})
    changed = (bare.rgb != dressed.rgb).any(axis=-1)
    assert 0 < changed.mean() < 0.6
    assert np.array_equal(bare.mask, dressed.mask)
    assert bare.parameters["lesions"] == dressed.parameters["lesions"]
    assert bare.parameters["camera"] == dressed.parameters["camera"]


LEAVES_THE_MASK = [
    {"skin_type": 1},
    {"skin_type": 6},
    {"skin": {"mottling": 0, "furrows": 0, "freckles": 1, "redness": 1}},
    {"camera": {"aperture": True, "vignette": 1, "gradient": 1, "noise": 1, "blur_mm": 0.2}},
    {"lesion": {"structure": "globules", "veil": 1, "blotches": 1, "darkness": 0.1, "variegation": 1}},
]


@pytest.mark.parametrize("change", LEAVES_THE_MASK, ids=lambda change: next(iter(change)))
def test_traits_other_than_the_shape_do_not_change_the_mask(change: dict) -> None:
    assert np.array_equal(phantom(seed=8).mask, phantom(seed=8, **change).mask)


@settings(max_examples=5)
@given(
    seed=st.integers(0, 10_000),
    irregularity=st.floats(0, 1),
    asymmetry=st.floats(0, 1),
    elongation=st.floats(1, 2),
)
def test_the_mask_has_the_area_of_the_outline(
    seed: int, irregularity: float, asymmetry: float, elongation: float
) -> None:
    shape = {"irregularity": irregularity, "asymmetry": asymmetry, "elongation": elongation, "diameter_mm": 5}
    config = LesionPhantomConfig.parse({"seed": seed, "size": (240, 320), "lesion": shape, "field_mm": 15}, "test")
    result = lesion_phantom(config)
    (lesion,) = result.parameters["lesions"]
    assert lesion["area_mm2"] == pytest.approx(np.pi / 4 * 25)
    assert result.parameters["area_px"] == result.mask.sum()
    assert result.parameters["area_in_view_mm2"] == pytest.approx(lesion["area_mm2"], rel=0.01)
    assert label(result.mask, np.ones((3, 3)))[1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("lesions", [0, 1, 2, 5])
@pytest.mark.parametrize("modality", MODALITIES)
def test_there_are_as_many_lesions_as_requested(modality: str, lesions: int) -> None:
    result = phantom(seed=0, modality=modality, lesions=lesions)
    assert label(result.mask, np.ones((3, 3)))[1] == lesions
    assert len(result.parameters["lesions"]) == lesions
    total = sum(lesion["area_mm2"] for lesion in result.parameters["lesions"])
    assert result.parameters["area_in_view_mm2"] == pytest.approx(total, rel=0.03)


def test_a_lesion_is_at_the_requested_position_also_over_the_edge() -> None:
    result = phantom(seed=1, lesion={"centre": (0.5, 0.0), "diameter_mm": 6}, field_mm=16)
    rows, columns = np.nonzero(result.mask)
    assert columns.min() == 0
    assert abs(rows.mean() - SMALL[0] / 2) < 8
    assert result.parameters["area_in_view_mm2"] < 0.7 * result.parameters["lesions"][0]["area_mm2"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_border_has_half_its_strength_on_the_outline(modality: str) -> None:
    shape = {"irregularity": 0, "asymmetry": 0, "elongation": 1, "fade_mm": 1.0, "structure": "homogeneous"}
    look = {"variegation": 0, "blotches": 0, "veil": 0, "height": 0, "diameter_mm": 8, "darkness": 0.3}
    bare = {"mottling": 0, "furrows": 0, "freckles": 0, "redness": 0}
    values = {"modality": modality, "seed": 6, "field_mm": 20, "skin": bare} | CLEAN
    result = phantom(**values, lesion=shape | look)
    density = green_density(result.rgb) - green_density(phantom(**values, lesions=0).rgb)
    outline = result.mask & ~binary_erosion(result.mask)
    mm = round(1000 / result.parameters["pixel_size_um"])
    inside = binary_erosion(result.mask, iterations=mm)
    plateau = inside & ~binary_erosion(inside)
    assert density[outline].mean() / density[plateau].mean() == pytest.approx(0.5, abs=0.08)
    assert np.abs(density[~binary_dilation(result.mask, iterations=2 * mm)]).max() < 0.02


def green_density(rgb: np.ndarray) -> np.ndarray:
    """Optical density in green, from the inverse of the sRGB encoding."""
    return -np.log(((rgb[..., 1] / 255 + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_finer_image_shows_the_same_lesion(modality: str) -> None:
    coarse = phantom(seed=0, modality=modality, **CLEAN)
    fine = phantom(seed=0, modality=modality, **CLEAN, size=(2 * SMALL[0], 2 * SMALL[1]))
    mask = fine.mask.reshape(SMALL[0], 2, SMALL[1], 2).mean(axis=(1, 3)) >= 0.5
    assert 2 * (mask & coarse.mask).sum() / (mask.sum() + coarse.mask.sum()) > 0.97
    rgb = fine.rgb.reshape(SMALL[0], 2, SMALL[1], 2, 3).mean(axis=(1, 3))
    assert np.abs(rgb - coarse.rgb).mean() < 3


@pytest.mark.parametrize("modality", MODALITIES)
def test_skin_types_go_from_light_to_dark(modality: str) -> None:
    skins = [phantom(seed=1, modality=modality, skin_type=kind, lesions=0, **CLEAN).rgb for kind in range(1, 7)]
    lab = [rgb2lab(skin).reshape(-1, 3).mean(axis=0) for skin in skins]
    angles = [np.degrees(np.arctan2(lightness - 50, b)) for lightness, _, b in lab]
    assert all(np.diff([lightness for lightness, _, _ in lab]) < -2)
    assert all(np.diff(angles) < -4)
    assert all(2 < a < 20 and 4 < b < 26 for _, a, b in lab)


@pytest.mark.parametrize("skin_type", [1, 3, 5, 6])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_lesion_is_darker_than_the_skin_around_it(modality: str, skin_type: int) -> None:
    result = phantom(seed=1, modality=modality, skin_type=skin_type, artefacts=CLEAN["artefacts"])
    near = binary_dilation(result.mask, iterations=14) & ~binary_dilation(result.mask, iterations=5)
    lightness = luminance(result.rgb)
    assert np.median(lightness[near]) - np.median(lightness[result.mask]) > 1.5


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_ticks_of_the_ruler_are_a_millimeter_apart(modality: str) -> None:
    values = {"seed": 4, "modality": modality, "size": (450, 600), "camera": {"noise": 0}}
    shown = phantom(**values, artefacts=CLEAN["artefacts"] | {"ruler": True})
    ruler = shown.parameters["ruler"]
    first, last = (np.array(ruler[name]) for name in ("first_px", "last_px"))
    px_per_mm = 1000 / shown.parameters["pixel_size_um"]
    assert np.hypot(*(last - first)) == pytest.approx(ruler["length_mm"] * px_per_mm)
    ticks_mm = ticks_along(luminance(shown.rgb), first, last, px_per_mm)
    assert ticks_mm == pytest.approx(np.arange(ruler["length_mm"] + 1), abs=0.06)


def ticks_along(image: np.ndarray, first: np.ndarray, last: np.ndarray, px_per_mm: float) -> np.ndarray:
    """Where dark ticks cross a line beside their row, on the side where they are, in mm from the first."""
    along = (last - first) / np.hypot(*(last - first))
    at_mm = np.arange(-0.3, np.hypot(*(last - first)) / px_per_mm + 0.3, 0.01)
    points = first + at_mm[:, None] * px_per_mm * along
    sides = [points + sign * 0.3 * px_per_mm * np.array([along[1], -along[0]]) for sign in (1, -1)]
    profile = max((map_coordinates(image, side.T, order=1) for side in sides), key=np.std)
    peaks, _ = find_peaks(-profile, prominence=0.4 * np.ptp(profile))
    return at_mm[peaks]


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_parameters_survive_json(modality: str) -> None:
    parameters = phantom(seed=9, modality=modality, lesions=2, artefacts={"ruler": True}).parameters
    assert json.loads(json.dumps(parameters)) == parameters


def test_given_values_are_used_and_listed() -> None:
    values = {"lesion": {"darkness": 0.7, "structure": "globules"}, "artefacts": {"hairs": 3}, "camera": {"cast": 0.2}}
    parameters = phantom(seed=3, skin_type=4, field_mm=13.0, **values).parameters
    assert (parameters["skin_type"], parameters["field_mm"]) == (4, 13.0)
    assert parameters["lesions"][0]["darkness"] == 0.7
    assert parameters["lesions"][0]["structure"] == "globules"
    assert parameters["artefacts"]["hairs"] == 3
    assert parameters["camera"]["cast"] == 0.2


def test_giving_one_value_leaves_the_others_as_they_were_drawn() -> None:
    drawn_lesion = phantom(seed=7).parameters["lesions"][0]
    given_lesion = phantom(seed=7, lesion={"darkness": 0.9}).parameters["lesions"][0]
    assert given_lesion == drawn_lesion | {"darkness": 0.9}


REFUSED = [
    ("an unknown key", {"colour": "red"}, "unknown key 'colour'"),
    ("an unknown key inside", {"lesion": {"hair": 3}}, "unknown key 'lesion.hair' (known: asymmetry"),
    ("a skin type that is none", {"skin_type": 7}, "'skin_type' is 7"),
    ("a share above one", {"lesion": {"irregularity": 1.5}}, "'lesion.irregularity' is 1.5"),
    ("not a number", {"camera": {"noise": float("nan")}}, "'camera.noise' is nan"),
    ("an image without pixels", {"size": (0, 600)}, "'size.0' is 0"),
    ("a modality that is none", {"modality": "x-ray"}, "'modality' is 'x-ray'"),
    ("fewer hairs than none", {"artefacts": {"hairs": -1}}, "'artefacts.hairs' is -1"),
]


@pytest.mark.parametrize(("values", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_configuration_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LesionPhantomConfig.parse(values, "phantom.toml")
    assert message in str(caught.value)


def test_lesions_without_space_are_rejected_with_a_remedy() -> None:
    config = LesionPhantomConfig.parse({"lesions": 6, "field_mm": 12, "lesion": {"diameter_mm": 8}}, "test")
    with pytest.raises(ConfigError, match=r"6 lesions of 8\.0 mm do not fit .* fewer or smaller ones"):
        lesion_phantom(config)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("size", [(16, 16), (64, 16), (16, 200)])
def test_tiny_and_slim_images_can_be_drawn(modality: str, size: tuple[int, int]) -> None:
    artefacts = {"hairs": 5, "ruler": True, "bubbles": 3, "ink": True}
    result = phantom(seed=2, modality=modality, size=size, artefacts=artefacts)
    assert result.rgb.shape == (*size, 3)
    assert result.mask.any()
