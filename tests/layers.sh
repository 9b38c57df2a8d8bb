#!/bin/bash
# Layers point down only, and pure layers touch nothing outside: checked, not hoped for.
#
#   tests/layers.sh [BUILD]               checks the tree against BUILD/layers.txt (written by CMake from the weft_layer() lines)
#   tests/layers.sh --self-test [BUILD]   plants violations in a copy and expects each to be found
#
# For each layer: an include goes to the layer's own folder or to a layer that its USES line reaches, and internal.h stays in its
# folder. For each PURE layer, in its archive: no symbol from outside but those of the list below, and no variable that changes.
# One line a check, what is wrong below it, "N passed, N failed" at the end.
set -u -o pipefail
export LC_ALL=C
self=$(readlink -f "$0")
root=${WEFT_ROOT:-$(dirname "$(dirname "$self")")}

# What a pure layer may take from outside: computation on what it was given, and what the compiler adds.
allowed='
	mem(cpy|move|set|cmp|chr|rchr|mem|pcpy) explicit_bzero
	str(n?len|n?cpy|n?cat|n?cmp|n?casecmp|chr|rchr|chrnul|str|spn|cspn|pbrk) stp?cpy
	strto(l|ll|ul|ull|umax|imax|d) __errno_location
	v?snprintf qsort bsearch abs labs
	inet_(pton|ntop) hton[sl] ntoh[sl]
	log2? log1p exp2? sqrt pow ceil floor round l?lround fabs fmod fmin fmax
	__assert_fail abort __stack_chk_fail
	__(asan|ubsan|lsan|tsan|sanitizer)_.* _GLOBAL_OFFSET_TABLE_ __u?(div|mod|mul)[a-z]*[0-9]
	sodium_(memzero|memcmp|compare|is_zero|increment|add|sub|pad|unpad|bin2hex|hex2bin|bin2base64|base642bin)
	crypto_[a-z0-9_]+
'
# Of libsodium, those that take from the system what they are not given: crypto_sign_seed_keypair is given it.
denied='crypto_[a-z0-9_]*(_keygen|[^d]_keypair|_seal|_str|_init_push|_str_alg)'
# Memory, and the per-thread counters by which tests make it fail: base/mem.c alone.
memory='(malloc|calloc|realloc|free|__tls_get_addr)'

layer_names() { awk '{ print $1 }' "$layers"; }
field() { awk -v l="$1" -v f="$2" '$1 == l { print $f }' "$layers"; }

# The layers that LAYER's USES lines reach, itself included.
reach() {
	local seen=" $1 " queue=$1 l u
	while [ -n "$queue" ]; do
		l=${queue%% *}
		queue=${queue#"$l"}
		queue=${queue# }
		for u in $(field "$l" 4 | tr ',' ' '); do
			case $u in -) continue ;; esac
			case $seen in *" $u "*) continue ;; esac
			seen="$seen$u "
			queue="$queue${queue:+ }$u"
		done
	done
	echo "$seen"
}

# The pairs of layers neither of which reaches the other.
siblings() {
	local a b
	for a in $(layer_names); do
		for b in $(layer_names); do
			[[ "$(reach "$a")" == *" $b "* || "$(reach "$b")" == *" $a "* ]] || echo "$a $b"
		done
	done
}

# The layer whose folder holds PATH: the longest that fits, so that router/core/x is core's and not router's.
layer_of() {
	awk -v p="$1" 'index(p, $2 "/") == 1 && length($2) > best { best = length($2); name = $1 } END { print name }' "$layers"
}

