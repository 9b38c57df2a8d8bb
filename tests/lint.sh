#!/bin/bash
# What can be said about the tree without running it. One line for each finding or file in fault; "N passed, N failed" at the end.
#
#   tests/lint.sh [lint]   formatting, clang-tidy, shell and Python scripts, documents
#   tests/lint.sh format   reformats all C files
#   tests/lint.sh docs     documents alone: links, man pages
#
# clang-tidy needs the compile commands of the clang build. A file it found clean is not looked at again until the file, a header
# or the settings change (build-clang/tidy/).
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
JOBS=${WEFT_JOBS:-$(nproc)}
BUILD=build-clang

files() { git ls-files -- "$@" | while read -r f; do [ ! -e "$f" ] || echo "$f"; done; }

passed=0 failed=0
# check WHAT COMMAND…: passes when the command ends well; what it says is shown when it does not.
check() {
	local what=$1 out
	shift
	if out=$("$@" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok  %s\n%s\n' "$what" "$out"
	fi
}

formatted() { clang-format --style=file "$1" | diff -u --label "$1" --label "as ./dev format would have it" "$1" -; }

tidy_one() { # FILE KEY: prints "ok FILE", or what is wrong and "not ok FILE"
	local stamp=$BUILD/tidy/${1//\//_} out
	[ "$(cat "$stamp" 2>/dev/null)" = "$2" ] && { echo "ok $1"; return; }
	if out=$(clang-tidy --quiet -p "$BUILD" "$1" 2>/dev/null); then
		echo "$2" >"$stamp"
		echo "ok $1"
	else
		printf '%s\nnot ok %s\n' "$out" "$1"
	fi
}

tidy() {
	local common out
	cmake --preset clang >/dev/null || { echo "not ok  the clang preset does not configure"; failed=$((failed + 1)); return; }
	mkdir -p "$BUILD/tidy"
	common=$({ cat .clang-tidy; files '*.h' | xargs cat; } | sha256sum)
	export BUILD
	export -f tidy_one
	out=$(files '*.c' ':!tests/unit' | xargs sha256sum | while read -r sum f; do
		# shellcheck disable=SC2016  # expanded by the inner shell
		printf '%s\0%s\0' "$f" "$sum.${common%% *}"
	done | xargs -0 -r -n 2 -P "$JOBS" bash -c 'tidy_one "$@"' tidy)
	grep -v '^ok ' <<<"$out" || true
	passed=$((passed + $(grep -c '^ok ' <<<"$out")))
	failed=$((failed + $(grep -c '^not ok ' <<<"$out")))
}

# Relative links of a Markdown file lead to files that are there.
links() {
	local rc=0 to
	while read -r to; do
		[ -e "$(dirname "$1")/${to%%#*}" ] || { echo "$1: link to $to leads nowhere"; rc=1; }
	done < <(grep -oE '\]\([^)[:space:]]+\)' "$1" | sed 's/^](//; s/)$//' | grep -vE '^(https?:|mailto:|#)')
	return $rc
}

docs() {
	local f
	for f in $(files '*.md'); do check "links of $f" links "$f"; done
	for f in $(files 'docs/man/*.[1-9]'); do check "man page $f" mandoc -T lint -W warning "$f"; done
}

case ${1-lint} in
format)
	files '*.c' '*.h' | xargs -r clang-format --style=file -i
	exit
	;;
docs) docs ;;
lint)
	for f in $(files '*.c' '*.h'); do check "format of $f" formatted "$f"; done
	tidy
	for f in dev .ci/run $(files '*.sh'); do check "shellcheck $f" shellcheck -x "$f"; done
	for f in $(files 'tests/e2e/*.py') tests/e2e/run; do
		check "syntax of $f" /usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f"
	done
	docs
	;;
*) echo "usage: tests/lint.sh [lint|format|docs]" >&2; exit 2 ;;
esac
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
