"""Lesion values in masks of other programs, and the reasons for refusing a mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.api.inputs import to_mask
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError, UnreadableImage
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.dataset import read_dataset, select_for_split
from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
from napari_melanoma.data.formats.nnunet import read_nnunet_labels
from napari_melanoma.data.mask_import import MaskImportOptions, import_masks
from napari_melanoma.data.mask_values import parse_values, read_lesion_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_mask, read_table

SHAPE = (40, 60)
LESION = np.zeros(SHAPE, bool)
LESION[5:25, 10:40] = True
TWO = np.where(LESION, 1, 0)
TWO[30:38, 45:55] = 2


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def photograph(path: Path, seed: int = 0) -> Path:
    return save(path, np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))


RED = np.where(LESION[..., None], (200, 0, 0), (0, 0, 0)).astype(np.uint8)
PLAIN = [
    ("m.png", LESION.astype(np.uint8)),
    ("m.png", LESION.astype(np.uint8) * 255),
    ("m.png", LESION.astype(np.uint8) * 3),
    ("m.png", LESION.astype(np.uint16) * 65535),
    ("m.tif", LESION.astype(np.uint16)),
    ("m.tif", LESION.astype(np.int32) * 7),
    ("m.tif", LESION.astype(np.float32)),
    ("m.tiff", LESION.astype(np.uint8)[None]),
    ("m.png", RED),
    ("m.jpg", LESION.astype(np.uint8) * 255),
]


@pytest.mark.parametrize(("name", "values"), PLAIN, ids=[f"{n} {v.dtype} {v.max()}" for n, v in PLAIN])
def test_a_mask_of_one_lesion_in_any_form(tmp_path: Path, name: str, values: np.ndarray) -> None:
    found = read_lesion_mask(save(tmp_path / name, values), name)
    assert found.dtype == bool
    assert np.count_nonzero(found != LESION) == 0


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.jpg"])
def test_a_mask_is_upright_by_its_orientation(tmp_path: Path, name: str, orientation: int, turn: int) -> None:
    values = LESION.astype(np.uint8) * 255
    if name == "m.tif":
        tifffile.imwrite(tmp_path / name, values, metadata=None, extratags=[(274, "H", 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(values).save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(read_lesion_mask(tmp_path / name, name), np.rot90(LESION, turn))
    if name != "m.tif":
        np.testing.assert_array_equal(read_mask(tmp_path / name), np.rot90(LESION, turn))


SOFT = np.asarray(Image.fromarray(np.kron(LESION, np.full((9, 9), 255)).astype(np.uint8)).resize((539, 359))) / 255
SOFT_FORMS = [
    ("m.png", np.rint(SOFT * 65535).astype(np.uint16)),
    ("m.tif", np.rint(SOFT * 4095).astype(np.uint16)),
    ("m.tif", SOFT.astype(np.float32)),
    ("m.tif", (SOFT * 1.02).astype(np.float32)),
    ("m.tif", np.rint(SOFT * 255).astype(np.float32)),
]


@pytest.mark.parametrize(("name", "values"), SOFT_FORMS, ids=[f"{v.dtype} {v.max():.6g}" for _, v in SOFT_FORMS])
def test_soft_edges_in_any_range(tmp_path: Path, name: str, values: np.ndarray) -> None:
    found = read_lesion_mask(save(tmp_path / name, values), name)
    assert np.count_nonzero(found != (SOFT > 0.5)) <= 20  # pixels of about half


def test_a_picture_with_a_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(TWO.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "m.png")
    assert np.array_equal(read_lesion_mask(tmp_path / "m.png", "m.png", "all"), TWO > 0)


LESION_COLOR = (210, 140, 30)


def save_rgba(path: Path) -> None:
    save(path, np.dstack([np.full((*SHAPE, 3), LESION_COLOR, np.uint8), LESION * np.uint8(255)]))


def save_webp(path: Path) -> None:
    values = np.dstack([np.full((*SHAPE, 3), LESION_COLOR, np.uint8), LESION * np.uint8(255)])
    Image.fromarray(values).save(path, lossless=True, exact=True)  # exact: keeps the color of transparent pixels


def save_half_opaque(path: Path) -> None:
    save(path, np.dstack([np.full((*SHAPE, 3), LESION_COLOR, np.uint8), LESION * np.uint8(127)]))


def save_with_soft_edges(path: Path) -> None:
    """The edge pixels inside are more than half opaque, those around the lesion less."""
    opacity = np.where(LESION, 255, 0).astype(np.uint8)
    opacity[5, 10:40], opacity[4, 10:40], opacity[25, 10:40] = 160, 90, 20
    save(path, np.dstack([np.full((*SHAPE, 3), LESION_COLOR, np.uint8), opacity]))


def save_gray_and_opacity(path: Path) -> None:
    Image.fromarray(np.dstack([np.full(SHAPE, 255), LESION * 255]).astype(np.uint8), "LA").save(path)


def save_palette(path: Path, opacity: bytes, entries: np.ndarray) -> None:
    picture = Image.fromarray(entries.astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, *LESION_COLOR, *LESION_COLOR, *LESION_COLOR])
    picture.save(path, transparency=opacity)


def save_two_colors(path: Path) -> None:
    save_palette(path, b"\0", np.where(LESION, 1, 0))


def save_palette_with_soft_edges(path: Path) -> None:
    entries = np.where(LESION, 1, 0)
    entries[5, 10:40], entries[4, 10:40] = 2, 3
    save_palette(path, b"\0\xff\xb0\x40", entries)


def save_one_transparent_gray(path: Path) -> None:
    Image.fromarray(np.where(LESION, 90, 255).astype(np.uint8)).save(path, transparency=255)


def save_tiff(path: Path, opacity: str, values: np.ndarray) -> None:
    colors = np.full((*SHAPE, 3), LESION_COLOR, np.uint8)
    tifffile.imwrite(path, np.dstack([colors, values]), photometric="rgb", extrasamples=[opacity])


TRANSPARENT = {
    "an overlay in color": ("m.png", save_rgba),
    "an overlay at half opacity": ("m.png", save_half_opaque),
    "soft edges": ("m.png", save_with_soft_edges),
    "WebP": ("m.webp", save_webp),
    "gray with opacity": ("m.png", save_gray_and_opacity),
    "a palette with a transparent color": ("m.png", save_two_colors),
    "a palette with soft edges": ("m.png", save_palette_with_soft_edges),
    "one transparent gray value": ("m.png", save_one_transparent_gray),
    "TIFF": ("m.tif", lambda path: save_tiff(path, "unassalpha", LESION * np.uint8(255))),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_color_below_transparent_pixels_is_no_lesion(tmp_path: Path, name: str) -> None:
    file, save_mask = TRANSPARENT[name]
    save_mask(tmp_path / file)
    assert np.count_nonzero(read_lesion_mask(tmp_path / file, file) != LESION) == 0
    assert np.count_nonzero(to_mask(tmp_path / file, SHAPE) != LESION) == 0


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_of_a_data_set_may_have_transparent_pixels(tmp_path: Path, mode: str) -> None:
    white = np.full((*SHAPE, len(mode) - 1), 255)
    Image.fromarray(np.dstack([white, LESION * 255]).astype(np.uint8), mode).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), LESION)
    assert np.array_equal(read_labels(tmp_path / "m.png"), LESION * 255)


def test_a_fourth_sample_without_a_meaning_is_no_opacity(tmp_path: Path) -> None:
    colors = np.dstack([RED, np.zeros(SHAPE, np.uint8)])
    tifffile.imwrite(tmp_path / "m.tif", colors, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read_lesion_mask(tmp_path / "m.tif", "m.tif"), LESION)


def test_a_label_image_is_refused_until_its_values_are_explained(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", TWO.astype(np.uint8))
    with pytest.raises(DataSetError, match=r"label image with the values 0, 1, 2: .*--values 1,2"):
        read_lesion_mask(path, path.name)
    assert np.array_equal(read_lesion_mask(path, path.name, ("1",)), TWO == 1)
    assert np.array_equal(read_lesion_mask(path, path.name, "all"), TWO > 0)
    assert np.array_equal(read_lesion_mask(path, path.name, "keep"), TWO)
    assert np.array_equal(read_lesion_mask(path, path.name, ("mole",), {"mole": (2,)}), TWO == 2)
    with pytest.raises(
        DataSetError, match="'wart' is no class or value of the masks: expected one of the classes mole"
    ):
        read_lesion_mask(path, path.name, ("wart",), {"mole": (2,)})


def test_numbered_objects_of_cellpose_are_lesions(tmp_path: Path) -> None:
    assert np.array_equal(
        read_lesion_mask(save(tmp_path / "x_cp_masks.tif", TWO.astype(np.uint16)), "x_cp_masks.tif"), TWO > 0
    )


@pytest.mark.parametrize("values", [np.full(SHAPE, 0.5, np.float32), np.where(LESION, -1, 0).astype(np.int16)])
def test_probabilities_and_negative_values_are_no_mask(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(UnreadableImage, match="cannot be read as a mask"):
        read_lesion_mask(save(tmp_path / "m.tif", values), "m.tif")


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("all", "all"), ("keep", "keep"), ("1, 2", ("1", "2")), ((1, 2), ("1", "2"))]
)
def test_lesion_values_are_parsed(text: str | tuple[int, ...] | None, expected: object) -> None:
    assert parse_values(text) == expected


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Skin"
    for seed, name in enumerate(("a", "b", "c")):
        photograph(root / "imagesTr" / f"{name}_0000.png", seed)
        save(root / "labelsTr" / f"{name}.png", LESION.astype(np.uint8))
    photograph(root / "imagesTs" / "d_0000.png", 9)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1}}))
    return root


def test_an_nnunet_data_set_is_imported(nnunet: Path, tmp_path: Path) -> None:
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), nnunet, tmp_path / "set", options, run=RunContext())
    assert (report.images, report.masks, report.faults) == (4, 3, [])
    rows = {row["image_id"]: row["split"] for row in read_table(tmp_path / "set/dataset.csv")}
    assert rows == {"a": "", "b": "", "c": "", "d": "test"}
    assert all(np.array_equal(read_mask(one.mask), LESION) for one in select_for_split(read_dataset(tmp_path / "set")))


@pytest.mark.parametrize("whole", [True, False])
def test_masks_of_nnunet_are_matched_with_their_images(nnunet: Path, tmp_path: Path, whole: bool) -> None:
    masks, images = (nnunet, nnunet) if whole else (nnunet / "labelsTr", nnunet / "imagesTr")
    report = import_masks(masks, images, tmp_path / "set", MaskImportOptions(no_patients=True), run=RunContext())
    assert (sorted(report.added), report.faults) == (["a", "b", "c"], [])


@pytest.mark.parametrize("folders", [("imagesTr", "labelsTr"), ("images", "labels"), ("photos", "masks")])
@pytest.mark.parametrize("name", ["{}", "{}.png", "{}_0000", "{}_0000.png"])
def test_a_table_may_name_a_case_of_nnunet_or_its_file(tmp_path: Path, name: str, folders: tuple[str, str]) -> None:
    images, masks = (tmp_path / "all" / folder for folder in folders)
    for seed, case in enumerate(("a", "b")):
        photograph(images / f"{case}_0000.png", seed)
        save(masks / f"{case}.png", LESION.astype(np.uint8))
    table = tmp_path / "all/metadata.csv"
    table.write_text("image_id,patient_id\n" + "".join(f"{name.format(case)},p{case}\n" for case in "ab"))
    options = MaskImportOptions.parse({"metadata": table}, "the test")
    assert import_masks(masks, images, tmp_path / "c", options, run=RunContext()).notes == []
    report = import_source(find_source("folder"), tmp_path / "all", tmp_path / "set", run=RunContext())
    assert (report.images, report.masks, report.left) == (2, 2, 0)
    for out in ("c", "set"):
        assert [row["patient_id"] for row in read_table(tmp_path / out / "dataset.csv")] == ["pa", "pb"]


def test_a_table_of_other_images_is_rejected(nnunet: Path, tmp_path: Path) -> None:
    (nnunet / "metadata.csv").write_text("image_id,patient_id\nq1,p1\nq2,p2\n")
    options = MaskImportOptions.parse({"metadata": nnunet / "metadata.csv"}, "the test")
    with pytest.raises(InputError, match="rows for q1, q2, but the set has the 3 images a, b, c"):
        import_masks(nnunet / "labelsTr", nnunet / "imagesTr", tmp_path / "c", options, run=RunContext())
    with pytest.raises(DataSetError, match="rows for q1, q2, but none for the 4 images, such as a, b, c and 1 more"):
        import_source(find_source("folder"), nnunet, tmp_path / "set", run=RunContext())


def test_several_classes_of_nnunet_are_named_in_the_refusal(nnunet: Path, tmp_path: Path) -> None:
    save(nnunet / "labelsTr/b.png", TWO.astype(np.uint8))
    (nnunet / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1, "hair": 2}}))
    assert read_nnunet_labels(nnunet / "labelsTr") == {"lesion": (1,), "hair": (2,)}
    options = SourceImportOptions(no_patients=True)
    with pytest.raises(DataSetError, match=r"the classes lesion, hair: name those of the lesion with --class"):
        import_source(find_source("folder"), nnunet, tmp_path / "set", options, run=RunContext())
    lesion = SourceImportOptions(no_patients=True, values=("lesion",))
    assert import_source(find_source("folder"), nnunet, tmp_path / "two", lesion, run=RunContext()).faults == []
    kept = SourceImportOptions(no_patients=True, values="keep")
    import_source(find_source("folder"), nnunet, tmp_path / "three", kept, run=RunContext())
    assert np.array_equal(read_labels(tmp_path / "three/masks/b.png"), TWO)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Photographs and masks, of which the first has one value only and the others have several."""
    for seed, (name, values) in enumerate({"a": LESION, "b": TWO, "c": TWO + 2 * (TWO == 2)}.items()):
        photograph(tmp_path / "all/images" / f"{name}.png", seed)
        save(tmp_path / "all/masks" / f"{name}.png", values.astype(np.uint8))
    return tmp_path / "all"


