#!/bin/sh
# run.sh [PART OF A TEST'S NAME]...: the interop suite, against llama_deploy.
#
# Its Python environment is below $BUILD, and made anew when requirements.txt
# has changed.  Without a Python that will do, or without its packages, the exit
# code is 77: left out.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

BUILD=${BUILD:-build}
export BUILD

left_out() {
    echo >&2
    echo "****************************************************************" >&2
    echo "**  THE INTEROP SUITE IS LEFT OUT: $*" >&2
    echo "****************************************************************" >&2
    exit 77
}

python=
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$name" -c '
import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
    then
        python=$name
        break
    fi
done

[ -n "$python" ] || left_out "no Python 3.11 to 3.13 with venv is here"
command -v redis-server >/dev/null || left_out "redis-server is not here"

venv=$BUILD/interop/venv
stamp=$("$python" -c 'import sys; print(sys.version)'; \
        cksum < "$here/requirements.txt")

if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    log=$BUILD/interop/venv.log
    rm -rf "$venv"
    mkdir -p "$BUILD/interop"
    echo "run.sh: installing llama-deploy and what it needs into $venv"

    "$python" -m venv "$venv" > "$log" 2>&1 \
        && "$venv/bin/python" -m pip install --no-input --require-hashes \
               --only-binary :all: -r "$here/requirements.txt" \
               >> "$log" 2>&1 || {
        tail -n 5 "$log" >&2
        grep -q 'THESE PACKAGES DO NOT MATCH THE HASHES' "$log" && exit 1
        left_out "its Python packages cannot be had, see $log"
    }

    printf '%s\n' "$stamp" > "$venv/stamp"
fi

exec "$venv/bin/python" -W ignore -B "$here/main.py" "$@"
