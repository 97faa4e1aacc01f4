"""Pseudonyms, and the audit of what a folder would give away of a person."""

from napari_melanoma.privacy.audit import AuditResult, audit
from napari_melanoma.privacy.rules import KINDS, PrivacyFinding

__all__ = ["KINDS", "AuditResult", "PrivacyFinding", "audit"]
