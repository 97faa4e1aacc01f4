"""Print the versions of Qt and OpenGL that a window would use, as JSON; a separate program, since Qt may abort it."""

from __future__ import annotations

import json
import sys


def describe_graphics() -> dict[str, str]:
    """Create an OpenGL context as a viewer does, and describe it.

    Returns ``binding`` and ``qt`` (versions), ``platform`` (Qt's name), ``renderer`` (empty without OpenGL).
    """
    import qtpy
    from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext

    application = QGuiApplication(sys.argv[:1])
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    renderer = ""
    if context.create() and context.makeCurrent(surface):
        from vispy.gloo import gl

        renderer = str(gl.glGetParameter(gl.GL_RENDERER))
        context.doneCurrent()
    version = qtpy.PYQT_VERSION or qtpy.PYSIDE_VERSION
    return {
        "binding": f"{qtpy.API_NAME} {version}",
        "qt": str(qtpy.QT_VERSION),
        "platform": application.platformName(),
        "renderer": renderer,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe_graphics()) + "\n")
