#!/bin/bash
# Checks tests/model/reclaim.pml with spin: as it is, without trust in clocks, and with each of its mutations, which spin has to find.
# Last line "N passed, N failed".
set -u -o pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${WEFT_MODEL:-$root/build/model}
passed=0 failed=0
mkdir -p "$work"

# NAME EXPECTED (holds, found) FLAGS
check() {
	local name=$1 expected=$2 dir=$work/$1 errors
	shift 2
	mkdir -p "$dir"
	if ! (cd "$dir" && spin "$@" -a "$root/tests/model/reclaim.pml" >spin.log 2>&1 &&
		${CC:-cc} -O2 -w -DSAFETY -DNOFAIR -DMEMLIM=3000 -o pan pan.c >cc.log 2>&1 && ./pan -E -n -m20000 >pan.log 2>&1); then
		echo "not ok  $name: spin does not run, see $dir"
		failed=$((failed + 1))
		return
	fi
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$dir/pan.log")
	if grep -q 'max search depth too small\|out of memory' "$dir/pan.log"; then
		echo "not ok  $name: not all states were looked at, see $dir/pan.log"
		failed=$((failed + 1))
	elif { [ "$expected" = holds ] && [ "$errors" = 0 ]; } || { [ "$expected" = found ] && [ "$errors" != 0 ]; }; then
		echo "ok      $name: $expected, $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$dir/pan.log") states"
		passed=$((passed + 1))
	else
		echo "not ok  $name: should have been $expected, see $dir/pan.log and 'spin -t -p' there"
		failed=$((failed + 1))
	fi
}

if ! command -v spin >/dev/null; then
	echo "skipped model: no spin here (package spin)"
	echo "0 passed, 0 failed"
	exit 0
fi
check clocks holds
check no-clocks holds -DNO_CLOCKS
check lease-after-end found -DLEASE_AFTER_END
check no-margin found -DNO_MARGIN
check ack-not-stored found -DNO_CLOCKS -DACK_NOT_STORED
check give-from-spare found -DNO_CLOCKS -DGIVE_FROM_SPARE
check sent-does-not-count found -DNO_CLOCKS -DSENT_DOES_NOT_COUNT
check no-freeze found -DNO_CLOCKS -DNO_FREEZE
echo "$passed passed, $failed failed"
[ $failed = 0 ]
