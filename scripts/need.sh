#!/bin/sh
# Makes sure that programs are there, installing what is missing with the system's package manager.
#
#   scripts/need.sh gcc redis-server
#
# Known: gcc curl git make pip redis-server wrk h2load dockerd debootstrap ip skopeo. Nothing is asked; what cannot be installed is named.
set -eu

# have NAME: is it there?
have() {
	case $1 in
	pip) python3 -m pip --version >/dev/null 2>&1 || python3 -c 'import venv, ensurepip' 2>/dev/null ;;
	gcc) command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# package NAME: what the package manager calls it
package() {
	case $manager:$1 in
	apt-get:gcc) echo gcc libc6-dev ;;
	apt-get:pip) echo python3-pip python3-venv ;;
	apt-get:h2load) echo nghttp2-client ;;
	apt-get:dockerd) echo docker.io iptables ;;
	apt-get:ip) echo iproute2 ;;
	dnf:gcc) echo gcc glibc-devel ;;
	dnf:pip) echo python3-pip ;;
	dnf:redis-server) echo redis ;;
	dnf:h2load) echo nghttp2 ;;
	apk:gcc) echo gcc musl-dev ;;
	apk:pip) echo py3-pip ;;
	apk:redis-server) echo redis ;;
	apk:h2load) echo nghttp2 ;;
	brew:pip) echo python3 ;;
	brew:redis-server) echo redis ;;
	brew:h2load) echo nghttp2 ;;
	*) echo "$1" ;;
	esac
}

install() {
	case $manager in
	apt-get)
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
			{
				$as_root apt-get update -q &&
					$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
			}
		;;
	dnf) $as_root dnf install -y -q "$@" ;;
	apk) $as_root apk add --quiet "$@" ;;
	brew) brew install --quiet "$@" ;;
	esac
}

missing=
for name in "$@"; do
	have "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

manager=
for candidate in apt-get dnf apk brew; do
	if command -v $candidate >/dev/null 2>&1; then
		manager=$candidate
		break
	fi
done
as_root=
if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then
	as_root="sudo -n"
	if ! sudo -n true 2>/dev/null; then
		manager=
	fi
fi
if [ -z "$manager" ]; then
	echo "need: please install:$missing (no package manager that may be used without a password was found)" >&2
	exit 1
fi

packages=
for name in $missing; do
	packages="$packages $(package "$name")"
done
echo "need: installing$packages with $manager" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # package names hold no blanks
install $packages </dev/null >"$log" 2>&1 || {
	cat "$log" >&2
	exit 1
}

for name in $missing; do
	have "$name" || {
		echo "need: $name is still missing after installing$packages" >&2
		exit 1
	}
done
