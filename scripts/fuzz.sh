#!/bin/sh
# Fuzzes every fuzz target for its share of the time: scripts/fuzz.sh SECONDS
# What is found is kept by Go under testdata/fuzz of the package: commit it with the mend.
set -eu
cd "$(dirname "$0")/.."
total=$1
corpus=$(go env GOCACHE)/fuzz
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
trap 'exit 130' INT TERM

targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|^\./(.*)/[^/]*:func (Fuzz.*)$|\1 \2|' | sort)
count=$(printf '%s\n' "$targets" | grep -c . || true)
if [ "$count" = 0 ]; then
	echo "fuzz: no target" >&2
	exit 0
fi
share=$((total / count))
[ $share -gt 0 ] || share=1
echo "fuzz: $count targets, $share s each" >&2

# fuzz runs one target. Go's fuzzer sometimes takes the end of its time for a failure (golang.org/issue/75804): then it has
# found nothing, wrote no input, and is run again.
fuzz() {
	for _ in 1 2 3; do
		if (cd "$package" && "$program" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="${share}s" \
			-test.fuzzcachedir="$corpus/$package" </dev/null) >"$programs/said" 2>&1; then
			cat "$programs/said"
			return 0
		fi
		cat "$programs/said"
		grep -q '^    context deadline exceeded$' "$programs/said" || return 1
		! grep -q 'Failing input' "$programs/said" || return 1
		echo "fuzz: $package $target was ended by its own clock; again" >&2
	done
	return 1
}

failed=0
while read -r package target; do
	program=$programs/$(echo "$package" | tr / -).test
	# why: built once a package and run from its folder, not linked again for every target
	[ -x "$program" ] || go test -c -fuzz=Fuzz -o "$program" "./$package"
	echo "fuzz: $package $target" >&2
	fuzz || failed=1
done <<EOF
$targets
EOF
exit $failed