check_includes() { # LAYER: prints violations
	local dir ok file at target owner
	dir=$(field "$1" 2)
	ok=$(reach "$1")
	cd "$root" || return
	find "$dir" -name '*.[ch]' | sort | while read -r file; do
		[ "$(layer_of "$file")" = "$1" ] || continue
		sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$file" | while read -r at; do
			case $at in
			*..*) echo "$file includes \"$at\": write paths from the root"; continue ;;
			*/*) target=$at ;;
			*) target=$(dirname "$file")/$at ;;
			esac
			[ -e "$target" ] || { echo "$file includes \"$at\", which is no file of the tree"; continue; }
			owner=$(layer_of "$target")
			case $ok in
			*" ${owner:-none} "*) ;;
			*) echo "$file includes \"$at\": layer $1 does not use ${owner:-anything outside the layers}" ;;
			esac
			case $target in
			internal.h | */internal.h)
				[ "$(dirname "$target")" = "$(dirname "$file")" ] || echo "$file includes \"$at\": internal.h is for its own folder only" ;;
			esac
		done
	done
}

check_symbols() { # LAYER: prints violations
	local archive l known pattern
	archive=$(field "$1" 5)
	[ -e "$archive" ] || { echo "$archive is not built"; return; }
	known=$(for l in $(reach "$1"); do nm -g --defined-only "$(field "$l" 5)" 2>/dev/null; done | awk 'NF == 3 { print $3 }' | sort -u)
	pattern="^($(tr -s '[:space:]' '|' <<<"$allowed" | sed 's/^|//; s/|*$//'))\$"
	nm -A -u "$archive" | awk '{ split($1, part, ":"); print part[2], $NF }' | sort -u |
		awk -v pattern="$pattern" -v denied="^$denied\$" -v memory="^$memory\$" -v layer="$1" -v known="$known" '
			BEGIN { n = split(known, k, "\n"); for (i = 1; i <= n; i++) have[k[i]] = 1 }
			{
				plain = $2
				if (plain ~ /^__.*_chk$/ && plain !~ /stack_chk/) # what -D_FORTIFY_SOURCE makes of it
					plain = substr(plain, 3, length(plain) - 6)
				if ($2 in have || (plain ~ pattern && plain !~ denied))
					next
				if (layer == "base" && $1 == "mem.c.o" && plain ~ memory)
					next
				print $1 " takes " $2 " from outside"
			}'
}

check_variables() { # LAYER: prints variables that can change
	local archive
	archive=$(field "$1" 5)
	[ -e "$archive" ] || { echo "$archive is not built"; return; }
	objdump -t "$archive" | awk -v layer="$1" '
		/:     file format/ { object = $1; sub(/:$/, "", object) }
		/ d  / || / \.data\.rel\.ro/ || (layer == "base" && object == "mem.c.o") { next }
		/ (\.data|\.bss|\.tdata|\.tbss)[^ \t]*\t/ || /\*COM\*/ { print object " has the variable " $NF }'
}

passed=0 failed=0
report() { # WHAT VIOLATIONS
	if [ -z "$2" ]; then
		passed=$((passed + 1))
		echo "ok      $1"
	else
		failed=$((failed + 1))
		echo "not ok  $1"
		echo "        ${2//$'\n'/$'\n'        }"
	fi
}

check_all() {
	local l
	for l in $(layer_names); do
		report "$l: includes point down" "$(check_includes "$l")"
		[ "$(field "$l" 3)" = PURE ] || continue
		report "$l: takes nothing from the system" "$(check_symbols "$l")"
		report "$l: has no variable that changes" "$(check_variables "$l")"
	done
}

