# Counts the cases in the output of `ctest -V`, and prints what failed. A test program says "[  PASSED  ] 5 test(s)." (cmocka) or
# "5 passed, 0 failed" (scripts); one that says nothing is one case, and one that ends badly without a failed case has one.
# Ends with "N passed, N failed[, N skipped]"; status 1 when something failed or nothing ran.
{
	if (match($0, /^[0-9]+: /)) {
		id = substr($0, 1, RLENGTH - 2)
		line = substr($0, RLENGTH + 1)
		text[id] = text[id] line "\n"
		n = line
		gsub(/[^0-9 ]/, "", n)
		split(n, v, " ")
		if (line ~ /^\[  PASSED  \] [0-9]+ test/)
			pass[id] += v[1]
		else if (line ~ /^\[  FAILED  \] [0-9]+ test/)
			fail[id] += v[1]
		else if (line ~ /^\[  SKIPPED \] [0-9]+ test/)
			skip[id] += v[1]
		else if (line ~ /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/) {
			pass[id] += v[1]
			fail[id] += v[2]
			skip[id] += v[3]
		}
	} else if (match($0, /Test +#[0-9]+: /)) {
		id = substr($0, RSTART, RLENGTH)
		gsub(/[^0-9]/, "", id)
		name = substr($0, RSTART + RLENGTH)
		sub(/ .*/, "", name)
		if ($0 ~ /   Passed  /) {
			if (pass[id] + fail[id] + skip[id] == 0)
				pass[id] = 1
		} else {
			if (fail[id] == 0)
				fail[id] = 1
			printf "---- %s\n%s\n%s", $0, text[id] != "" ? "its output:" : "it said nothing", text[id]
		}
		p += pass[id]
		f += fail[id]
		s += skip[id]
	}
}
END {
	if (p + f + s == 0) {
		print "nothing ran"
		f = 1
	}
	printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""
	exit f > 0
}