def test_refused_label_images_leave_nothing_and_do_not_block_the_next_try(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"

    def bring(values: object) -> list[str]:
        options = MaskImportOptions.parse({"no_patients": True, "values": values}, "the test")
        return import_masks(labels / "masks", labels / "images", out, options, run=RunContext()).added

    with pytest.raises(DataSetError, match=r"2 of 3 masks are .*\(b\.png, c\.png\).* 0, 1, 2, 4: name") as e:
        bring(None)
    assert "keep" not in str(e.value)
    with pytest.raises(DataSetError, match="'wart' is no class or value"):
        bring(["wart"])
    assert not out.exists()
    assert bring(["1"]) == ["a", "b", "c"]
    masks = [read_mask(one.mask) for one in select_for_split(read_dataset(out)) if one.mask]
    assert all(np.array_equal(mask, LESION) for mask in masks)


@pytest.mark.parametrize("values", [None, ("wart",), ("²",)])
def test_an_import_of_a_folder_with_label_images_leaves_nothing(
    labels: Path, tmp_path: Path, values: tuple[str, ...] | None
) -> None:
    options = SourceImportOptions(no_patients=True, values=values)
    with pytest.raises(
        DataSetError, match=r"2 of 3 masks are label images .* 0, 1, 2, 4: name|no class or value of the masks"
    ):
        import_source(find_source("folder"), labels, tmp_path / "set", options, run=RunContext())
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    named = SourceImportOptions(no_patients=True, values=("1",))
    assert import_source(find_source("folder"), labels, tmp_path / "set", named, run=RunContext()).masks == 3


def test_an_earlier_stopped_import_survives_a_refusal(labels: Path, tmp_path: Path) -> None:
    (tmp_path / ".set.gathering/images").mkdir(parents=True)
    save(tmp_path / ".set.gathering/images/a.png", TWO.astype(np.uint8))
    options = SourceImportOptions(no_patients=True)
    with pytest.raises(DataSetError, match="label images"):
        import_source(find_source("folder"), labels, tmp_path / "set", options, run=RunContext())
    assert (tmp_path / ".set.gathering/images").exists()


def test_classes_cannot_be_kept_in_a_set_of_corrections() -> None:
    with pytest.raises(InputError, match="Expected values or names"):
        MaskImportOptions.parse({"values": "keep"}, "import")


def save_channels(folder: Path, case: str, rgb: np.ndarray) -> None:
    for number in range(rgb.shape[2]):
        save(folder / f"{case}_{number:04d}.png", np.ascontiguousarray(rgb[..., number]))


@pytest.mark.parametrize(("names", "order"), [({}, [0, 1, 2]), ({"0": "blue", "1": "green", "2": "red"}, [2, 1, 0])])
def test_three_channels_of_nnunet_become_one_color_photograph(
    nnunet: Path, tmp_path: Path, names: dict[str, str], order: list[int]
) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    save_channels(nnunet / "imagesTr", "a", rgb)
    save_channels(nnunet / "imagesTs", "e", rgb[::-1])
    (nnunet / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1}, "channel_names": names}))
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), nnunet, tmp_path / "set", options, run=RunContext())
    assert (report.images, report.masks, report.faults) == (5, 3, [])
    merged = "in three files, read as red, green and blue"
    assert ("2 photographs " + merged) in dict(report.notes)["channels"]
    assert np.array_equal(read_photograph(tmp_path / "set/images/a.png").rgb, rgb[..., order])
    assert np.array_equal(read_photograph(tmp_path / "set/images/e.png").rgb, rgb[::-1][..., order])
    parsed = MaskImportOptions(no_patients=True)
    imported = import_masks(nnunet / "labelsTr", nnunet / "imagesTr", tmp_path / "c", parsed, run=RunContext())
    assert (sorted(imported.added), imported.without_mask) == (["a", "b", "c"], [])
    assert ("1 photograph " + merged) in dict(imported.notes)["channels"]
    assert np.array_equal(read_photograph(tmp_path / "c/images/a.png").rgb, rgb[..., order])


