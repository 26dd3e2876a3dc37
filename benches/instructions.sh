#!/usr/bin/env bash
# Instructions for each message on the hot paths, counted by valgrind: the same on a busy machine as
# on an idle one, so that a change of a few per cent is a change of the code. They say nothing about
# caches, locks and system calls; what those take, the other benchmarks measure.
set -euo pipefail
cd "$(dirname "$0")/.."

passes=${1:-10000}
program=$(cargo bench --quiet --features internals --bench instructions --no-run \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*instructions-[^"]*\)".*/\1/p')

# What docs/performance.md says of a path; nothing if it does not.
documented() {
    sed -n "s/^| $1 | \([0-9]*\) |\$/\1/p" docs/performance.md
}

printf '| path | instructions | documented |\n|---|---|---|\n'
"$program" --list | while read -r name; do
    counted=$(mktemp)
    messages=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --fair-sched=yes \
        --collect-atstart=no --toggle-collect='*measured*' "$program" "$name" "$passes" 2>"$counted")
    instructions=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$counted")
    rm "$counted"
    count=$(((instructions + messages / 2) / messages))
    before=$(documented "$name")
    printf '| %s | %d | %s |\n' "$name" "$count" "${before:+$before ($(((count - before) * 100 / before))%)}"
done
