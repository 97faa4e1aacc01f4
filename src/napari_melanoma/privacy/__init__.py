"""Pseudonyms of patients, and the recognition of information that identifies a person."""
