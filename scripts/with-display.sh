#!/bin/sh
# Run a command that opens windows: on the display at hand, else on a virtual one (Xvfb), else on Qt's offscreen platform.
set -eu

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}${QT_QPA_PLATFORM:-}" ]; then
    exec "$@"
fi
if command -v xvfb-run >/dev/null 2>&1; then
    exec xvfb-run --auto-servernum --server-num="${SERVER_NUMBER:-99}" --server-args="-screen 0 1920x1200x24" "$@"
fi
printf 'no display and no Xvfb: windows are drawn by Qt offscreen, the canvas stays empty\n' >&2
QT_QPA_PLATFORM=offscreen exec "$@"
