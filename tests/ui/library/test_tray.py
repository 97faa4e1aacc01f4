"""The Tray: tiles of slides and photographs, of which only the visible ones are read, and how they are opened."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pytest
import tifffile
from fake_case import write_case
from fake_slides import LABEL_COLOR, FakeAnalysis, draw_labeled_slide, draw_slide, draw_tiled_photograph
from finding_files import save_synoptic
from patience import PATIENCE_MS
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QLabel
from slide_fixtures import user as make_user

from conftest import Person, photograph, wait_until_idle
from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_image
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.io.results import write_rgb
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.tiled import TiledSlide
from napari_melanoma.slides.result_folder import record_slide, slide_folder
from napari_melanoma.slides.slide_table import WorkItemReader
from napari_melanoma.ui.library import listing
from napari_melanoma.ui.library.listing import list_images, read_label
from napari_melanoma.ui.library.resolve import FILTERS, SORT_KEYS
from napari_melanoma.ui.library.tray import CACHED_PICTURES
from napari_melanoma.ui.sections.side_by_side.section import SideBySide
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.widgets import dialogs, thumbnails
from napari_melanoma.ui.widgets.thumbnails import BackgroundCache, Thumbnail, ThumbnailLoader

user = pytest.fixture(make_user)
WHEN = "2026-01-01T10:00:00+00:00"
MANY, FEW = 500, 100
WINDOW = 1000, 600  # one row of tiles below the image, with space for two docks at the right


class Reader(Person):
    """User of the Tray."""

    def __init__(self, viewer, dock, qtbot):
        super().__init__(viewer, dock, qtbot)
        self.list = dock.list_view

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def shows(self, *paths):
        """Show folders, a case or files in the Tray, and wait for their tiles."""
        self.dock.open(list(paths))
        self.waits()
        self.waits_for_tiles()

    def waits_for_tiles(self):
        """Wait until the visible tiles are painted, which is when the picture of the canvas is finished."""
        self.list.viewport().update()
        self.until(lambda: all(self.dock.thumbnails.peek(image.path) for image in self.list.list_visible()))
        self.waits()

    @property
    def names(self):
        model = self.dock.list_model
        return [model.index(row).data() for row in range(model.rowCount())]

    def image(self, name):
        return next(image for image in self.dock.list_model.images if image.path.name == name)

    def selects(self, name):
        self.list.select_path(self.image(name).path)

    def state(self, name):
        return self.dock.list_model.get_state(self.image(name)).state

    def text(self, row):
        return self.dock.list_model.get_state(self.dock.list_model.rows[row]).text

    def problem(self, name):
        return self.dock.thumbnails.get_problem(self.image(name).path)

    def chooses(self, combo, index):
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        self.waits()

    def waits_for_all(self):
        wait_until_idle(self.qtbot)

    @property
    def open_files(self):
        """Files that were opened from the Tray."""
        found = (layer.metadata.get("napari_melanoma", {}).get("path") for layer in self.viewer.layers)
        return [Path(path).name for path in found if path]


@pytest.fixture
def person(user, shared_client, shown_viewer, qtbot):
    shown_viewer.window.resize(*WINDOW)
    dock = show_dock(shown_viewer, "Tray")
    yield Reader(shown_viewer, dock, qtbot)
    wait_until_idle(qtbot)


class UnseenReader(Reader):
    """User of the Tray in a window that is not shown, where no tiles are painted and thus read."""

    def waits_for_tiles(self):
        pass


@pytest.fixture
def unseen_person(user, shared_client, viewer, qtbot):
    dock = show_dock(viewer, "Tray")
    yield UnseenReader(viewer, dock, qtbot)
    wait_until_idle(qtbot)


@pytest.fixture
def folder(tmp_path):
    """Three slides, of which one cannot be read, and a photograph."""
    folder = tmp_path / "clinic"
    (folder / "more").mkdir(parents=True)
    draw_slide(folder / "s2.tif", tint=2)
    draw_slide(folder / "more" / "s10.tif", tint=10)
    (folder / "torn.svs").write_bytes(b"II*\x00 no slide")
    write_rgb(folder / "mole.png", photograph())
    (folder / "notes.txt").write_text("no image")
    for age, name in enumerate(("mole.png", "s2.tif", "more/s10.tif", "torn.svs")):
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    return folder


def signs(person, slide, reader="B"):
    """Sign the synoptic report of a slide."""
    folder = slide_folder(person.dock.settings.slide_results, slide)
    folder.mkdir(parents=True, exist_ok=True)
    record_slide(folder, slide)
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), reader, WHEN).sign(reader, WHEN)
    save_synoptic(folder, report)


def test_the_start_page_reports_a_bad_folder(person, tmp_path):
    assert person.dock.welcome.isVisible()
    person.shows(tmp_path / "gone")
    assert f"{tmp_path / 'gone'} does not exist. Choose" in person.dock.status.text
    (tmp_path / "empty").mkdir()
    person.shows(tmp_path / "empty")
    assert "No slide or photograph in" in person.dock.status.text
    assert person.dock.welcome.isVisible()
    with CaseStore.create(tmp_path / "P-1"):
        pass
    person.shows(tmp_path / "P-1")
    assert person.dock.empty_label.isVisible()
    assert "Add them in the Case dock" in person.dock.empty_label.text()


@pytest.mark.path
@pytest.mark.both_qts
def test_slides_and_photographs_of_a_folder_are_shown_with_their_states(person, folder):
    slide = folder / "s2.tif"
    results = slide_folder(person.dock.settings.slide_results, slide)
    FakeAnalysis(results, slide, slide_fingerprint(slide)).begins().finishes()
    signs(person, folder / "more" / "s10.tif")
    person.shows(folder)
    assert person.names == ["mole.png", "s2.tif", "s10.tif", "torn.svs"]
    assert [person.state(name) for name in person.names] == ["", "done", "signed", "not analyzed"]
    assert person.dock.count_label.text() == "4 images"
    assert "torn.svs" in person.problem("torn.svs")
    assert person.problem("s2.tif") == ""
    model = person.dock.list_model
    pictures = [model.index(row).data(Qt.ItemDataRole.DecorationRole) for row in range(4)]
    assert [picture is None for picture in pictures] == [False, False, False, True]
    assert "Damaged: torn.svs" in model.index(3).data(Qt.ItemDataRole.ToolTipRole)
    person.selects("s2.tif")
    person.clicks("tray_label")
    person.until(lambda: "s2.tif contains no label image" in person.dock.status.text)
    person.selects("mole.png")
    assert not person.dock.label_button.isEnabled()
    assert person.dock.label_button.toolTip() == "Select one slide"
    # Filter and order keep the selection.
    dock = person.dock
    person.qtbot.keyClicks(dock.name_field, "S1")
    person.until(lambda: person.names == ["s10.tif"] and dock.count_label.text() == "1 of 4 images")
    person.qtbot.keyClick(dock.name_field, Qt.Key.Key_Escape)
    person.until(lambda: len(person.names) == 4)
    person.list.select_paths([folder / name for name in ("mole.png", "s2.tif", "torn.svs")])
    person.chooses(dock.sort_combo, SORT_KEYS.index("date"))
    assert {image.name for image in person.list.selected_images} == {"mole.png", "s2.tif", "torn.svs"}
    assert dock.open_button.text() == "Open 3"
    (folder / "torn.svs").unlink()
    dock.refresh()
    person.waits()
    assert {image.name for image in person.list.selected_images} == {"mole.png", "s2.tif"}
    assert dock.open_button.text() == "Open 2"


def test_the_thumbnail_is_that_of_the_slide_as_far_as_it_can_be_read(person, tmp_path):
    path = draw_slide(tmp_path / "s.tif")
    torn = draw_slide(tmp_path / "torn.tif", tint=1)
    with torn.open("rb+") as file:
        file.truncate(torn.stat().st_size - 2000)
    person.shows(tmp_path)
    picture = person.dock.thumbnails.get(path).toImage()
    lesion, tissue, glass = (picture.pixelColor(*at) for at in ((112, 84), (30, 180), (215, 30)))
    assert abs(lesion.red() - 90) < 20
    assert abs(tissue.red() - 215) < 20
    assert glass.green() > 235
    opened = [Path(file.path).name for file in psutil.Process().open_files()]
    assert "s.tif" not in opened
    assert person.problem("s.tif") == ""
    assert "truncated" in person.problem("torn.tif")
    assert person.dock.thumbnails.get(torn) is not None


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A folder of very many slides, and the paths whose previews and states were read."""
    for number in range(MANY):
        (tmp_path / f"s{number:04}.svs").touch()
    previews, states = [], []

    def read_preview(path, side_px):
        previews.append(path.name)
        return np.zeros((side_px, side_px, 3), np.uint8), ""

    read = WorkItemReader.read

    def read_states(self, slides, run):
        states.extend(slide.name for slide in slides)
        return read(self, slides, run)

    monkeypatch.setattr(thumbnails, "read_preview", read_preview)
    monkeypatch.setattr(WorkItemReader, "read", read_states)
    return tmp_path, previews, states


