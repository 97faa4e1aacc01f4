"""The pathology table of ISIC 2024: biopsy results of a contributing clinic, an example by the organizers."""

from __future__ import annotations

from napari_melanoma.core.paths import free_name
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import read_table_rows
from napari_melanoma.data.sources import SourceRecord, SourceSpec

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
IDENTIFYING_COLUMNS = ("mrn", "biopsy_date")  # identify a person: record number and day


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the rows, one a biopsy; record number and day of the biopsy are left out.

    A case may have several biopsies and is used as the lesion.
    """
    found: dict[str, SourceRecord] = {}
    taken: set[str] = set()
    nameless = 0
    for row in read_table_rows(tree, r".*pathology.*\.csv"):
        case = row.get("case_id", "")
        values = {name: text for name, text in row.items() if text and name not in IDENTIFYING_COLUMNS}
        if case:
            name = free_name(f"case_{case}", taken)
            taken.add(name.lower())
            found[name] = SourceRecord(name, None, None, {**values, "lesion_id": case})
        else:
            nameless += bool(values)
    if found and nameless:
        tree.notes.append(("case_id", f"{nameless} row{'s name' if nameless > 1 else ' names'} no case: left out"))
    return [found[name] for name in sorted(found)]
