#!/usr/bin/env bash
# Runs the collection with newman against the service, started here on a free port with a database of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=$(mktemp -d)
port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
DATA_DIR="$data" PORT="$port" HOST=127.0.0.1 DATABASE_URL= LLM_PROVIDER=mock MASTER_KEY="$(openssl rand -hex 32)" .venv/bin/python main.py >"$data/log" 2>&1 &
service=$!
trap 'kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; rm -rf "$data"' EXIT
until .venv/bin/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/health/ready')" 2>/dev/null; do
  kill -0 "$service" 2>/dev/null || { cat "$data/log"; exit 1; }
  sleep 0.2
done
npx --yes newman@6.2.1 run docs/postman/llm-saas.postman_collection.json \
  --environment docs/postman/local.postman_environment.json --env-var "base_url=http://127.0.0.1:$port" --color off "$@"
