"""Decoded tiles of all open slides in one memory of bounded size: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEMORY_SHARE = 1 / 64
# Some twenty screens. A larger cache takes fresh memory for longer, which cost a third of the time of a jump.
LEAST_BYTES, MOST_BYTES = 96 * 2**20, 192 * 2**20


class TileCache:
    """Arrays by key, together never larger than a number of bytes; safe to use from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[Hashable, NDArray] = OrderedDict()
        self._bytes = 0
        self._gone: deque[Hashable] = deque()
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """How much is kept at the moment."""
        return self._bytes

    def get(self, key: Hashable) -> NDArray | None:
        """Give an array that was kept.

        Read-only; None where it is not there, or no longer.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Hashable, array: NDArray) -> None:
        """Keep an array, in place of those that were used longest ago."""
        array.flags.writeable = False
        with self._lock:
            self._drop_gone()
            self._drop(key)
            if array.nbytes > self.limit_bytes:
                return
            while self._bytes + array.nbytes > self.limit_bytes:
                self._drop(next(iter(self._kept)))
            self._kept[key] = array
            self._bytes += array.nbytes

    def forget(self, owner: Hashable) -> None:
        """Drop all arrays whose key is a tuple that begins with ``owner``.

        A slide that nobody holds is found to be so at any moment, also while this very thread is within the cache: then
        its arrays are dropped a little later, instead of waiting for ever.
        """
        self._gone.append(owner)
        if self._lock.acquire(blocking=False):
            try:
                self._drop_gone()
            finally:
                self._lock.release()

    def _drop_gone(self) -> None:
        """Drop what belongs to nobody any more; the lock is held."""
        while self._gone:
            owner = self._gone.popleft()
            for key in [key for key in self._kept if isinstance(key, tuple) and key[0] == owner]:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        """Let go of one array, if it is there; the lock is held."""
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.nbytes


def memory_limit() -> int:
    """How much the cache of all slides keeps on this machine: a sixty-fourth of the memory, within bounds.

    Bytes.
    """
    import psutil

    share = int(psutil.virtual_memory().total * MEMORY_SHARE)
    return min(max(share, LEAST_BYTES), MOST_BYTES)


_shared: TileCache | None = None
_shared_lock = Lock()


def shared_cache() -> TileCache:
    """Give the one cache that all slides of this process share.

    Made when it is first asked for.
    """
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = TileCache(memory_limit())
        return _shared
