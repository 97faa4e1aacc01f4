#!/bin/sh
# Look for the system libraries that Qt, a virtual display, PDF reports and the browser of the tests (Qt WebEngine) need on Linux.
# Installs what is missing where that needs no password (scripts/apt-install.sh); otherwise says what to install and goes on: a
# desktop often works without all of them.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
cd "$(dirname "$0")/.."

# package:what shows that it is there, a shared library or a command; both names are the same on Debian and Ubuntu. Only for
# libasound.so.2 is the name of the package with the headers the same everywhere (libasound2 is libasound2t64 from Debian 13 on).
wanted="
xvfb:Xvfb
xauth:xauth
libegl1:libEGL.so.1
libgl1:libGL.so.1
libgl1-mesa-dri:swrast_dri.so
libxkbcommon-x11-0:libxkbcommon-x11.so.0
libxcb-cursor0:libxcb-cursor.so.0
libxcb-icccm4:libxcb-icccm.so.4
libxcb-image0:libxcb-image.so.0
libxcb-keysyms1:libxcb-keysyms.so.1
libxcb-randr0:libxcb-randr.so.0
libxcb-render-util0:libxcb-render-util.so.0
libxcb-xinerama0:libxcb-xinerama.so.0
libxcb-shape0:libxcb-shape.so.0
libxcb-xkb1:libxcb-xkb.so.1
libdbus-1-3:libdbus-1.so.3
libfontconfig1:libfontconfig.so.1
libpango-1.0-0:libpango-1.0.so.0
libpangoft2-1.0-0:libpangoft2-1.0.so.0
libharfbuzz-subset0:libharfbuzz-subset.so.0
libasound2-dev:libasound.so.2
libatomic1:libatomic.so.1
libgbm1:libgbm.so.1
libgssapi-krb5-2:libgssapi_krb5.so.2
libnss3:libnss3.so
libxcomposite1:libXcomposite.so.1
libxdamage1:libXdamage.so.1
libxi6:libXi.so.6
libxkbfile1:libxkbfile.so.1
libxrandr2:libXrandr.so.2
libxtst6:libXtst.so.6
fonts-dejavu-core:DejaVuSans.ttf
"

libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)

is_there() {
    package=$1 sign=$2
    if command -v dpkg-query >/dev/null 2>&1; then
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && return 0
    fi
    case $sign in
        *_dri.so) find /usr/lib /usr/lib64 -name "$sign" 2>/dev/null | grep -q . ;;
        *.so*) printf '%s' "$libraries" | grep -q -F "$sign" ;;
        *.ttf) find /usr/share/fonts -name '*.ttf' -o -name '*.otf' 2>/dev/null | grep -q . ;;
        *) command -v "$sign" >/dev/null 2>&1 ;;
    esac
}

missing=""
for entry in $wanted; do
    is_there "${entry%%:*}" "${entry#*:}" || missing="$missing ${entry%%:*}"
done
[ -n "$missing" ] || exit 0

printf 'system libraries: missing are%s\n' "$missing" >&2
# shellcheck disable=SC2086  # the names are to be split
if ! scripts/apt-install.sh $missing; then
    printf 'system libraries: not allowed to install them, or it failed; going on without. If Qt does not start:\n' >&2
    printf '    sudo apt-get install%s\n' "$missing" >&2
    printf '(other systems: the packages that hold the same libraries)\n' >&2
fi
