#!/bin/sh
# Installs what building Pinhole and its guests needs, and the packages that are
# named, and nothing that is already there. Without anything to install it needs
# neither root nor network.
set -eu

fail() {
	echo "pinhole setup: $*" >&2
	exit 2
}

command -v cargo >/dev/null ||
	fail "Rust is missing: install rustc and cargo 1.88 or newer (https://rustup.rs), then try again"

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
	fail "the guests are built with Debian's tools: run this on Debian or a distribution made from it"

missing=
for package in gcc libc6-dev make mmdebstrap debian-archive-keyring e2fsprogs "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

[ "$(id -u)" = 0 ] ||
	fail "these packages are missing and installing them needs root; run: sudo apt-get install$missing"

echo "pinhole setup: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
{ apt-get -q update && apt-get -qy install --no-install-recommends $missing; } >"$log" 2>&1 || {
	tail -n 15 "$log" >&2
	fail "apt-get could not install$missing; is there a network, and does apt know a mirror?"
}