def test_channels_that_are_no_color_are_faults_of_their_photographs(nnunet: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(5).integers(0, 65536, (*SHAPE, 3), dtype=np.uint16)
    save_channels(nnunet / "imagesTr", "a", deep)
    save_channels(nnunet / "imagesTr", "b", deep[..., :2].astype(np.uint8))
    save_channels(nnunet / "imagesTs", "e", deep[..., :1].astype(np.uint8))
    options = MaskImportOptions(no_patients=True)
    imported = import_masks(nnunet / "labelsTr", nnunet / "imagesTr", tmp_path / "c", options, run=RunContext())
    assert imported.added == ["c"]
    assert dict(imported.notes)["channels"].startswith("1 photograph in three files")
    assert [(name, "red, green and blue in 8 bits" in fault) for name, fault in imported.faults] == [
        ("a_0000.png", True),
        ("b_0000.png", True),
    ]
    of_folder = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), nnunet, tmp_path / "set", of_folder, run=RunContext())
    assert (report.images, [name for name, _ in report.faults]) == (2, ["a", "b", "e"])
    assert dict(report.faults)["e"] == "imagesTs/e_0000.png is gray, and other channels of the case are missing"


@pytest.mark.parametrize("verb", ["import", "import-masks"])
@pytest.mark.parametrize(
    ("names", "is_color"),
    [
        (["polarized", "nonpolarized", "UV"], False),
        (["R", "G", "B", "UV"], False),
        (["blue", "Green", "R"], True),
        (["rgb_to_0_1"] * 3, True),
        (["RGB"], True),
        (["UV"], False),
        (["CT"], False),
        ([], True),
    ],
)
def test_only_channels_named_for_colors_are_a_photograph(
    nnunet: Path, tmp_path: Path, names: list[str], is_color: bool, verb: str
) -> None:
    save_channels(nnunet / "imagesTr", "a", np.random.default_rng(5).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))
    channels = {str(number): name for number, name in enumerate(names)}
    content = {"labels": {"background": 0, "lesion": 1}, "channel_names": channels}
    (nnunet / "dataset.json").write_text(json.dumps(content))

    def bring() -> None:
        if verb == "import":
            options = SourceImportOptions(no_patients=True)
            import_source(find_source("nnunet"), nnunet, tmp_path / "set", options, run=RunContext())
        else:
            masks, images, options = nnunet / "labelsTr", nnunet / "imagesTr", MaskImportOptions(no_patients=True)
            import_masks(masks, images, tmp_path / "set", options, run=RunContext())

    if is_color:
        bring()
        assert (tmp_path / "set/images/a.png").exists()
    else:
        with pytest.raises(DataSetError, match=f"names the channels? {', '.join(names[:3])}.* not red, green and blue"):
            bring()
        assert not (tmp_path / "set").exists()


