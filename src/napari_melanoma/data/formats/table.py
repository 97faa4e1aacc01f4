"""A user's own tables with a row for each image or lesion, optionally with a mapping of their columns and words."""

from __future__ import annotations

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import SourceRecord, describe_own_files, pair_records, read_image_rows

SOURCE = describe_own_files(
    name="table",
    title="a table of your own",
    url="your own disk",
    layout="""\
one or several tables of any name, *.csv, *.tsv or *.tab (or the path of one table), with a column that names images
(image_id, filename ...); if it has another name, map it with --map FILE.toml
optional: the images of those names in any folder, and masks as for 'folder'""",
)
TABLES = r".+\.(?:csv|tsv|tab)"  # not .txt, which may be any text


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the rows of all tables, with their images if present."""
    rows = read_image_rows(tree, ".+" if len(tree.files) == 1 else TABLES, keep_folders=True)
    return pair_records(tree, rows, {}) if rows else []
