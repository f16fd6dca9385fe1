#!/bin/sh
# Runs schemathesis against a running server: every operation of its OpenAPI document but those named below.
# Usage: scripts/contract.sh BASE_URL API_KEY [EXAMPLES]
# The tool is pinned and lives in target/contract. Exit code 77: it cannot be installed here.
set -eu
BASE=$1
KEY=$2
EXAMPLES=${3:-40}
VERSION=4.32.5
HOME_DIR=$(cd "$(dirname "$0")/.." && pwd)/target/contract
TOOL=$HOME_DIR/bin/schemathesis
if ! [ -x "$TOOL" ] || ! "$HOME_DIR/bin/pip" show schemathesis 2>/dev/null | grep -q "^Version: $VERSION\$"; then
    python3 -m venv "$HOME_DIR" || exit 77
    "$HOME_DIR/bin/pip" -q install "schemathesis==$VERSION" || exit 77
fi
# Its cache of earlier findings stays there too.
cd "$HOME_DIR"
# One worker: the parser of Python 3.11 is not safe between threads, which ends a run now and then.
# Streams never end, and a drain ends everything: each has tests of its own.
exec "$TOOL" run "$BASE/v1/openapi.json" --url "$BASE" -H "X-API-Key: $KEY" \
    --exclude-path-regex '/(stream|listen)$|^/v1/events$|^/v1/admin/drain$' \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
    --phases examples,coverage,fuzzing --max-examples "$EXAMPLES" --seed 1 --workers 1 \
    --request-timeout 20 --suppress-health-check all --no-color
