"""Any folder of images, with masks and a table where it has them: for sets of one's own."""

from __future__ import annotations

from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_pairs import paired_records
from napari_melanoma.data.source_tables import known_of_images
from napari_melanoma.data.sources import Record, SourceSpec

SPEC = SourceSpec(
    name="folder",
    title="a folder of images",
    licence="that of its images",
    url="your own disk",
    modality="",
    reference="",
    layout="""\
images (JPEG, PNG, TIFF, BMP, WebP) in folders of any name, or in zip files
masks of the same name in a folder with 'mask', 'segmentation' or 'ground truth' in its name, or beside the images as
<image>_mask.png, <image>_segmentation.png, <image>_gt.png
where it is there a table dataset.csv, metadata.csv or labels.csv with a column image_id, image, filename ...""",
    public=False,
)
TABLES = r"(?:dataset|metadata|labels)\.csv"


def find(tree: SourceTree) -> list[Record]:
    """Find its images; what the table says is kept, known columns under our names.

    Parameters
    ----------
    tree : SourceTree
        Of the folder.

    Returns
    -------
    list of Record
        Empty where there are none.
    """
    return paired_records(tree, known_of_images(tree, TABLES), {})
