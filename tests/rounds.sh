#!/bin/sh
# The tests, several rounds in a row; stops at the first red one, and gives the time of each.
# tests/rounds.sh ROUNDS LOOPS [pytest's arguments]: beside so many endless loops, which keep as many cores busy.
set -u
rounds=$1 loops=$2
shift 2
bound=3600 # of a round, in seconds: nothing of this outlives it
hogs=

stop() {
    for hog in $hogs; do kill "$hog" 2>/dev/null; done
    hogs=
}
trap stop EXIT
trap 'exit 130' INT TERM

for round in $(seq "$rounds"); do
    while [ "$(echo $hogs | wc -w)" -lt "$loops" ]; do
        timeout "$bound" sh -c 'while :; do :; done' &
        hogs="$hogs $!"
    done
    began=$(date +%s)
    timeout "$bound" .venv/bin/python -m pytest "$@"
    status=$?
    stop
    echo "round $round of $rounds beside $loops busy loops: $(($(date +%s) - began)) s, exit status $status"
    [ "$status" -eq 0 ] || exit "$status"
done
