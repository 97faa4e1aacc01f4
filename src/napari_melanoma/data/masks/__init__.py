"""Masks made elsewhere: one module a format, each of which reads its files into the same kind of object."""
