#!/bin/bash
# Can the simulator find what it is there for? Plants one wrong behaviour at a time into a copy of the tree, builds weft-sim from it, and expects it
# to be found by what is named, while the sound tree passes the same seed. A plant whose place in the code is not there any more fails, too.
#
#   tests/sim/plants.sh [NAME…]     without names: all. Last line "N passed, N failed".
#
# Each line of `plants`: name ~ file ~ what is found there (a basic regular expression that stands on one line) ~ what it is replaced by ~
# arguments of weft-sim that find it.
set -u -o pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${WEFT_PLANTS:-$root/build/plants}
passed=0 failed=0

plants() {
	cat <<'END'
dropped-merge ~ crdt/map.c ~ return take(m, it, OUTSIDE, what, ch); ~ if (it->stamp.ctr % 16 == 9) { *what = CRDT_STALE; return ERR_OK; } return take(m, it, OUTSIDE, what, ch); ~ --seeds 1-20
no-tie-break ~ crdt/map.c ~ int c = crdt_item_cmp(it, &ours); ~ int c = stamp_cmp(it->stamp, ours.stamp); ~ --scenario tests/sim/scenarios/ties.sim
grant-before-disk ~ ipam/donate.c ~ e = out_ring(i, &ch, true); ~ { e = out_changed(i, IPAM_MAP_RING, \&ch); i->ring_dirty = i->rewrite = true; } ~ --seeds 1-300
lease-after-its-end ~ ipam/lease.c ~ return i->reclaim.leased && lasting(i) && i->now >= i->reclaim.until_ms; ~ return i->reclaim.leased \&\& lasting(i) \&\& i->now >= i->reclaim.until_ms + 60000; ~ --seeds 1-100
given-from-spare ~ ipam/own.c ~ e = ranges_minus(&s->mine, &s->whole, &i->reclaim.locked); ~ e = ranges_minus(\&s->mine, \&s->whole, \&i->given); ~ --seeds 1-100
forgotten-early ~ crdt/map.c ~ struct crdt_item mine = \*it; ~ if (m->owned \&\& !floor \&\& !own \&\& !it->live) { if (old != NULL) { if (change(ch, it->key) != ERR_OK) return ERR_NOMEM; crdt_map_drop(m, old); } return ERR_OK; } struct crdt_item mine = *it; ~ --seeds 1-20
END
}

note() { printf '%s\n' "$*"; }

copy() {
	mkdir -p "$work/src"
	# Times are kept, so that what a plant does not touch is built once.
	(cd "$root" && tar cf - CMakeLists.txt CMakePresets.json cmake base crdt gossip ipam dns noise tunnel router cmd bench tests docs packaging) |
		tar xf - -C "$work/src" || return 1
	cmake -G Ninja -S "$work/src" -B "$work/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$work/cmake.log" 2>&1
}

build() { cmake --build "$work/build" --target weft-sim -j "$(nproc)" >"$work/build.log" 2>&1; }

run() { # ARGS…: true if it passes
	(cd "$work/src" && timeout 600 "$work/build/weft-sim" "$@") >"$work/run.log" 2>&1
}

plant() { # NAME FILE FROM TO ARGS
	local name=$1 file=$work/src/$2 from=$3 to=$4 args=$5
	cp -p "$file" "$work/sound.c"
	sed "0,\\@$from@s@@$to@" "$work/sound.c" >"$file"
	if cmp -s "$file" "$work/sound.c"; then
		note "not ok  $name: '$from' is not to be found in $2"
		return 1
	fi
	local rc=0 found=
	if ! build; then
		note "not ok  $name: does not build (see $work/build.log)"
		rc=1
	elif # shellcheck disable=SC2086
		run $args --stop-at-failure; then
		note "not ok  $name: $args does not find it"
		rc=1
	else
		found=$(grep -m 1 FAILED "$work/run.log" | cut -c 1-180)
	fi
	cp "$work/sound.c" "$file" # with a new time: it is to be built again
	build || rc=1
	[ -n "$found" ] || return 1
	case $found in "FAILED seed "*) args="--seeds $(awk '{ print $3; exit }' <<<"$found")" ;; esac
	# shellcheck disable=SC2086
	if [ $rc = 0 ] && run $args; then
		note "ok      $name: $found"
		return 0
	fi
	note "not ok  $name: the sound tree does not pass $args: $(grep -m 1 FAILED "$work/run.log")"
	return 1
}

copy || { note "not ok  no copy of the tree ($work/cmake.log)"; note "0 passed, 1 failed"; exit 1; }
build || { note "not ok  the copy does not build ($work/build.log)"; note "0 passed, 1 failed"; exit 1; }
while IFS='~' read -r name file from to args; do
	trim() { sed 's/^ *//; s/ *$//' <<<"$1"; }
	name=$(trim "$name")
	[ $# = 0 ] || [[ " $* " == *" $name "* ]] || continue
	if plant "$name" "$(trim "$file")" "$(trim "$from")" "$(trim "$to")" "$(trim "$args")"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done < <(plants)
echo "$passed passed, $failed failed"
[ $failed = 0 ]