# A copy of sources and archives, so that the true tree is never touched. Each plant is found, and was not there before it.
self_test() {
	local build=$1 l dir rest other first second cc=${CC:-cc}
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	mkdir "$tmp/lib"
	while read -r l dir rest; do
		mkdir -p "$tmp/$dir"
		cp "$root/$dir"/*.[ch] "$tmp/$dir/"
		cp "${rest##* }" "$tmp/lib/" || { echo "self-test: layer $l is not built"; exit 1; }
		echo "$l $dir ${rest% *} $tmp/lib/$(basename "${rest##* }")"
	done <"$build/layers.txt" >"$tmp/layers.txt"
	root=$tmp layers=$tmp/layers.txt

	find_in() { # WHAT LAYER CHECK WORDS: the check's output names the planted thing
		local out
		out=$($3 "$2")
		case $out in *"$4"*) report "finds $1" '' ;; *) report "finds $1" "${out:-nothing was found}" ;; esac
	}
	absent() { # LAYER CHECK WORDS
		case $($2 "$1") in *"$3"*) report "clean copy of $1" "'$3' was found before it was planted" ;; *) ;; esac
	}
	plant_include() { # WHAT LAYER PATH WORDS
		absent "$2" check_includes "$4"
		printf '#include "%s"\n' "$3" >"$root/$(field "$2" 2)/planted.c"
		find_in "$1" "$2" check_includes "$4"
		rm "$root/$(field "$2" 2)/planted.c"
	}
	plant_code() { # WHAT LAYER CHECK WORDS CODE
		local archive
		archive=$(field "$2" 5)
		absent "$2" "$3" "$4"
		cp "$archive" "$tmp/kept.a"
		printf '%s\n' "$5" >"$tmp/planted.c"
		"$cc" -w -c -o "$tmp/planted.c.o" "$tmp/planted.c" && ar rs "$archive" "$tmp/planted.c.o" 2>/dev/null
		find_in "$1" "$2" "$3" "$4"
		mv "$tmp/kept.a" "$archive"
	}

	first=$(layer_names | head -n 1)
	second=$(layer_names | tail -n 1)
	: >"$root/$(field "$second" 2)/upper.h"
	: >"$root/$(field "$second" 2)/internal.h"
	: >"$root/$(field "$first" 2)/internal.h"
	plant_include "an include that points up" "$first" "$(field "$second" 2)/upper.h" "layer $first does not use $second"
	siblings >"$tmp/siblings"
	while read -r l other; do
		: >"$root/$(field "$other" 2)/beside.h"
		plant_include "an include that points sideways" "$l" "$(field "$other" 2)/beside.h" "layer $l does not use $other"
	done <"$tmp/siblings"
	plant_include "another folder's internal.h" "$second" "$(field "$first" 2)/internal.h" "internal.h is for its own folder"
	plant_include "a path that climbs" "$first" "../x.h" "write paths from the root"
	for l in $(layer_names); do
		[ "$(field "$l" 3)" = PURE ] || continue
		plant_code "getenv in $l" "$l" check_symbols "takes getenv" \
			'#include <stdlib.h>
			char *planted(void) { return getenv("X"); }'
		plant_code "time in $l" "$l" check_symbols "takes time" \
			'#include <time.h>
			time_t planted(void) { return time(NULL); }'
	done
	for call in socket open read write clock_gettime malloc pthread_create randombytes_buf printf crypto_box_keypair; do
		plant_code "$call in $first" "$first" check_symbols "takes $call from" "int $call(); int planted(void) { return $call(); }"
	done
	plant_code "a global variable" "$first" check_variables "variable planted" 'int planted = 1;'
	plant_code "a static local that changes" "$first" check_variables "planted_count" \
		'int planted(void) { static int planted_count; return ++planted_count; }'
	plant_code "a variable of a thread" "$first" check_variables "variable planted" '_Thread_local int planted;'
	report "accepts a constant table of pointers" "$(
		printf 'const char *const planted[] = { "a" };\n' >"$tmp/planted.c"
		"$cc" -w -fPIC -c -o "$tmp/planted.c.o" "$tmp/planted.c" && ar rs "$(field "$first" 5)" "$tmp/planted.c.o" 2>/dev/null
		check_variables "$first" | grep planted
	)"
}

if [ "${1-}" = --self-test ]; then
	shift
	self_test "$(readlink -f "${1:-$root/build}")"
else
	layers=$(readlink -f "${1:-$root/build}")/layers.txt
	[ -s "$layers" ] || { echo "layers: $layers is missing or empty: configure the build first"; exit 1; }
	check_all
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
