"""The measurements of a photograph: a table for the mask, and a list if there are several lesions."""
