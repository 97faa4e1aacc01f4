"""What a folder would give away of a person: every file looked into, nothing changed."""

from napari_melanoma.workflows.audit.finding import KINDS, Finding
from napari_melanoma.workflows.audit.walk import Audited, audit

__all__ = ["KINDS", "Audited", "Finding", "audit"]
