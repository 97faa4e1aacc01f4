"""The example of a pathology table of ISIC 2024: biopsy results of a contributing clinic, without images."""

from __future__ import annotations

from napari_melanoma.core.paths import free_name
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import read_table_rows

SPEC = SourceSpec(
    name="isic2024-pathology",
    title="a pathology table of ISIC 2024",
    licence="none stated; example material",
    url="https://challenge.isic-archive.com/data/#2024",
    modality="",
    reference="Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w",
    layout="""\
ISIC_2024_ex_pathology_metadata.csv or another table *pathology*.csv with the columns case_id, diagnosis, mel_class,
mel_thick, ulcer ...; it has no images""",
    images=103,
)
IDENTIFYING_COLUMNS = ("mrn", "biopsy_date")  # medical record number and date identify a person


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the rows, one for each biopsy, without record number and date.

    The case, which may have several biopsies, is used as the lesion.
    """
    records: dict[str, SourceRecord] = {}
    used_names: set[str] = set()
    without_case = 0
    for row in read_table_rows(tree, r".*pathology.*\.csv"):
        case = row.get("case_id", "")
        values = {name: text for name, text in row.items() if text and name not in IDENTIFYING_COLUMNS}
        if case:
            name = free_name(f"case_{case}", used_names)
            used_names.add(name.lower())
            records[name] = SourceRecord(name, None, None, {**values, "lesion_id": case})
        else:
            without_case += bool(values)
    if records and without_case:
        tree.notes.append(
            ("case_id", f"{without_case} row{'s name' if without_case > 1 else ' names'} no case: left out")
        )
    return [records[name] for name in sorted(records)]
