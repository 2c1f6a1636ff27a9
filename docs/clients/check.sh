#!/usr/bin/env bash
# The OpenAPI description as others read it: linted, and made into clients for TypeScript and Python that compile and type-check.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v npx >/dev/null || { echo "skipped: the checks of the OpenAPI description need Node.js"; exit 0; }
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -c 'import json; from main import create_app; print(json.dumps(create_app().openapi()))' >"$work/openapi.json"
cp docs/clients/first_message.ts "$work"
cd "$work"
npx --yes @redocly/cli@2.14.0 lint --extends recommended openapi.json
echo '{"type": "module"}' >package.json
npm install --silent --no-audit --no-fund openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3
npx openapi-typescript openapi.json --default-non-nullable false --output schema.d.ts
npx tsc --strict --noEmit --skipLibCheck --module nodenext --target es2022 --lib es2022,dom first_message.ts
"$root/.venv/bin/python" -m venv python
python/bin/pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1 2>/dev/null
python/bin/openapi-python-client generate --path openapi.json --output-path client
python/bin/python -m compileall -q client
PYTHONPATH=client python/bin/python -c 'import importlib, pathlib
package = next(pathlib.Path("client").glob("*/client.py")).parent.name
for module in pathlib.Path("client", package).rglob("*.py"):
    importlib.import_module(".".join(module.relative_to("client").with_suffix("").parts).removesuffix(".__init__"))
print("clients for TypeScript and Python are made and compile")'
