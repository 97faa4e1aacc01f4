"""The kinds of rows of a paper's tables: one file each, found by listing this folder."""
