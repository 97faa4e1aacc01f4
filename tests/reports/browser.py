"""Show pages in headless Chromium (Qt WebEngine) at several widths, and print what was found there as JSON.

Run as ``python browser.py AXE light|dark WIDTHS NAME=PAGE...``, in a process of its own: Chromium takes the scheme
when it starts, and the tests run under another Qt binding. Exit code 3: Qt WebEngine cannot be loaded.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

SECONDS = 60
HEIGHT = 844
DARK, LIGHT = 0, 1  # blink's preferredColorScheme
FLAGS = "--disable-gpu --disable-dev-shm-usage --blink-settings=preferredColorScheme={}"
UNAVAILABLE = 3

PREPARE = "for (const one of document.querySelectorAll('details')) one.open = true;"
CHECK = """
axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], resultTypes: ['violations']})
  .then(found => { window.found = found.violations.flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.failureSummary}`)); },
    error => { window.found = [`axe failed: ${error}`]; });
"""
LOOK = """JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth, executed: Boolean(window.executed),
  background: getComputedStyle(document.body).backgroundColor,
  wide: Array.from(document.querySelectorAll('main *')).filter(one => one.getBoundingClientRect().right > innerWidth
    && !one.closest('.wide, .hidden')).map(one => one.outerHTML.slice(0, 200)).slice(0, 5),
})"""


def main() -> int:
    """Visit each page at each width, light or dark, and write a list of what was found; the last page is printed."""
    axe, scheme, widths, *pages = sys.argv[1:]
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"  # it does not start as root, as in a container
    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = FLAGS.format(DARK if scheme == "dark" else LIGHT)
    try:
        from PySide6.QtWebEngineWidgets import QWebEngineView  # noqa: F401 - before the application
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        sys.stderr.write(str(error))
        return UNAVAILABLE
    application = QApplication(sys.argv[:1])
    browser = make_browser(Path(axe).read_text(encoding="utf-8"))
    found = []
    for width in map(int, widths.split(",")):
        for name, _, path in (page.partition("=") for page in pages):
            found.append({"page": name, "scheme": scheme, **browser.visit(Path(path), width)})
    browser.print(Path(path).with_suffix(".pdf"))
    sys.stdout.write(json.dumps(found))
    browser.close()
    application.quit()
    return 0


def make_browser(axe: str) -> Any:
    """Return a browser with a profile of its own, which reads nothing but the page."""
    import shiboken6
    from PySide6.QtCore import QEventLoop, QMarginsF, QTimer, QUrl
    from PySide6.QtGui import QPageLayout, QPageSize
    from PySide6.QtWebEngineCore import (
        QWebEnginePage,
        QWebEngineProfile,
        QWebEngineSettings,
        QWebEngineUrlRequestInterceptor,
    )
    from PySide6.QtWebEngineWidgets import QWebEngineView

    def wait_for(start: Callable[[Callable[..., object]], object]) -> Any:
        """Start what calls back, and return what it was called with."""
        loop, values = QEventLoop(), []
        QTimer.singleShot(1000 * SECONDS, loop.quit)
        start(lambda value=None: (values.append(value), loop.quit()))
        if not values:
            loop.exec()
        if not values:
            raise SystemExit(f"the page did not answer within {SECONDS} s")
        return values[0]

    class Interceptor(QWebEngineUrlRequestInterceptor):
        page = QUrl()
        requests: list[str] = []

        def interceptRequest(self, info: Any) -> None:  # noqa: N802 - by Qt
            url = info.requestUrl()
            if url != self.page and url.scheme() != "data":
                self.requests.append(url.toString())
                info.block(True)

    class Page(QWebEnginePage):
        messages: list[str] = []

        def javaScriptConsoleMessage(self, level: Any, message: str, line: int, source: str) -> None:  # noqa: N802
            self.messages.append(f"{level.name}: {message} (line {line})")

        def javaScriptAlert(self, origin: QUrl, message: str) -> None:  # noqa: N802 - by Qt
            self.messages.append(f"alert: {message}")

    class Browser:
        def __init__(self) -> None:
            self.profile, self.interceptor = QWebEngineProfile(), Interceptor()
            self.profile.setUrlRequestInterceptor(self.interceptor)
            self.view = QWebEngineView()
            self.page = Page(self.profile, self.view)
            self.view.setPage(self.page)
            # Otherwise Chromium refuses such requests of local pages before they are seen here.
            allowed = QWebEngineSettings.WebAttribute.LocalContentCanAccessRemoteUrls
            self.page.settings().setAttribute(allowed, True)
            self.view.show()

        def visit(self, path: Path, width: int) -> dict[str, Any]:
            """Load a page and return what was found."""
            self.interceptor.requests.clear()
            self.page.messages.clear()
            self.interceptor.page = QUrl.fromLocalFile(str(path))
            self.view.resize(width, HEIGHT)
            if not wait_for(lambda done: (self.page.loadFinished.connect(done), self.page.load(self.interceptor.page))):
                raise SystemExit(f"{path.name} could not be loaded")
            self.page.loadFinished.disconnect()
            self.run(PREPARE)
            looked = json.loads(self.run(LOOK))
            self.run(f"{axe}; {CHECK}; 0")
            deadline = monotonic() + SECONDS
            while (violations := self.run("window.found ? JSON.stringify(window.found) : ''")) == "":
                if monotonic() > deadline:
                    raise SystemExit(f"axe did not check {path.name} within {SECONDS} s")
                wait_for(lambda done: QTimer.singleShot(10, done))
            seen = {"requests": list(self.interceptor.requests), "messages": list(self.page.messages)}
            return {**looked, **seen, "violations": json.loads(violations)}

        def print(self, path: Path) -> None:
            """Print the page to a PDF file."""
            layout = QPageLayout(QPageSize(QPageSize.PageSizeId.A4), QPageLayout.Orientation.Portrait, QMarginsF())
            self.page.printToPdf(str(path), layout)
            wait_for(self.page.pdfPrintingFinished.connect)

        def run(self, script: str) -> Any:
            return wait_for(lambda done: self.page.runJavaScript(script, 0, done))

        def close(self) -> None:
            """Delete the page before its profile, as Qt demands."""
            self.view.close()
            shiboken6.delete(self.page)

    return Browser()


if __name__ == "__main__":
    raise SystemExit(main())
