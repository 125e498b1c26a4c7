#!/bin/sh
# Installs what building Pinhole and its guests needs, and the packages that are
# named, and nothing that is already there. Without anything to install it needs
# neither root nor network.
set -eu

fail() {
	echo "pinhole setup: $*" >&2
	exit 2
}

as_root() {
	[ "$(id -u)" = 0 ]
}

# Whether the version $1 comes before $2.
is_older() {
	[ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# The version in `rustc 1.85.1 (4eb161250 2025-03-15)`; none where it does not run.
version_of() {
	"$1" --version 2>/dev/null | sed -n '1s/^[a-z]* \([0-9][^ ]*\).*/\1/p'
}

# The oldest Rust that builds Pinhole, as Cargo.toml says.
minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")

# Prints what is wrong with Rust, if anything is.
complaint_of_rust() {
	for tool in cargo rustc; do
		command -v "$tool" >/dev/null || { echo "Rust is missing"; return; }
		version=$(version_of "$tool")
		[ -n "$version" ] || { echo "$tool does not say its version"; return; }
		! is_older "$version" "$minimum" || { echo "Rust $version is too old"; return; }
	done
}

# Runs apt-get, silently unless it fails.
apt() {
	log=$(mktemp)
	status=0
	DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$log" 2>&1 || {
		status=$?
		tail -n 15 "$log" >&2
	}
	rm -f "$log"
	return "$status"
}

install_packages() {
	echo "pinhole setup: installing $*"
	{ apt -q update && apt -qy install --no-install-recommends "$@"; } ||
		fail "apt-get could not install $*; is there a network, and does apt know a mirror?"
}

# Prints the suite, among those that apt knows, whose Rust will do.
suite_of_rust() {
	apt-cache madison rustc | while IFS=' |' read -r _ version _ suite _; do
		is_older "$version" "$minimum" || { echo "${suite%%/*}"; break; }
	done
}

# Prints "SUITE ADDRESS" of the Debian archive that apt takes this system from.
debian() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CODENAME) $(REPO_URI)' \
		'Created-By: Packages' | sed -n 's/^Debian|Debian|main|//p' | head -n 1
}

# Gets a Rust that will do, or says in one sentence how it is got.
get_rust() {
	wrong="$1, and Pinhole takes $minimum or newer"
	elsewhere="$wrong: get it from https://rustup.rs, then try again"
	! command -v rustup >/dev/null || fail "$wrong; run: rustup update stable"
	command -v apt-cache >/dev/null && command -v dpkg-query >/dev/null || fail "$elsewhere"
	# One that is not Debian's would be found before Debian's.
	for tool in cargo rustc; do
		found=$(command -v "$tool") || continue
		dpkg-query -S "$(readlink -f "$found")" >/dev/null 2>&1 || fail "$elsewhere"
	done

	# A system that was just installed knows no packages yet.
	! as_root || apt-get -q update >/dev/null 2>&1 || true
	suite=$(suite_of_rust)
	if [ -n "$suite" ]; then
		as_root || fail "$wrong; run: sudo apt-get install -t $suite rustc cargo"
		install_packages -t "$suite" rustc cargo
		return
	fi
	read -r suite mirror <<-END
		$(debian)
	END
	# Of backports, the ones that have it.
	case $suite in
	trixie) ;;
	*) fail "$elsewhere" ;;
	esac
	fail "$wrong, which $suite-backports has; run as root:
  echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite-backports main' >/etc/apt/sources.list.d/$suite-backports.list
  apt-get update && apt-get install -t $suite-backports rustc cargo"
}

complaint=$(complaint_of_rust)
[ -z "$complaint" ] || get_rust "$complaint"

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
	fail "the guests are built with Debian's tools: run this on Debian or a distribution made from it"

missing=
for package in gcc libc6-dev make mmdebstrap debian-archive-keyring \
	e2fsprogs xfsprogs btrfs-progs "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root ||
	fail "these packages are missing and installing them needs root; run: sudo apt-get install$missing"
# shellcheck disable=SC2086 # a list of words
install_packages $missing
