#!/bin/sh
# packages.sh run|test|interop|bench|sidekiq|lint: install what the target of
# that name (sidekiq: a peer in bench-peers) needs and is not there, from
# Debian's packages.

set -eu

build="gcc libc6-dev nginx nginx-dev libjansson-dev libhiredis-dev
       libcurl4-openssl-dev libssl-dev"

case ${1:-} in
    run) packages="$build redis-server curl" ;;
    test) packages="$build redis-server curl perl libredis-perl valgrind" ;;
    interop) packages="$build redis-server curl python3-venv" ;;
    bench) packages="$build redis-server perl libredis-perl wrk" ;;
    sidekiq) packages="ruby-sidekiq" ;;
    lint) packages="$build clang libclang-rt-dev" ;;
    *)    echo "usage: $0 run|test|interop|bench|sidekiq|lint" >&2
          exit 2 ;;
esac

fail() {
    echo "packages.sh: $*" >&2
    exit 1
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

test_nginx() {
    perl -MTest::Nginx::Socket -e 1 2>/dev/null
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || {
    echo "packages.sh: no Debian here; needed are:" \
        $packages >&2
    exit 0
}

missing=
for package in $packages; do
    installed "$package" || missing="$missing $package"
done

if [ -z "$missing" ] && { [ "$1" != test ] || test_nginx; }; then
    exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null \
        || fail "missing:$missing; as root: apt-get install$missing"
fi

ours=
scratch=

clean_up() {
    [ -z "$ours" ] || $sudo rm -f "$ours"
    [ -z "$scratch" ] || rm -rf "$scratch"
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM

apt_get() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"
}


# A policy-rc.d that refuses keeps Debian from starting nginx and Redis as
# system services on their usual ports.  One that is there already is left.

policy=/usr/sbin/policy-rc.d

install_packages() {
    echo "packages.sh: apt-get install $*"

    if [ ! -e $policy ]; then
        echo "packages.sh: services are not started now (a temporary" \
             "$policy); Debian enables them for the next boot"
        ours=$policy
        printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
        $sudo chmod 755 $policy
    fi

    apt_get install --no-install-recommends "$@" \
        || fail "apt-get failed; its text is above"
}

echo "packages.sh: apt-get update"
apt_get update || fail "apt-get update failed; its text is above"

# shellcheck disable=SC2086
[ -z "$missing" ] || install_packages $missing


# Test::Nginx is packaged in Debian's unstable only.  This one package is taken
# from there, through a list of its own that leaves the system's alone; what it
# depends on comes from the release that is installed.  The list's signature is
# checked, its age is not: a mirror kept for a stable release may well have an
# old one of unstable.

unstable_test_nginx() {
    repository=$(apt-get indextargets --format '$(REPO_URI)' \
                     'Created-By: Packages' 'Origin: Debian' \
                     'Label: Debian' | head -n 1)
    [ -n "$repository" ] || return 1

    mkdir "$1/lists" "$1/cache"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
         "$repository unstable main" > "$1/sources.list"

    isolated="-o Dir::Etc::sourcelist=$1/sources.list
              -o Dir::Etc::sourceparts=-
              -o Dir::State::lists=$1/lists
              -o Dir::Cache=$1/cache
              -o Acquire::Languages=none
              -o Acquire::Check-Valid-Until=false
              -o APT::Sandbox::User="

    # shellcheck disable=SC2086
    (cd "$1" && apt-get -q $isolated update \
             && apt-get -q $isolated download libtest-nginx-perl) \
        && install_packages "$1"/libtest-nginx-perl_*.deb
}

if [ "$1" = test ] && ! test_nginx; then
    scratch=$(mktemp -d)

    if ! unstable_test_nginx "$scratch"; then
        command -v cpanm >/dev/null \
            || fail "no package of Test::Nginx to be had; install it from" \
                    "CPAN: apt-get install cpanminus && cpanm Test::Nginx"
        $sudo cpanm --notest Test::Nginx
    fi

    test_nginx || fail "Test::Nginx does not load"
fi
