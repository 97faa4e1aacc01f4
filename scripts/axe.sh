#!/bin/sh
# Fetch axe-core (MPL-2.0), which checks in the tests whether everyone can read the reports: scripts/axe.sh FILE.
# Only tests need it, so it is neither part of the repository nor of the package. Without npm or network they are skipped.
set -eu

version=4.14.1
digest=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
out=$1

say() {
    printf 'axe-core: %s; the tests of reports in a browser will be skipped\n' "$*" >&2
    exit 0
}

command -v npm >/dev/null 2>&1 || say "npm was not found"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm pack --silent --fetch-retries=1 --fetch-timeout=30000 "axe-core@$version" >/dev/null 2>&1) || say "npm could not fetch version $version"
found=$({ sha256sum "$folder"/*.tgz 2>/dev/null || shasum -a 256 "$folder"/*.tgz; } | cut -d ' ' -f 1)
if [ "$found" != "$digest" ]; then
    printf 'axe-core: expected a file with the SHA-256 %s, found %s. It was not used.\n' "$digest" "$found" >&2
    exit 1
fi
tar -xzf "$folder"/*.tgz -C "$folder" package/axe.min.js
mkdir -p "$(dirname "$out")"
mv "$folder/package/axe.min.js" "$out"
