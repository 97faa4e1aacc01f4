"""Reading and writing of files: photographs, DICOM, TIFF, tables, GeoJSON and results."""
