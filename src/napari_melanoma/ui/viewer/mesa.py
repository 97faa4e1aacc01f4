"""Work around a crash on Linux: Mesa's OpenGL drivers fail when the shader program of a closed layer is deleted."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

from vispy.gloo import gl
from vispy.gloo.glir import GlirProgram, GlirShader

Key = tuple[tuple[str, str], ...]


def reuse_shader_programs() -> None:
    """Reuse the shader programs of closed layers instead of deleting them, on Linux.

    With vispy 0.17 and Mesa's software renderers (llvmpipe and softpipe, both Qts), napari ends with a segmentation
    fault at the second picture after a layer that was seen is removed, and does not where ``glDeleteProgram`` is never
    called. A program that is merely kept costs 1 to 2 MB, 10 MB for each photograph; reused by the next layer with the
    same shaders it costs nothing, and saves the compilation. Textures and buffers are freed as before.
    """
    if sys.platform == "linux":
        GlirShader.set_data = _set_code
        GlirProgram.create = _create
        GlirProgram.link_program = _link
        GlirProgram.delete = _release


_compile, _new, _link_new = GlirShader.set_data, GlirProgram.create, GlirProgram.link_program


class _ShaderPool:
    """Programs of one OpenGL context that no layer uses: those without shaders, and the others by their shaders."""

    def __init__(self) -> None:
        self.empty: list[int] = []
        self.linked: defaultdict[Key, list[int]] = defaultdict(list)

    @classmethod
    def for_program(cls, program: Any) -> _ShaderPool:  # noqa: ANN401 - vispy has no types
        """Give the pool of a program's context, which ends with it."""
        if not hasattr(program._parser, "melanoma_programs"):
            program._parser.melanoma_programs = cls()
        pool: _ShaderPool = program._parser.melanoma_programs
        return pool

    def add(self, handle: int, key: Key | None) -> None:
        """Take back a program, with the shaders that it is linked from."""
        (self.empty if key is None else self.linked[key]).append(handle)


def _set_code(shader: Any, offset: int, code: str) -> None:  # noqa: ANN401
    _compile(shader, offset, code)
    shader.melanoma_code = code


def _create(program: Any) -> None:  # noqa: ANN401
    _new(program)
    empty = _ShaderPool.for_program(program).empty
    if empty:
        gl.glDeleteProgram(program._handle)  # one that was never linked, which no driver minds
        program._handle = empty.pop()
    program.melanoma_key = None


def _link(program: Any) -> None:  # noqa: ANN401
    """Link a program, or take one that is linked from the same shaders."""
    pool, shaders = _ShaderPool.for_program(program), program._attached_shaders
    key = tuple((type(shader).__name__, getattr(shader, "melanoma_code", "")) for shader in shaders)
    free = pool.linked[key]
    if not free:
        _link_new(program)
    else:
        for shader in shaders:
            gl.glDetachShader(program._handle, shader.handle)
        _release(program)
        program._handle = free.pop()
        _reset_variables(program)
    program.melanoma_key = key


def _reset_variables(program: Any) -> None:  # noqa: ANN401
    """Do what ``GlirProgram.link_program`` does once it has linked: every variable is to be set again."""
    program._attached_shaders = []
    program._unset_variables = program._get_active_attributes_and_uniforms()
    program._handles, program._known_invalid = {}, set()
    program._attributes, program._samplers = {}, {}
    program._linked = True


def _release(program: Any) -> None:  # noqa: ANN401
    key = getattr(program, "melanoma_key", None)
    if key is not None or not program._linked:  # one that was linked before the first dock opened is merely kept
        _ShaderPool.for_program(program).add(program._handle, key)
