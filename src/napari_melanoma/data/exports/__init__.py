"""The formats of other programs that data sets can be exported to, one module each."""
