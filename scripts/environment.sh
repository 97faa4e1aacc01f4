#!/bin/sh
# Give this checkout its environment: scripts/environment.sh VENV EXTRAS (such as: .venv pyqt6,test).
# A virtual environment of a Python from 3.11 on, the package in it (editable) with those extras; uv where it can be had,
# because it takes a minute where pip takes five, and pip where it cannot.
# On Linux, the versions are those of packaging/lock.txt (`make lock` updates them); with LOCK=no, the newest.
set -eu

venv=$1
extras=$2
cd "$(dirname "$0")/.."

recent='import sys; sys.exit(sys.version_info < (3, 11))'

say() {
    printf '%s\n' "environment: $*" >&2
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$recent" 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "expected Python 3.11 or later, found none (tried: ${PYTHON:-python3, python3.11 to python3.14, python})."
    say "Install one (on Debian and Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python"
    exit 1
}

# Debian and Ubuntu ship Python without ensurepip; it comes with python3-venv.
need_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "$1 has no venv module; trying to install the package python$version-venv"
    scripts/apt-install.sh "python$version-venv" || scripts/apt-install.sh python3-venv || true
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    say "$1 cannot make virtual environments. Install python$version-venv (or python3-venv) and run make again."
    exit 1
}

make_venv() {
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$recent" 2>/dev/null; then
        return
    fi
    python=$(find_python)
    need_venv_module "$python"
    if [ -f "$venv/pyvenv.cfg" ]; then
        say "$venv does not work any more (its Python has gone, or is older than 3.11): making it again"
        rm -rf "$venv"
    fi
    say "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
}

# On Linux, the PyTorch of PyPI includes CUDA, which is of use with an NVIDIA GPU only. PyTorch's own index has builds for
# processors. UV_TORCH_BACKEND (such as cpu, cu130 or auto), which uv reads, takes precedence; an installed PyTorch stays.
choose_torch() {
    [ "$(uname -s)" = Linux ] && [ -z "${UV_TORCH_BACKEND:-}" ] || return 0
    if nvidia-smi -L >/dev/null 2>&1 || [ -e /proc/driver/nvidia/version ]; then return 0; fi
    if "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))'; then return 0; fi
    index=https://download.pytorch.org/whl/cpu/torch/
    if timeout 8 "$venv/bin/python" -c "import urllib.request; urllib.request.urlopen('$index', timeout=5)" 2>/dev/null; then
        export UV_TORCH_BACKEND=cpu
        say "no NVIDIA GPU found: PyTorch is installed for the processor only. For CUDA: make env UV_TORCH_BACKEND=auto"
    else
        say "no NVIDIA GPU found, but download.pytorch.org, which has PyTorch for processors only, cannot be reached."
        say "PyTorch is installed from PyPI, which works the same, but includes CUDA: 4 GB more on disk."
    fi
}

install_package() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip --upgrade >/dev/null
    # The certificates of the system: hospitals have proxies with their own. Two names, by the version of uv; pip uses them
    # from 24.2 on.
    export UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true
    certificates=/etc/ssl/certs/ca-certificates.crt
    if [ -f "$certificates" ] && ! "$venv/bin/python" -m pip config list | grep -q '\.cert='; then
        export PIP_CERT="$certificates"
    fi
    choose_torch
    "$venv/bin/python" -m pip install --quiet uv || true
    if [ "$(uname -s)" = Linux ] && [ "${LOCK:-yes}" != no ]; then
        install_editable --constraint packaging/lock.txt && return
        say "the versions of packaging/lock.txt cannot be installed here; trying the newest (as with LOCK=no)"
    fi
    install_editable
}

install_editable() {
    if "$venv/bin/python" -m uv --version >/dev/null 2>&1; then
        "$venv/bin/python" -m uv pip install --python "$venv/bin/python" --editable ".[$extras]" "$@" && return
        say "uv did not manage; pip tries the same, which takes some minutes longer"
    fi
    "$venv/bin/python" -m pip install --editable ".[$extras]" "$@"
}

make_venv
install_package
