"""Which Qt and which OpenGL a window gets here, as JSON; a program of its own, for Qt may abort it."""

from __future__ import annotations

import json
import sys


def describe_graphics() -> dict[str, str]:
    """Make an OpenGL context as a viewer does, and ask it what it is.

    Returns ``binding`` and ``qt`` (versions), ``platform`` (Qt's name), ``renderer`` (empty where there is no OpenGL).
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
