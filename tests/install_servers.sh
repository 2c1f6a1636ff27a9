#!/bin/sh
# Servers and programs that tests run against and that Debian packages bring, and those that are named. Where they cannot be
# installed, the tests that need them are skipped and say so.
set -eu
missing=
for server in pgbouncer redis-server nginx curl "$@"; do
  command -v "$server" >/dev/null || [ -x "/usr/sbin/$server" ] || missing="$missing $server"
done
command -v promtool >/dev/null || missing="$missing prometheus"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing$missing"
  apt-get update -qq
  # The package would start a service of its own; the tests start theirs on a free port.
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "not installed, their tests are skipped:$missing"
fi
