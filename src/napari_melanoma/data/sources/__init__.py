"""The public data sets that can be imported: each module has a description ``SPEC`` and a function ``find(tree)``."""
