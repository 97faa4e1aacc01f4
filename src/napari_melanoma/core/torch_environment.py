"""Environment variables that torch reads when it is imported."""

from __future__ import annotations

import os


def prepare_torch() -> None:
    """Set the variables that the user did not set; call this before torch is imported."""
    # Torch's threads spin while they wait: with other work on 2 cores, a forward pass took four times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Operations that torch lacks on Apple's GPUs, such as antialiased resizing in torch 2.5, then run on the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
