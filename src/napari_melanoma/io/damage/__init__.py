"""Checks that an encoded image is whole, a module a format, since most decoders fill what is missing in silence.

Each ``check`` takes the bytes of a file and gives ``Checked``: what is missing or corrupt, in words that end the
sentence "photo.jpg is damaged: ...", and bytes that the format's decoder can open as far as the data go.
"""
