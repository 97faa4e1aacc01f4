"""Pseudonyms of patients, and the audit of files for information that identifies a person."""
