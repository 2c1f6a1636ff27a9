#!/usr/bin/env bash
# The chart as a cluster would get it: rendered with each of examples/, held to the schemas of the oldest and the newest Kubernetes and
# to policies. What the objects mean is for tests/deploy.
set -euo pipefail
cd "$(dirname "$0")"
tools=../../.venv-helm/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for values in examples/*.yaml; do
  "$tools/python" render.py "$values" >"$work/$(basename "$values")" 2> >(grep -v 'found symbolic link' >&2)
done
for version in 1.30.0 1.37.0; do
  "$tools/kubernetes-validate" --strict --quiet --no-warn -k "$version" "$work"/*.yaml
done
"$tools/checkov" --directory "$work" --config-file checkov.yaml
