"""What is a slide and what a photograph: by content where a name could be either, and folders that are one slide."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.slides.reading import detection
from napari_melanoma.slides.reading.detection import find_slides, is_slide
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.ui.readers import get_reader


@dataclass(frozen=True)
class Case:
    name: str
    options: dict
    slide: bool
    ending: str = "tif"


PLAIN = {"photometric": "rgb", "metadata": None}
CASES = [
    Case("a plain TIFF without resolution", PLAIN, False),
    Case("a plain TIFF for a print", PLAIN | {"resolution": (300, 300), "resolutionunit": "INCH"}, False),
    Case("a scan of film", PLAIN | {"resolution": (9600, 9600), "resolutionunit": "INCH"}, False),
    Case(
        "a plain TIFF from a microscope", PLAIN | {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, True
    ),
    Case("tiles", PLAIN | {"tile": (16, 16)}, True),
    Case("OME-TIFF", {"photometric": "rgb"}, True, "ome.tif"),
    Case("Aperio under another name", PLAIN | {"description": "Aperio Image Library v1\r\n|MPP = 0.5"}, True),
]


@pytest.mark.filterwarnings("ignore:.*the file states no pixel size")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_tiff_file_is_recognized_by_its_tags(case: Case, tissue, tmp_path) -> None:
    path = tmp_path / f"a.{case.ending}"
    tifffile.imwrite(path, tissue, **case.options)
    assert is_slide(path) is case.slide
    [(data, keywords, _)] = get_reader(str(path))(str(path)) if case.slide else [(None, {}, "")]
    assert keywords.get("multiscale", False) is case.slide
    assert (data is not None) is case.slide


def test_stacks_are_left_to_other_readers(tissue, tmp_path) -> None:
    stack = np.stack([tissue[..., 0]] * 3)
    tifffile.imwrite(tmp_path / "z.ome.tif", stack, metadata={"axes": "ZYX"}, tile=(64, 64))
    assert not is_slide(tmp_path / "z.ome.tif")
    assert get_reader(str(tmp_path / "z.ome.tif")) is None


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_a_slide_when_it_is_larger_than_any_photograph(ending, tissue, tmp_path, monkeypatch) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(tissue).save(path)
    assert not is_slide(path)
    monkeypatch.setattr(detection, "MAX_PIXELS", 1000)
    assert is_slide(path.rename(tmp_path / f"b.{ending}"))


def test_a_file_is_inspected_again_only_if_it_has_changed(write_svs: Callable, tissue, tmp_path, monkeypatch) -> None:
    path, opened = tmp_path / "section.tif", []
    path.write_bytes(b"not yet complete")
    monkeypatch.setattr(detection, "open_regular", lambda path: opened.append(path) or open_regular(path))
    assert [is_slide(path), is_slide(path)] == [False, False]
    assert opened == [path]
    path.write_bytes(write_svs(tmp_path / "a.svs", tissue).read_bytes())
    assert is_slide(path)
    assert opened == [path, path]


def test_a_damaged_scanner_file_is_accepted_for_napari_to_report_it(tmp_path) -> None:
    path = tmp_path / "cut.svs"
    path.write_bytes(b"II*\0\x08\0\0\0")
    assert is_slide(path)
    with pytest.raises(UnreadableImage, match=r"cut\.svs cannot be opened as a slide.*Copy it again"):
        get_reader(str(path))(str(path))


def test_inputs_without_slides_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no slide in .*: expected files such as"):
        find_slides([tmp_path])
    with pytest.raises(InputError, match=r"no file matches the pattern .*nothing\*\.svs"):
        find_slides([tmp_path / "nothing*.svs"])
    with pytest.raises(InputError, match="no slide was specified"):
        find_slides([])


def test_slides_are_found_in_folders_by_content(write_svs: Callable, tissue, tmp_path) -> None:
    write_svs("b10.svs")
    write_svs("b2.svs")
    tifffile.imwrite(tmp_path / "c.tif", tissue, tile=(64, 64), photometric="rgb")
    tifffile.imwrite(tmp_path / "photograph.tif", tissue, photometric="rgb")
    (tmp_path / "note.txt").write_text("no slide")
    (tmp_path / "below").mkdir()
    write_svs("below/d.svs")
    found = find_slides([tmp_path, tmp_path / "c.tif"])
    assert [path.name for path in found] == ["b2.svs", "b10.svs", "d.svs", "c.tif"]
    assert find_slides([tmp_path / "photograph.tif"]) == [tmp_path / "photograph.tif"]  # named outright
    assert [path.name for path in find_slides([str(tmp_path / "b*.svs")])] == ["b2.svs", "b10.svs"]


def test_analysis_results_are_not_slides(write_svs: Callable, tissue, tmp_path) -> None:
    slide = write_svs("a.svs")
    for name, mark in (("a", "slide.json"), ("b", "result.zarr/zarr.json")):
        (tmp_path / name / mark).parent.mkdir(parents=True)
        (tmp_path / name / mark).write_text('{"attributes": {"tile_um": 112}}')
        tifffile.imwrite(tmp_path / name / "heatmap.ome.tif", tissue, tile=(64, 64), photometric="rgb")
    assert find_slides([tmp_path]) == [slide]
    assert not is_slide(tmp_path / "b" / "result.zarr")


@pytest.fixture
def forbidden(tmp_path, monkeypatch) -> Path:
    """A folder that cannot be read, next to a file; also for the superuser, who may read every folder."""
    folder = tmp_path / "in" / "forbidden"
    folder.mkdir(parents=True)
    listed = Path.iterdir

    def iterdir(self):
        if self == folder:
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    return folder


def test_a_subfolder_that_cannot_be_read_is_left_out(forbidden, write_svs: Callable, tmp_path, caplog) -> None:
    slide = write_svs("in/b.svs")
    for _ in range(2):
        assert find_slides([forbidden.parent]) == [slide]
    assert [record.getMessage() for record in caplog.records] == [
        f"The folder {forbidden} cannot be read and is left out. Check the permissions."
    ]
    assert not is_slide(forbidden)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_slides([forbidden])
    with pytest.raises(UnreadableImage, match="PermissionError"):
        open_slide(forbidden)
