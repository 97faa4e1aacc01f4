"""Any table of one's own, a row an image or a lesion; a mapping says what its columns and words mean."""

from __future__ import annotations

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_pairs import pair_records
from napari_melanoma.data.source_tables import read_image_rows
from napari_melanoma.data.sources import SourceRecord, SourceSpec

SPEC = SourceSpec(
    name="table",
    title="a table of your own",
    licence="that of its images",
    url="your own disk",
    modality="",
    reference="",
    layout="""\
one or several tables of any name, *.csv, *.tsv or *.tab (or one that you name itself), with a column that names images
(image_id, filename ...); where it has another name, say so with --map FILE.toml
where you have them, the images of those names in any folder, and masks as for 'folder'""",
    public=False,
)
TABLES = r".+\.(?:csv|tsv|tab)"  # a .txt beside them may be anything


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the rows of all its tables, with their images where those are there.

    Empty where there are none.
    """
    known = read_image_rows(tree, ".+" if len(tree.files) == 1 else TABLES)
    return pair_records(tree, known, {}) if known else []
