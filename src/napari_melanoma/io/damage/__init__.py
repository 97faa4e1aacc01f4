"""Integrity checks of encoded images, one module per format, since most decoders silently fill missing data.

Each ``check`` takes the bytes of a file and returns an ``IntegrityCheck``: what is missing or corrupt, in words that
end the sentence "photo.jpg is damaged: ...", and bytes that the decoder of the format can open as far as the data go.
"""
