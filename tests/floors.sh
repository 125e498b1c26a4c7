#!/bin/sh
# Holds the guest driver against the order of its files in guest-driver/Kbuild:
# a file uses what files before it define, and never what a later one does. For
# that there is struct pinhole_upcalls, which the last file fills in.
#
# usage: floors.sh [FOLDER]
set -eu
export LC_ALL=C

folder=${1:-$(dirname "$0")/../guest-driver}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The files of the driver, in order; the mutants stand beside it.
files=$(sed -n '/^ifeq/,$d; s/^pinhole-y *+\{0,1\}:\{0,1\}= *//p' "$folder/Kbuild" |
	tr ' ' '\n' | sed -n 's/\.o$/.c/p')
[ -n "$files" ] || { echo "floors: $folder/Kbuild lists no files" >&2; exit 1; }

fault=0
complain() {
	echo "floors: $*" >&2
	fault=1
}

# Every source has its place.
for path in "$folder"/*.c; do
	file=${path##*/}
	case $file in mutant.c | mutant_seams.c | *.mod.c) continue ;; esac
	echo "$files" | grep -qx "$file" || complain "$file is not in Kbuild"
done

# Of each file, without comments and strings: the words outside of all braces that
# a file defines for others, and all words that it uses.
for file in $files; do
	gcc -fpreprocessed -dD -E -P -x c "$folder/$file" >"$work/$file" 2>/dev/null ||
		complain "gcc does not read $file"
done
for file in $files; do
	awk -v file="$file" '
	{
		gsub(/"([^"\\]|\\.)*"/, "\"\"")
		line = $0
	}
	/^#/ { next }
	# A definition begins in the first column; its head ends at { or = or ;.
	depth == 0 { head = head " " line }
	{
		opened = gsub(/\{/, "{")
		closed = gsub(/\}/, "}")
		if (depth == 0 && line ~ /[{;=]/) {
			if (head !~ /(^| )(static|typedef|extern)( |$)/ && line ~ /[{=]/) {
				sub(/[{=].*/, "", head)
				sub(/\(.*/, "", head)
				sub(/\[.*/, "", head)
				n = split(head, words, /[^A-Za-z0-9_]+/)
				while (n && words[n] == "")
					n--
				if (words[n] ~ /^pinhole_/ && head !~ /(struct|enum|union) [a-z_]* *$/)
					print words[n], file
			}
			head = ""
		}
		depth += opened - closed
		if (depth == 0 && closed)
			head = ""
	}' "$work/$file"
done >"$work/defined"
[ "$(wc -l <"$work/defined")" -gt "$(echo "$files" | wc -w)" ] ||
	complain "found no definitions in $folder"

# Who uses what is defined above it. Tags of structures are names of their own.
for file in $files; do
	sed 's/\(struct\|enum\|union\) [A-Za-z0-9_]*//g; s/"[^"]*"//g' "$work/$file" |
		grep -o '[A-Za-z_][A-Za-z0-9_]*' | sort -u | sed "s/\$/ $file/"
done >"$work/used"
echo "$files" | awk -v defined="$work/defined" -v used="$work/used" '
	{ place[$1] = NR }
	END {
		while ((getline line <defined) > 0) {
			split(line, word, " ")
			home[word[1]] = word[2]
		}
		while ((getline line <used) > 0) {
			split(line, word, " ")
			above = home[word[1]]
			if (above != "" && place[above] > place[word[2]]) {
				printf "floors: %s uses %s of %s, which stands above it\n",
					word[2], word[1], above >"/dev/stderr"
				bad = 1
			}
		}
		exit bad
	}' || fault=1
exit $fault
