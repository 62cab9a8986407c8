#!/bin/sh
# install.sh celery|node|sidekiq|llama_deploy: what that peer needs, below
# $BUILD where it can be.  Fails where it cannot be had.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."

BUILD=${BUILD:-build}
export BUILD
dir=$BUILD/bench

mkdir -p "$dir"

# Whether the files are those that were installed from; else note them.

same() {
    cat "$@" | cksum | cmp -s - "$stamp"
}

noted() {
    cat "$@" | cksum > "$stamp"
}

case ${1:-} in

celery)
    stamp=$dir/venv/stamp
    same "$here/requirements.txt" && exit 0
    rm -rf "$dir/venv"
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/python" -m pip install --no-input --only-binary :all: \
        -r "$here/requirements.txt"
    noted "$here/requirements.txt"
    ;;

node)
    stamp=$dir/node_modules/stamp
    same "$here/package.json" "$here/package-lock.json" && exit 0
    cp "$here/package.json" "$here/package-lock.json" "$dir"
    (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund)
    noted "$here/package.json" "$here/package-lock.json"
    ;;

sidekiq)
    conf/packages.sh sidekiq
    ruby -e 'require "sidekiq"'
    ;;

llama_deploy)
    # The interop suite installs it before it looks for tests of that name.
    sh t/interop/run.sh 'no test has this name' || true
    "$dir/../interop/venv/bin/python" -c 'import llama_deploy'
    ;;

*)
    echo "usage: $0 celery|node|sidekiq|llama_deploy" >&2
    exit 2
    ;;

esac
