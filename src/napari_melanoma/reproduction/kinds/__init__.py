"""The types of rows of a paper's tables: one module each, found by listing this folder."""
