"""Work around a crash on Linux, where Mesa's OpenGL drivers fail if the shader program of a layer is deleted."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

from vispy.gloo import gl
from vispy.gloo.glir import GlirProgram, GlirShader

ShaderKey = tuple[tuple[str, str], ...]  # class and code of each shader of a program


def reuse_shader_programs() -> None:
    """Reuse the shader programs of closed layers instead of deleting them, on Linux.

    With vispy 0.17 and Mesa's software renderers (llvmpipe and softpipe, with both Qt bindings), napari crashes with a
    segmentation fault at the second frame after a visible layer is removed, unless ``glDeleteProgram`` is never called.
    Keeping a program costs 1 to 2 MB, 10 MB for each photograph; reusing it for the next layer with the same shaders
    costs nothing, and saves the compilation. Textures and buffers are freed as usual.
    """
    if sys.platform == "linux":
        GlirShader.set_data = _set_code
        GlirProgram.create = _create
        GlirProgram.link_program = _link
        GlirProgram.delete = _release


_vispy_set_data, _vispy_create, _vispy_link = GlirShader.set_data, GlirProgram.create, GlirProgram.link_program


class _ShaderPool:
    """The unused programs of an OpenGL context.

    ``empty``: programs that were never linked. ``linked``: programs by their shaders. ``variables``: the variables of
    the programs with the same shaders, cached because a request to the driver takes long.
    """

    def __init__(self) -> None:
        self.empty: list[int] = []
        self.linked: defaultdict[ShaderKey, list[int]] = defaultdict(list)
        self.variables: dict[ShaderKey, set[str]] = {}

    @classmethod
    def for_program(cls, program: Any) -> _ShaderPool:  # noqa: ANN401 - vispy has no types
        """Return the pool of a program's OpenGL context; it is deleted with the context."""
        if not hasattr(program._parser, "melanoma_programs"):
            program._parser.melanoma_programs = cls()
        pool: _ShaderPool = program._parser.melanoma_programs
        return pool

    def add(self, handle: int, key: ShaderKey | None) -> None:
        """Add an unused program; ``key``: the shaders that it was linked from, None if it was never linked."""
        (self.empty if key is None else self.linked[key]).append(handle)


def _set_code(shader: Any, offset: int, code: str) -> None:  # noqa: ANN401
    _vispy_set_data(shader, offset, code)
    shader.melanoma_code = code


def _create(program: Any) -> None:  # noqa: ANN401
    _vispy_create(program)
    empty = _ShaderPool.for_program(program).empty
    if empty:
        gl.glDeleteProgram(program._handle)  # safe, as the program was never linked
        program._handle = empty.pop()
    program.melanoma_key = None


def _link(program: Any) -> None:  # noqa: ANN401
    """Link a program from its shaders, or use one that was already linked from the same shaders.

    This program itself may be that one, because napari sets the same shaders again with new data.
    """
    pool, shaders = _ShaderPool.for_program(program), program._attached_shaders
    key = tuple((type(shader).__name__, getattr(shader, "melanoma_code", "")) for shader in shaders)
    free, is_linked = pool.linked[key], key == getattr(program, "melanoma_key", None)
    if not free and not is_linked:
        _vispy_link(program)
        pool.variables[key] = set(program._unset_variables)
    else:
        for shader in shaders:
            gl.glDetachShader(program._handle, shader.handle)
        if not is_linked:
            _release(program)
            program._handle = free.pop()
        _reset_variables(program, pool.variables[key])
    program.melanoma_key = key


def _reset_variables(program: Any, variables: set[str]) -> None:  # noqa: ANN401
    """Reset the state as ``GlirProgram.link_program`` does after linking: all variables must be set again."""
    program._attached_shaders = []
    program._unset_variables = set(variables)
    program._handles, program._known_invalid = {}, set()
    program._attributes, program._samplers = {}, {}
    program._linked = True


def _release(program: Any) -> None:  # noqa: ANN401
    key = getattr(program, "melanoma_key", None)
    # Programs that were linked before the first dock was opened are neither deleted nor reused
    if key is not None or not program._linked:
        _ShaderPool.for_program(program).add(program._handle, key)
