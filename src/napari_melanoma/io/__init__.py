"""Files in and out: photographs, DICOM and results, and the functions that napari's manifest names."""