def test_of_very_many_slides_only_the_visible_ones_are_read(person, many, monkeypatch):
    folder, previews, states = many
    dock = person.dock
    person.shows(folder)
    assert len(person.names) == MANY
    visible = {image.path.name for image in person.list.list_visible()}
    for read in (set(previews), set(states)):  # with those that were visible until the window was laid out
        assert visible <= read
        assert 1 <= len(read) < FEW
    previews.clear()
    person.list.scrollToBottom()
    person.waits_for_tiles()
    visible = {image.path.name for image in person.list.list_visible()}
    assert f"s{MANY - 1:04}.svs" in visible
    assert visible <= set(previews)
    assert len(previews) == len(set(previews)) < FEW
    # The order by status needs all of them; reading can be canceled.
    started, by_status = Event(), SORT_KEYS.index("status")

    def read(self, slides, run):
        if len(slides) < MANY / 2:  # the visible ones
            return {}
        started.set()
        while True:
            run.check()

    with monkeypatch.context() as patch:
        patch.setattr(WorkItemReader, "read", read)
        dock.sort_combo.setCurrentIndex(by_status)
        dock.sort_combo.activated.emit(by_status)
        assert started.wait(10)
        person.clicks("cancel")
        assert dock.status.text == "Canceled."
        person.waits()
    assert len(person.names) == MANY
    states.clear()
    person.chooses(dock.sort_combo, by_status)
    assert len(set(states)) > MANY * 0.95
    # Many images are opened after a question.
    opened, asked, answers = [], [], [False, True]
    monkeypatch.setattr(person.dock, "_open_images", lambda images, case_folder: opened.extend(images))

    def answer(box):
        asked.append(box.text())
        box.deleteLater()
        return next(one for one in box.buttons() if "Open" in one.text()) if answers.pop(0) else None

    monkeypatch.setattr(dialogs, "exec_question", answer)
    person.list.selectAll()
    for count in (0, MANY):
        person.qtbot.keyClick(person.list, Qt.Key.Key_Return)
        assert len(opened) == count
    assert asked == [f"Open {MANY:,} images?"] * 2
    person.list.select_paths([image.path for image in person.dock.list_model.images[:20]])
    person.qtbot.keyClick(person.list, Qt.Key.Key_Return)
    # The memory of thumbnails is bounded.
    loader = person.dock.thumbnails
    for image in person.dock.list_model.images:
        loader._on_read({image.path: Thumbnail(None)})
    assert len(loader._cache) <= CACHED_PICTURES


