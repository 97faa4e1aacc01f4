"""Photographs, DICOM, TIFF, tables and results: reading and writing files."""
