"""nnU-Net: a raw data set of version 1 or 2, with the folds of its cross-validation if splits_final.json is there."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import add_nnunet_folds, pair_records, read_image_rows
from napari_melanoma.data.sources.folder import TABLES

SPEC = SourceSpec(
    name="nnunet",
    title="nnU-Net raw data set",
    licence="that of its images",
    url="https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md",
    modality="",
    reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
    layout="""\
imagesTr/<case>_0000.png (or .tif, .bmp), in color, or red, green and blue in _0000, _0001 and _0002
labelsTr/<case>.png
dataset.json, with the names of classes and regions
imagesTs and labelsTs, the test set, if there is one
splits_final.json, from the folder nnUNet_preprocessed, if the folds are to be kept
metadata.csv with patient_id ..., if known""",
    public=False,
)
FOLDERS = ("imagestr", "imagests", "imagesval")


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the cases with their folds."""
    if not any(folder in FOLDERS for file in tree.files for folder in file.name.lower().split("/")[:-1]):
        return []
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    return add_nnunet_folds(tree, pair_records(tree, rows, {}))
