"""Whether an error means that memory ran out: learning and answering then go on in smaller parts; torch-free."""

from __future__ import annotations

MEMORY_WORDS = ("out of memory", "can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on any device.

    True for torch's own error, the allocator's message, and Python's ``MemoryError``.
    """
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in MEMORY_WORDS)
