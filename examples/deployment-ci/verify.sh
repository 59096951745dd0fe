#!/bin/sh
# One job for any CI: verifies the deployment's settings on layouts that tell the policies apart. Exit codes: 0 as expected or
# known, 1 a divergence (also a known one that is gone), 2 bad input, 3 no answer. Run it from the root of a checkout of
# the harness; KNOWN is the known file of the deployment, by default the one beside this.
set -u
here=$(dirname "$0")
reports=${REPORTS:-reports/deployment}
known=${KNOWN:-$here/known.toml}
worst=0

verify() {
    name=$1
    shift
    harness run "$@" --runner v2 --backend "${BACKEND:-triton}" --dtype "${DTYPE:-float32}" \
        --known "$known" --html "$reports/$name"
    code=$?
    [ "$code" -gt "$worst" ] && worst=$code
}

verify short-image --layout "t3 i5 t4"
verify long-image --layout "t3 i12 t4"
# With your own checkpoint: verify picture --model /models/gemma-4-31B-it --image cat.jpg --text "<|image|> What is this?"
# A server that runs already (docs/attach.md): harness attach "$URL" --token-file "$TOKEN_FILE" --catalogue --known "$known"

exit "$worst"
