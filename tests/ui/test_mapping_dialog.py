"""The mapping dialog: guesses for a typical table, choices of the user, and the saved mapping."""

from __future__ import annotations

import pytest
from patience import PATIENCE_MS
from qtpy.QtWidgets import QComboBox, QPushButton, QWidget

from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.table_mapping import TableMapping, read_mapping
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.ui.table_mapping import MappingDialog

TABLE = (
    "Bildname;Pat-Nr;Geschlecht;Alter;Lokalisation;Befund;dx;Bemerkung\n"
    "b1;17;w;54;Rücken;NV;;nach Urlaub\n"
    "b2;17;w;54;linker Unterarm;MEL;;\n"
    "b3;18;m;430;Stelle X;Spindelzelliges;;Kontrolle\n"
    "b4;19;m;61;Kopf;BCC;nv;\n"
    "b5;19;m;61;Stelle X;NV;;\n"
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "patienten.csv"
    path.write_bytes(TABLE.encode("cp1252"))
    return path


@pytest.fixture
def owner(home, qtbot):
    made = QWidget()
    yield made
    made.deleteLater()


@pytest.fixture
def opened(owner, qtbot):
    def open_it(path, mapping=None):
        dialog = MappingDialog(path, owner, mapping)
        with qtbot.waitSignal(dialog.table_read, timeout=PATIENCE_MS):
            dialog.show()
        return dialog

    return open_it


def box(dialog, name):
    found = dialog.findChild(QComboBox, name)
    assert found is not None, name
    return found


def chooses(dialog, name, value):
    chosen = box(dialog, name)
    place = chosen.findData(value)
    assert place >= 0, value
    chosen.setCurrentIndex(place)
    chosen.activated.emit(place)


def chooses_column(dialog, qtbot, name, value):
    with qtbot.waitSignal(dialog.table_read, timeout=PATIENCE_MS):
        chooses(dialog, f"column_{name}", value)


def status_text(dialog):
    return dialog.findChild(QWidget, "mapping_said").text()


@pytest.mark.both_qts
def test_columns_are_guessed_mapped_and_saved_and_the_mapping_is_applied_by_harmonizing(opened, table, tmp_path, qtbot):
    dialog = opened(table)
    assert box(dialog, "column_Geschlecht").currentData() == "sex"
    assert box(dialog, "column_Lokalisation").currentData() == "site"
    assert box(dialog, "column_Bemerkung").currentText() == "keep unchanged"
    assert "5 rows read. Unknown values in 2 cells" in status_text(dialog)
    assert "Values outside the allowed range in age: '430' (1)" in status_text(dialog)
    assert box(dialog, "word_site_Stelle X").currentData() == ""
    chooses_column(dialog, qtbot, "Bildname", "image_id")
    chooses_column(dialog, qtbot, "Pat-Nr", "patient_id")
    chooses_column(dialog, qtbot, "Befund", "diagnosis")
    chooses_column(dialog, qtbot, "Bemerkung", "")
    chooses(dialog, "word_site_Stelle X", "cheek")
    chooses(dialog, "word_diagnosis_Spindelzelliges", "unknown")
    assert "All values are mapped" in status_text(dialog)
    dialog.save(tmp_path / "ours.toml")
    assert "Saved as ours.toml" in status_text(dialog)
    mapping = read_mapping(tmp_path / "ours.toml")
    assert mapping == dialog.mapping
    rows, report = (done := harmonize_rows([mapping.apply(row) for row in iterate_rows(table)])).rows, done.report
    assert not report.unmapped
    assert [row.get("sub_site") for row in rows] == [None, "forearm", "cheek", None, "cheek"]
    assert [row["patient_id"] for row in rows] == ["17", "17", "18", "19", "19"]
    assert not any("Bemerkung" in row for row in rows)
    # A mapped value is kept when columns change.
    chooses(dialog, "word_site_Stelle X", "cheek")
    chooses_column(dialog, qtbot, "Lokalisation", "*")
    assert "All values are mapped" in status_text(dialog)
    chooses_column(dialog, qtbot, "Lokalisation", "site")
    assert dialog.mapping.words["site"] == {"Stelle X": "cheek"}
    assert box(dialog, "word_site_Stelle X").currentText() == "Cheek"
    # A kept column is not mapped by its name.
    chooses_column(dialog, qtbot, "dx", "*")
    row = dialog.mapping.apply({"dx": "nv"})
    assert harmonize_rows([row]).rows == [{"own_dx": "nv"}]
    # The mapping is emitted.
    expected, chosen = dialog.mapping, []
    dialog.mapping_chosen.connect(chosen.append)
    dialog.findChild(QPushButton, "mapping_use").click()
    assert chosen == [expected]
    assert not dialog.isVisible()


def test_an_existing_mapping_and_names_outside_the_schema_are_shown(opened, table):
    mapping = TableMapping(
        columns={"Geschlecht": "", "Befund": "diagnosis", "Bemerkung": "remark"},
        words={"diagnosis": {"Spindelzelliges": "nevus"}},
    )
    dialog = opened(table, mapping)
    assert dialog.mapping.columns["Geschlecht"] == ""
    assert dialog.mapping.words == mapping.words
    assert box(dialog, "column_Geschlecht").currentText() == "leave out"
    assert box(dialog, "word_diagnosis_Spindelzelliges").currentData() == "nevus"
    assert dialog.mapping.columns["Bemerkung"] == "remark"
    assert box(dialog, "column_Bemerkung").currentText() == "rename to remark"


def test_what_is_known_by_the_names_is_not_lost_unless_it_is_left_out(opened, tmp_path, qtbot):
    row = {"Bild": "b1", "diagnosis_1": "Malignant", "diagnosis_3": "Melanoma", "age": "", "age (2)": "54", "mpp": "2"}
    path = tmp_path / "table.csv"
    path.write_text(f"{';'.join(row)}\n{';'.join(row.values())}\n", encoding="utf-8")
    dialog = opened(path)
    assert harmonize_rows([dialog.mapping.apply(row)]).rows == harmonize_rows([row]).rows
    chooses_column(dialog, qtbot, "age (2)", "*")
    kept = dialog.mapping
    assert kept.columns["age (2)"] == "own_age (2)"
    again = opened(path, kept)  # columns that a mapping does not list are understood by their names
    assert again.mapping == kept
    assert harmonize_rows([kept.apply(row)]).rows[0]["diagnosis"] == "melanoma"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"image_id;age\n", "has no rows"), (b"PK\x03\x04" + bytes(20), "Save its sheet as CSV")],
    ids=["no rows", "a workbook"],
)
def test_an_invalid_table_is_reported_and_cannot_be_used(owner, tmp_path, qtbot, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    dialog = MappingDialog(path, owner)
    dialog.show()
    qtbot.waitUntil(lambda: message in status_text(dialog), timeout=PATIENCE_MS)
    assert not dialog.findChild(QPushButton, "mapping_use").isEnabled()
