#!/bin/sh
# Builds the fuzz targets and runs them: fuzz/run.sh SECONDS [TARGET..]
#
# Each target first replays its corpus (fuzz/corpus) and then goes on by chance for SECONDS. What it finds on the way is kept in
# target/fuzz/corpus, out of the repository, and so is an input that crashes it, which is named; target/fuzz/failed says what
# failed, with the input, for a machine that is gone later. On stable Rust: coverage needs compiler passes that stable has,
# only the address sanitizer is nightly's; so cargo-fuzz is not needed, but works (fuzz/README.md). JOBS= targets run at a
# time.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds for each target}
shift
# libFuzzer takes 0 for no end.
[ "$seconds" -gt 0 ] || { echo 'fuzz/run.sh: at least one second' >&2; exit 2; }
all=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' fuzz/Cargo.toml)
targets=${*:-$all}
: "${CARGO:=cargo}" "${JOBS:=$(nproc)}"
# Short inputs are run more often, and on a busy machine all are slow; in a long run there is time for large ones.
longest=4096 slow=30
[ "$seconds" -lt 600 ] || longest=65536 slow=5
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$target"
: >"$target/failed"

# What cargo-fuzz passes without a sanitizer. With --target, so that build scripts are built without it.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$coverage $CARGO build --quiet --release --locked --manifest-path fuzz/Cargo.toml \
	--target "$host" --target-dir "$target" || { echo 'fuzz: not built' | tee -a "$target/failed" >&2; exit 1; }

fuzz() {
	name=$1
	mkdir -p "$target/corpus/$name" "$target/artifacts/$name"
	dict=
	[ ! -e "fuzz/dicts/$name.dict" ] || dict=-dict=fuzz/dicts/$name.dict
	log=$target/$name.log
	# A slow input is a bug as well, and so is one that needs much memory.
	code=0
	"$target/$host/release/$name" "$target/corpus/$name" "fuzz/corpus/$name" $dict -artifact_prefix="$target/artifacts/$name/" \
		-max_total_time="$seconds" -timeout="$slow" -rss_limit_mb=1024 -max_len="$longest" -print_final_stats=1 >"$log" 2>&1 || code=$?
	if [ "$code" = 0 ]; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		seen=$(sed -n 's/.*\(INITED\|DONE\)  *\(cov: [0-9]* ft: [0-9]*\).*/\2/p' "$log" | paste -sd, | sed 's/,/, then /')
		echo "fuzz $name: $runs runs; $seen"
		return
	fi
	unit=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
	{
		grep -v " NEW \| REDUCE \| RELOAD " "$log" | tail -n 40
		[ ! -e "$unit" ] || { echo 'the input, to be read with `base64 -d | gunzip`:'; gzip -9nc "$unit" | base64; }
		echo "fuzz $name: FAILED with exit code $code: $unit"
	} >"$target/$name.failed"
	tee -a "$target/failed" <"$target/$name.failed" >&2
	return 1
}

failed=
running=
for name in $targets; do
	fuzz "$name" &
	running="$running $!"
	set -- $running
	if [ $# -ge "$JOBS" ]; then
		wait "$1" || failed=yes
		shift
		running=$*
	fi
done
for one in $running; do
	wait "$one" || failed=yes
done
[ -z "$failed" ]
