"""The formats of other programs, one module each, which imports (``find``) and exports data sets (``write``)."""
