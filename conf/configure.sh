#!/bin/bash
# configure.sh MODULE BUILD [NGINX_SRC]: configure nginx to build the module
# in the folder MODULE, with everything that is written going into BUILD:
# BUILD/tree is a view of the source tree by links, for nginx' own configure
# leaves files where it runs, and BUILD/objs has the Makefile and the objects.
#
# Without NGINX_SRC the tree is that of Debian's nginx-dev.  From the
# environment: NGINX, CC, CFLAGS, LDFLAGS.

set -euo pipefail

module=$(realpath "$1")
mkdir -p "$2/tree"
build=$(realpath "$2")
source=${3:-/usr/share/nginx/src}

fail() {
    echo "configure.sh: $*" >&2
    exit 1
}

flags=()

if [ $# -lt 3 ]; then
    [ -f "$source/conf_flags" ] \
        || fail "nginx' headers are missing: apt-get install nginx-dev" \
                "(or make NGINX_SRC=DIR for an nginx source tree)"

    . "$source/conf_flags"
    flags=("${NGX_CONF_FLAGS[@]}")

else
    source=$(realpath "$source")

    [ -f "$source/src/core/nginx.h" ] \
        || fail "$source is no nginx source tree"

    want=$(sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' \
               "$source/src/core/nginx.h")

    if have=$("$NGINX" -V 2>&1); then
        [[ $have == *"nginx/$want"* ]] \
            || echo "configure.sh: note: $source is nginx $want, but $NGINX" \
                    "is another version and will refuse the module" >&2

        # The flags of that nginx, quotes taken off by xargs.  What brings
        # more modules or its own libraries changes nothing for this module.

        while IFS= read -r flag; do
            case $flag in
                --add-*|*=dynamic|--with-cc=*|--builddir=*) ;;
                --with-perl*|--with-*perl_module) ;;
                --with-openssl*|--with-pcre=*|--with-zlib*) ;;
                --with-cc-opt=*) CFLAGS="${flag#*=} $CFLAGS" ;;
                --with-ld-opt=*) LDFLAGS="${flag#*=} $LDFLAGS" ;;
                --*) flags+=("$flag") ;;
            esac
        done < <(sed -n 's/^configure arguments: //p' <<< "$have" | xargs -n 1)
    fi

    flags+=(--with-compat --with-threads)
fi

for entry in auto configure conf contrib man src; do
    rm -f "$build/tree/$entry"
    [ -e "$source/$entry" ] && ln -s "$source/$entry" "$build/tree/$entry"
done

cd "$build/tree"

configure=./configure
[ -f $configure ] || configure=auto/configure     # as in nginx' repository

# A leak in a feature test would look like a missing library.  With CFLAGS in
# the environment nginx leaves out its own, -Werror among them.

env -u CC -u CFLAGS -u LDFLAGS ASAN_OPTIONS=detect_leaks=0 \
    "$configure" ${flags[@]+"${flags[@]}"} \
    --with-cc="$CC" --with-cc-opt="$CFLAGS" --with-ld-opt="$LDFLAGS" \
    --builddir="$build/objs" --add-dynamic-module="$module" \
    > "$build/configure.log" 2>&1 \
    || {
        grep -h 'error:' "$build/configure.log" >&2 \
            || tail -n 20 "$build/configure.log" >&2
        rm -f "$build/objs/Makefile"
        fail "configure failed; see $build/configure.log and" \
             "$build/objs/autoconf.err"
    }