def test_images_are_opened_with_keyboard_and_mouse(person, folder):
    person.shows(folder)
    person.dock.window().activateWindow()
    person.dock.name_field.setFocus()
    person.qtbot.keyClicks(person.dock.name_field, "s2")
    person.qtbot.keyClick(person.dock.name_field, Qt.Key.Key_Return)
    assert person.names == ["s2.tif"]
    assert [image.path.name for image in person.list.selected_images] == ["s2.tif"]
    person.qtbot.keyClick(person.list, Qt.Key.Key_Return)
    person.waits_for_all()
    assert person.open_files == ["s2.tif"]
    model = person.dock.list_model
    assert model.is_displayed(model.index(0))  # the tile of the image in view is marked
    # A double click opens a photograph in the Lesion dock.
    person.dock.name_field.clear()
    person.until(lambda: len(person.names) == 4)
    person.list.scrollToTop()
    person.waits()
    place = person.list.visualRect(model.find_index(folder / "mole.png")).center()
    person.qtbot.mouseClick(person.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    person.qtbot.mouseDClick(person.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    person.waits_for_all()
    assert sorted(person.open_files) == ["mole.png", "s2.tif"]
    assert "lesion_dock" in [dock.objectName() for dock in person.viewer.window.dock_widgets.values()]
    person.selects("mole.png")
    person.dock.open_button.click()  # open already
    person.waits_for_all()
    assert sorted(person.open_files) == ["mole.png", "s2.tif"]


def test_side_by_side_view_shows_another_slide_and_closes_with_its_case(person, folder, two_cases, qtbot):
    draw_slide(folder / "s3.tif", tint=3)
    person.shows(folder)
    person.selects("s2.tif")
    person.qtbot.keyClick(person.list, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    person.waits_for_all()
    slide_dock = show_dock(person.viewer, "Slide")
    assert "Open another slide first" in person.dock.status.text  # there is nothing to compare with
    person.selects("s10.tif")
    person.dock.side_by_side_button.click()
    person.waits_for_all()
    section = slide_dock.sections.hosted.session.sessions.part(SideBySide)
    controls = section.second
    assert slide_dock.slide.info.name == "s2"
    assert [layer.name for layer in controls.model.layers] == ["s10"]
    assert "Open another slide first" not in person.dock.status.text
    qtbot.wait(300)
    person.selects("s3.tif")
    person.dock.side_by_side_button.click()
    person.until(lambda: [layer.name for layer in controls.model.layers] == ["s3"])
    person.waits_for_all()
    assert slide_dock.slide.info.name == "s2"
    with qtbot.waitSignal(controls.canvas.destroyed):
        slide_dock.findChild(QAbstractButton, "side_by_side_show").click()
    # A slide of a case is closed with the case.
    first, second = two_cases
    case_dock, before = show_dock(person.viewer, "Case"), set(person.open_files)
    case_dock.controller.open(first.folder)
    person.waits_for_all()
    show_dock(person.viewer, "Slide")
    person.shows(first.folder)
    person.selects("section.tif")
    person.dock.side_by_side_button.click()
    person.waits_for_all()
    assert set(person.open_files) == before | {"section.tif"}
    assert [layer.name for layer in section.second.model.layers][:1] == ["section"]
    case_dock.controller.open(second.folder)
    person.waits_for_all()
    assert set(person.open_files) == before


def test_the_label_is_read_on_request_only_and_not_stored(person, tmp_path, folder, monkeypatch):
    labeled = tmp_path / "in"
    labeled.mkdir()
    draw_labeled_slide(labeled / "a.svs")
    requested = []
    read = TiledSlide.associated_image
    monkeypatch.setattr(TiledSlide, "associated_image", lambda self, name: requested.append(name) or read(self, name))
    person.shows(labeled)
    assert requested == []
    before = files_in(tmp_path)
    person.selects("a.svs")
    person.clicks("tray_label")
    person.until(lambda: any(map(is_label, QApplication.topLevelWidgets())))
    dialogs = list(filter(is_label, QApplication.topLevelWidgets()))
    assert requested == ["label"]
    picture = dialogs[0].findChild(QLabel, "slide_label_label").pixmap().toImage()
    assert (picture.width(), picture.height()) == (50, 60)
    assert picture.pixelColor(20, 20).getRgb()[:3] == LABEL_COLOR
    with person.qtbot.waitSignal(dialogs[0].destroyed):
        dialogs[0].close()
    assert files_in(tmp_path) == before
    # A canceled one is not shown.
    for how in ("canceled", "other folder", "hidden"):
        person.shows(folder)
        started, proceed = Event(), Event()

        def read_slowly(path, run, started=started, proceed=proceed):
            started.set()
            proceed.wait(10)
            return listing.SlideLabel(path, {"label": np.zeros((8, 8, 3), np.uint8)})

        monkeypatch.setattr(listing, "read_label", read_slowly)
        person.selects("s2.tif")
        person.clicks("tray_label")
        assert started.wait(10)
        assert is_busy(person)
        if how == "hidden":
            person.dock.parentWidget().hide()
        elif how == "other folder":
            person.dock.open([folder / "more"])
        else:
            person.clicks("cancel")
        proceed.set()
        person.waits_for_all()
        assert not is_busy(person), how
        assert not any(map(is_label, QApplication.topLevelWidgets())), how


def is_busy(person):
    return person.dock.status.text.startswith("Reading the label of")


def files_in(folder):
    return {path for path in folder.rglob("*") if path.suffix != ".ini" and path.is_file()}  # except the settings


def is_label(widget):
    return widget.objectName() == "slide_label" and widget.isVisible()


def test_the_dock_may_be_closed_while_it_reads(person, many, monkeypatch):
    folder, _, _ = many
    started, proceed = Event(), Event()

    def read_slowly(path, side_px):
        started.set()
        proceed.wait(10)
        return np.zeros((8, 8, 3), np.uint8), ""

    monkeypatch.setattr(thumbnails, "read_preview", read_slowly)
    person.dock.open([folder])
    person.until(lambda: len(person.names) == MANY)
    person.until(started.is_set)
    person.viewer.window.remove_dock_widget(person.dock)
    person.until(lambda: not isalive(person.dock))
    proceed.set()


def test_images_of_a_case_are_opened_in_the_case_dock_and_follow_its_file(unseen_person, tmp_path):
    person = unseen_person
    case = write_case(tmp_path)
    person.shows(case.folder)
    assert len(person.names) == 3
    assert [person.text(row) for row in range(2)] == ["analyzed"] * 2
    person.selects(person.names[0])
    person.dock.open_button.click()
    person.waits_for_all()
    case_dock = show_dock(person.viewer, "Case")
    assert case_dock.controller.store.folder == case.folder
    assert person.open_files[:1] == person.names[:1]
    # Slides and photographs are opened together.
    person.list.selectAll()
    person.dock.open_button.click()
    person.waits_for_all()
    assert set(person.names) <= set(person.open_files)
    # The states follow the file of the case.
    case_dock.controller.close()
    person.waits_for_all()
    with CaseStore.open(case.folder) as store:
        store.save(set_image(store.case, "I1", results=()))
    person.dock._refresh_visible()
    person.until(lambda: [person.text(row) for row in (0, 1)] == ["not analyzed", "analyzed"])


def test_a_photograph_of_a_case_is_no_slide_though_it_has_tiles(person, tmp_path):
    """The modality in the case decides, as it does in the Case dock."""
    tiled = draw_tiled_photograph(tmp_path / "mole.tif")
    images = [CaseImage(id="", path=tiled, modality="macroscopic")]
    store = CaseStore.create(tmp_path / "case", add_images(add_lesion(Case()), images, "L1"))
    store.close()
    person.shows(tmp_path / "case")
    assert [image.is_slide for image in person.dock.list_model.images] == [False]
    person.until(lambda: person.dock.thumbnails.get(tiled) is not None)
    assert person.dock.thumbnails.get(tiled).toImage().pixelColor(40, 0).saturation() == 0  # a colored channel as slide
    person.shows(tmp_path)
    person.until(lambda: person.dock.list_model.images[0].is_slide)


def test_the_folder_of_the_displayed_slide_and_the_images_of_a_case_are_shown(unseen_person, tmp_path):
    person = unseen_person
    case = write_case(tmp_path)
    slide_dock = show_dock(person.viewer, "Slide")
    slide_dock.opener.open([case.slide])
    person.waits_for_all()
    person.dock._on_link("slide")
    person.waits_for_all()
    assert person.dock.content.chosen == (case.slide.parent,)
    assert person.dock.content.case_folder is None
    model = person.dock.list_model
    assert [row for row in range(model.rowCount()) if model.is_displayed(model.index(row))] == [
        person.names.index("section.tif")
    ]
    case_dock = show_dock(person.viewer, "Case")
    case_dock.controller.open(case.folder)
    person.waits_for_all()
    case_dock.tray_button.click()
    person.waits_for_all()
    assert person.dock.content.case_folder == case.folder
    assert len(person.names) == 3


@pytest.fixture
def two_cases(tmp_path):
    return write_case(tmp_path / "a"), write_case(tmp_path / "b")


def test_a_damaged_macro_does_not_hide_the_label(tmp_path, monkeypatch):
    path = tmp_path / "a.svs"
    draw_labeled_slide(path)
    with tifffile.TiffWriter(path, append=True) as tiff:
        macro = np.full((60, 90, 3), 200, np.uint8)
        tiff.write(macro, description="Aperio\r\nmacro 90x60", subfiletype=9, photometric="rgb", metadata=None)
    read = TiledSlide.associated_image

    def read_except(self, name):
        if name in broken:
            raise ValueError("corrupt strip")
        return read(self, name)

    monkeypatch.setattr(TiledSlide, "associated_image", read_except)
    broken = ["macro"]
    label = read_label(path, RunContext())
    assert list(label.images) == ["label"]
    assert "The macro image cannot be read" in label.problems[0]
    broken = ["label", "macro"]
    with pytest.raises(InputError, match="The label image cannot be read"):
        read_label(path, RunContext())


def test_one_file_that_is_no_image_is_refused(folder):
    with pytest.raises(InputError, match="no slide or photograph"):
        list_images([folder / "notes.txt"], RunContext())
    (folder / "mole.png").rename(folder / "mole")
    assert [image.name for image in list_images([folder / "mole"], RunContext()).images] == ["mole"]
    assert list_images([folder, folder / "more"], RunContext()).title == "2 folders"


def test_a_cache_that_is_cleared_while_it_reads_can_read_the_same_file(qtbot, tmp_path):
    proceed, counts = Event(), []

    def read(paths, run):
        counts.append(len(paths))
        proceed.wait(10)
        return dict.fromkeys(paths, len(counts))

    owner = QObject()
    cache = BackgroundCache(read, owner)
    cache.request(tmp_path)
    qtbot.waitUntil(lambda: counts == [1])
    cache.clear()
    assert cache.request(tmp_path) is None
    proceed.set()
    qtbot.waitUntil(lambda: cache.peek(tmp_path) == 2)


@pytest.mark.parametrize(("failures", "fault"), [(1, ""), (2, "damaged")])
def test_a_file_is_called_damaged_only_if_it_fails_again(qtbot, tmp_path, failures, fault):
    path = tmp_path / "one.png"
    path.write_bytes(b"1")
    errors = [AttributeError("partially initialized module")] * failures

    def read(_, side_px):
        if errors:
            raise errors.pop()
        return np.zeros((side_px, side_px, 3), np.uint8), ""

    owner = QObject()
    pictures = ThumbnailLoader(8, owner, read)
    pictures.get(path)
    wait_until_idle(qtbot)
    assert pictures.get_fault(path) == fault
    assert (pictures.get(path) is None) == bool(fault)


def test_subfolders_and_states_that_cannot_be_read_are_named(person, folder, monkeypatch):
    listed = Path.iterdir

    def iterdir(self):
        if self == folder / "more":
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        person.shows(folder)
    assert person.names == ["mole.png", "s2.tif", "torn.svs"]
    assert f"1 folder could not be read: {folder / 'more'}" in person.dock.status.text

    def read(self, slides, run):
        raise PermissionError(13, "Permission denied", "/results")

    monkeypatch.setattr(WorkItemReader, "read", read)
    person.dock.status.show_message("")
    person.shows(folder)
    person.until(lambda: "Permission denied" in person.dock.status.text)


def test_missing_and_unreadable_files_are_not_called_damaged(person, folder, monkeypatch):
    forbidden = [folder / "s2.tif"]
    read, open_regular = thumbnails.read_preview, thumbnails.open_regular

    def read_preview(path, side_px):
        if path in forbidden:
            raise InputError(f"{path} cannot be read: Permission denied.")
        return read(path, side_px)

    def open_file(path):
        if path in forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return open_regular(path)

    monkeypatch.setattr(thumbnails, "read_preview", read_preview)
    monkeypatch.setattr(thumbnails, "open_regular", open_file)
    person.shows(folder)
    (folder / "mole.png").rename(folder / "mole.bak")
    person.dock.thumbnails.clear()
    person.list.viewport().repaint()
    person.waits()

    def fault(name):
        return person.dock.thumbnails.get_fault(person.image(name).path)

    faults = {"mole.png": "not found", "s2.tif": "not readable", "s10.tif": "", "torn.svs": "damaged"}
    person.until(lambda: {name: fault(name) for name in person.names} == faults)
    forbidden.clear()
    (folder / "mole.bak").rename(folder / "mole.png")
    person.dock._refresh_visible()
    person.until(lambda: fault("mole.png") == fault("s2.tif") == "")
    person.waits()
    assert person.dock.thumbnails.get(folder / "s2.tif") is not None


def test_filter_follows_the_states_and_keeps_the_selection(person, folder, monkeypatch):
    monkeypatch.setattr(person.list, "underMouse", lambda: False)  # where the pointer of the display is does not matter
    slides = [folder / "s2.tif", folder / "more" / "s10.tif"]
    root = person.dock.settings.slide_results
    first, second = (FakeAnalysis(slide_folder(root, one), one, slide_fingerprint(one)).begins() for one in slides)
    person.shows(folder)
    person.chooses(person.dock.filter_combo, FILTERS.index("running"))
    assert person.names == ["s2.tif", "s10.tif"]
    person.selects("s10.tif")
    first.finishes()
    person.dock._refresh_visible()
    person.until(lambda: person.names == ["s10.tif"])
    assert [image.name for image in person.list.selected_images] == ["s10.tif"]
    second.finishes()
    person.dock._refresh_visible()
    person.until(lambda: person.names == [] and person.dock.empty_label.isVisible())
    assert not person.dock.open_button.isEnabled()
    signs(person, slides[1])  # which is not visible
    for kind, expected in (("signed", ["s10.tif"]), ("done", ["s2.tif"])):
        person.chooses(person.dock.filter_combo, FILTERS.index(kind))
        assert person.names == expected
