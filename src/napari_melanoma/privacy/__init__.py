"""Pseudonyms, and the audit of what a folder would give away of a person."""

from napari_melanoma.privacy.audit import Audited, audit
from napari_melanoma.privacy.rules import KINDS, Finding

__all__ = ["KINDS", "Audited", "Finding", "audit"]
