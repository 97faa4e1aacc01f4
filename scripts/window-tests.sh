#!/bin/sh
# Run the tests with windows under each Qt that is named, all at once, each process on a display of its own.
# They wait more than they compute, so three of them beside others keep two cores busy. PYTHON is the interpreter; tests are "$TESTS".
# Under the first Qt all run, in two parts; under a further one those that are marked both_qts.
set -eu
cd "$(dirname "$0")/.."
parts=2
logs=build/window-tests
rm -rf "$logs" && mkdir -p "$logs"

number=100
waiting=
folders=
marked=
for qt in "$@"; do
    for part in $(seq "$parts"); do
        log=$logs/$qt-$part.log
        number=$((number + 20)) # far apart, for two that look for a free display at once may find the same
        files=$(mktemp -d) # of its own: several that clean up one folder at once fall over each other
        # shellcheck disable=SC2086
        env -u DISPLAY -u WAYLAND_DISPLAY -u QT_QPA_PLATFORM SERVER_NUMBER="$number" \
            PYTEST_DEBUG_TEMPROOT="$files" QT_API="$qt" PYTEST_QT_API="$qt" NAPARI_MELANOMA_TEST_PART="$part/$parts" \
            scripts/with-display.sh "$PYTHON" -m pytest $TESTS ${marked:+-m "$marked"} >"$log" 2>&1 &
        waiting="$waiting $!:$log"
        folders="$folders $files"
    done
    marked=both_qts
    parts=1
done

failed=0
for one in $waiting; do
    if ! wait "${one%%:*}"; then
        failed=1
        printf '\n== failed: %s\n' "${one#*:}"
    fi
    cat "${one#*:}"
done
# shellcheck disable=SC2086
rm -rf $folders
exit "$failed"
