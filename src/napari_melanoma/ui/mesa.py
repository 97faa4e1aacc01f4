"""A way round a crash: where Mesa draws OpenGL on Linux, a window dies that deletes the shader of a closed layer."""

from __future__ import annotations

import sys


def keep_shaders() -> None:
    """Let vispy keep the shader programs of layers that were closed, on Linux.

    With vispy 0.17 and Mesa's software renderers (llvmpipe and softpipe, both Qts), napari ends with a segmentation
    fault at the second picture after a layer that was seen is removed, and does not where ``glDeleteProgram`` is never
    called. Textures and buffers, which are what is large, are still freed.
    """
    if sys.platform == "linux":
        from vispy.gloo import Program

        Program.delete = _keep


def _keep(program: object) -> None:
    """Delete nothing."""
