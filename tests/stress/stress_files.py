"""The images, data set and case that random actions open."""

from __future__ import annotations

from pathlib import Path


def write_material(root: Path) -> dict[str, Path]:
    """Write images of each kind, a case, a data set, and files that nothing can open."""
    import numpy as np
    import tifffile
    from fake_case import write_case
    from fake_slides import draw_fluorescence, draw_labeled_slide, draw_slide, draw_tiled_photograph

    from napari_melanoma.io.results import write_mask, write_rgb
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    root.mkdir(parents=True)
    found = {}
    for name, values in {
        "dermoscopic": {"seed": 1, "size": (240, 320), "artefacts": {"hairs": 3, "ruler": True}},
        "dermoscopic 2": {"seed": 2, "size": (300, 400)},
        "macroscopic": {"seed": 13, "modality": "macroscopic", "size": (300, 400)},
        "several": {"seed": 4, "modality": "macroscopic", "lesions": 3, "size": (320, 420)},
    }.items():
        phantom = lesion_phantom(LesionPhantomConfig(**values))
        found[name] = root / f"{name}.png"
        write_rgb(found[name], phantom.rgb)
        if name == "dermoscopic":
            (root / "masks").mkdir()
            found["mask"] = root / "masks" / "dermoscopic.png"
            write_mask(found["mask"], phantom.mask)
    found["slide"] = draw_slide(root / "section.tif")
    found["slide 2"] = draw_slide(root / "other section.tif", tint=30)
    found["unscaled slide"] = draw_slide(root / "unscaled.tif", mpp=None)
    found["labeled slide"] = draw_labeled_slide(root / "labeled.svs")
    found["fluorescence"] = draw_fluorescence(root / "channels.ome.tif")
    found["tiled photograph"] = draw_tiled_photograph(root / "gray.tif")
    rgb = np.asarray(lesion_phantom(LesionPhantomConfig(seed=5, size=(200, 260))).rgb)
    found["ome photograph"] = root / "photo.ome.tif"
    size = {"PhysicalSizeX": 20.0, "PhysicalSizeY": 20.0}
    tifffile.imwrite(found["ome photograph"], rgb, ome=True, photometric="rgb", metadata={"axes": "YXS", **size})
    found["case"] = write_case(root / "patient").folder
    store_results(found["slide"])
    found["dataset"] = write_blobs(root / "blobs")
    found["folder"] = root / "masks"
    found["damaged"] = root / "damaged.png"
    found["damaged"].write_bytes(found["dermoscopic"].read_bytes()[:3000])
    found["text"] = root / "notes.txt"
    found["text"].write_text("nothing to see", encoding="utf-8")
    found["table"] = root / "patients.csv"
    found["table"].write_text("image_id,age,sex,site\ndermoscopic,54,female,back\nmacroscopic,abc,male,\n", "utf-8")
    return found


def store_results(slide: Path) -> None:
    """Store an analysis of a slide where the Slide dock looks for it, and show all its sections."""
    from fake_slides import FakeAnalysis
    from slide_models import TILE_TEST, install_slide_models

    from napari_melanoma.slides.background_runs import slide_folder
    from napari_melanoma.slides.reading.files import slide_fingerprint
    from napari_melanoma.ui.widgets.model_picker import ExtensibleModelPicker
    from napari_melanoma.ui.widgets.settings import DockSettings

    settings = DockSettings()
    install_slide_models()
    settings.set("slide/model", TILE_TEST.name)
    settings.set("slide/more_sections", True)
    offer = ExtensibleModelPicker.offer_demonstrations
    ExtensibleModelPicker.offer_demonstrations = lambda picker, on: offer(picker, True)
    FakeAnalysis(slide_folder(settings.slide_results, slide), slide, slide_fingerprint(slide)).begins().finishes()


def write_blobs(folder: Path, count: int = 12, side: int = 32) -> Path:
    """A data set of dark squares; two images of each patient."""
    import numpy as np

    from napari_melanoma.io.results import write_mask, write_rgb, write_table

    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        mask = np.zeros((side, side), bool)
        row, column = rng.integers(2, side - 12, 2)
        mask[row : row + 10, column : column + 10] = True
        write_rgb(
            folder / "images" / f"b{index:02}.png",
            np.where(mask[..., None], (90, 50, 40), (230, 190, 170)).astype(np.uint8),
        )
        write_mask(folder / "masks" / f"b{index:02}.png", mask)
        rows.append({"image_id": f"b{index:02}", "patient_id": f"p{index // 2}"})
    write_table(folder / "dataset.csv", rows)
    return folder
