"""Pseudonyms, and the audit of files for information that identifies a person."""

from napari_melanoma.privacy.audit import AuditResult, audit
from napari_melanoma.privacy.rules import KINDS, PrivacyFinding

__all__ = ["KINDS", "AuditResult", "PrivacyFinding", "audit"]
