"""How long tests wait for what must happen: on a busy machine, everything takes many times as long."""

from __future__ import annotations

PATIENCE_S = 120.0
PATIENCE_MS = int(1000 * PATIENCE_S)
LONG_PATIENCE_S = 5 * PATIENCE_S  # for a process that trains, analyzes, or imports torch
LONG_PATIENCE_MS = int(1000 * LONG_PATIENCE_S)