def test_numbered_photographs_are_no_channels(tmp_path: Path) -> None:
    for number in range(3):
        photograph(tmp_path / f"all/images/IMG_{number:04d}.png", number)
        save(tmp_path / f"all/masks/IMG_{number:04d}_mask.png", LESION.astype(np.uint8))
    options = MaskImportOptions(no_patients=True)
    report = import_masks(tmp_path / "all/masks", tmp_path / "all/images", tmp_path / "c", options, run=RunContext())
    assert report.added == ["IMG_0000", "IMG_0001", "IMG_0002"]
    of_folder = SourceImportOptions(no_patients=True)
    imported = import_source(find_source("folder"), tmp_path / "all", tmp_path / "set", of_folder, run=RunContext())
    assert (imported.images, imported.masks) == (3, 3)


def test_regions_of_nnunet_are_classes_with_several_values(nnunet: Path, tmp_path: Path) -> None:
    save(nnunet / "labelsTr/b.png", TWO.astype(np.uint8))
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    (nnunet / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert read_nnunet_labels(nnunet) == {"whole": (1, 2), "core": (2,)}
    options = SourceImportOptions(no_patients=True)
    with pytest.raises(DataSetError, match="the classes whole, core: name"):
        import_source(find_source("folder"), nnunet, tmp_path / "set", options, run=RunContext())
    for name, expected in (("whole", TWO > 0), ("core", TWO == 2)):
        chosen = MaskImportOptions.parse({"no_patients": True, "values": (name,)}, "the test")
        import_masks(nnunet / "labelsTr", nnunet / "imagesTr", tmp_path / name, chosen, run=RunContext())
        assert np.array_equal(read_mask(tmp_path / name / "masks/b.png"), expected)


def test_the_only_region_of_nnunet_is_the_lesion(nnunet: Path) -> None:
    path = save(nnunet / "labelsTr/b.png", TWO.astype(np.uint8))
    assert np.array_equal(read_lesion_mask(path, path.name, None, {"whole": (1, 2), "ignore": (3,)}), TWO > 0)


@pytest.mark.parametrize("values", [None, "all", "keep", ("lesion",)])
def test_masks_with_ignored_pixels_of_nnunet_are_refused(nnunet: Path, tmp_path: Path, values: object) -> None:
    save(nnunet / "labelsTr/b.png", TWO.astype(np.uint8))
    save(nnunet / "labelsTr/c.png", 2 * LESION.astype(np.uint8))  # nothing was annotated
    labels = {"background": 0, "lesion": 1, "ignore": 2}
    (nnunet / "dataset.json").write_text(json.dumps({"labels": labels}))
    options = SourceImportOptions(no_patients=True, values=values)
    report = import_source(find_source("nnunet"), nnunet, tmp_path / "set", options, run=RunContext())
    assert report.masks == 1
    assert [name for name, _ in report.faults] == ["b", "c"]
    assert all(
        "pixels of the class 'ignore' (value 2), which were not annotated" in fault for _, fault in report.faults
    )
    assert all(("state with --values" in fault) == (values != "keep") for _, fault in report.faults)
    if values == "keep":
        return
    chosen = MaskImportOptions.parse({"no_patients": True, "values": values}, "the test")
    masks = import_masks(nnunet / "labelsTr", nnunet / "imagesTr", tmp_path / "c", chosen, run=RunContext())
    assert (masks.added, [name for name, _ in masks.faults]) == (["a"], ["b_0000.png", "c_0000.png"])


@pytest.mark.parametrize("name", ["x_cp_masks.png", "x_cp_masks.tif", "x_mask.tiff"])
def test_masks_next_to_a_photograph_are_not_photographs(tmp_path: Path, name: str) -> None:
    photograph(tmp_path / "all/x.png")
    save(tmp_path / "all" / name, TWO.astype(np.uint16) if "cp" in name else LESION.astype(np.uint8))
    options = SourceImportOptions(no_patients=True)
    report = import_source(find_source("folder"), tmp_path / "all", tmp_path / "set", options, run=RunContext())
    assert (report.images, report.masks, report.faults) == (1, 1, [])
    found = import_masks(
        tmp_path / "all", tmp_path / "all", tmp_path / "c", MaskImportOptions(no_patients=True), run=RunContext()
    )
    assert (found.added, found.faults, found.without_mask) == (["x"], [], [])


def test_a_mask_with_a_huge_declared_size_is_refused_before_decoding(tmp_path: Path, monkeypatch) -> None:
    photograph(tmp_path / "all/x.png")
    save(tmp_path / "all/masks/x.png", np.zeros((80, 120), np.uint8))
    monkeypatch.setattr("napari_melanoma.data.mask_areas.read_lesion_mask", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DataSetError, match="its mask 120 x 80"):
        options = SourceImportOptions(no_patients=True)
        import_source(find_source("folder"), tmp_path / "all", tmp_path / "set", options, run=RunContext())
