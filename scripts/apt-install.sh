#!/bin/sh
# Install Debian or Ubuntu packages, but only where that needs no password: as root, or with passwordless sudo.
# Exit code 1 where it is not allowed or does not work; the caller says what to do by hand.
set -eu

[ -z "${NAPARI_MELANOMA_NO_APT:-}" ] || exit 1
command -v apt-get >/dev/null 2>&1 || exit 1

if [ "$(id -u)" -eq 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    exit 1
fi

install() {
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" >&2
}

install "$@" 2>/dev/null || { $as_root apt-get update --quiet >&2 && install "$@"; }
