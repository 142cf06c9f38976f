#!/bin/bash
# Runs the tests that `make test` has built, and what else must hold: the programs, the same under sanitizers, the checks of
# tests/check, a short fuzzing. One line a program, with its seconds and those of processor time; its output only when it failed. The last line: `N passed, N failed`.
#
# Environment: BUILD (build), TESTS (only programs whose name contains it, and nothing else), TEST_TIMEOUT (seconds a
# program, 180), VECSTORE_DRILL=full (drills at full count, with what they print), FUZZ_TIME (seconds a fuzz target, 6), MAKE, CI_SKIP_SANITIZERS=1 (programs, checks and fuzzing alone).
set -uo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
wanted=${TESTS:-}
limit=${TEST_TIMEOUT:-180}
fuzz_time=${FUZZ_TIME:-6}
make="${MAKE:-make} --no-print-directory"
# Without a jobserver of the make that called, use all cores.
[[ ${MAKEFLAGS:-} == *jobserver* ]] || make="$make -j$(nproc)"
passed=0
failed=0
failures=()

export CMOCKA_MESSAGE_OUTPUT=STDOUT
export LC_ALL=C
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1
unset VECSTORE_TEST_QUICK
ulimit -c 0

scratch=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-tests-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

line() { # line VERDICT NAME COUNT MILLISECONDS CPU
    printf '  %-6s %-44s %5s %8.2f s %8.2f s\n' "$1" "$2" "$3" "$(($4 / 10))e-2" "$(($5 / 10))e-2"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# counted NAME OUTPUT-FILE STATUS MILLISECONDS CPU: adds up what a cmocka program printed. Every test that neither passed nor was
# skipped counts as failed; a program that ended badly counts at least one.
counted() {
    local name=$1 output=$2 status=$3 ms=$4 cpu=$5 ok bad ran
    ok=$(grep -c '^\[       OK \] ' "$output")
    bad=$(grep -cE '^\[  FAILED  \] [^0-9]|^\[  ERROR   \] [^-]' "$output")
    ran=$(sed -n 's/^\[==========\] .*Running \([0-9]*\) test.*/\1/p' "$output" | awk '{n += $1} END {print n + 0}')
    # A drill may be a plain program, which counts as one test.
    if [[ $name == *drills/* ]] && ! grep -q '^\[==========\]' "$output"; then
        ran=1
        [ "$status" != 0 ] || ok=1
    fi
    # cmocka lists failed tests again at the end.
    if grep -q 'FAILED TEST(S)' "$output"; then
        bad=$(sed -n 's/^ *\([0-9]*\) FAILED TEST(S).*/\1/p' "$output" | awk '{n += $1} END {print n + 0}')
    fi
    if [ "$status" -eq 0 ] && [ "$ran" -eq 0 ]; then
        status=no-tests
    fi
    if [ "$status" != 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    if [ "$bad" -eq 0 ]; then
        line ok "$name" "$ok" "$ms" "$cpu"
        return
    fi
    line FAILED "$name" "$bad" "$ms" "$cpu"
    failures+=("$name")
    case $status in
        124 | 137) echo "    ended after $limit s" ;;
        no-tests) echo "    ran no test" ;;
        *) echo "    exit status $status" ;;
    esac
    tail -n 120 "$output" | sed 's/^/    | /'
}

# timed FILE COMMAND...: its output goes to FILE, its exit status, milliseconds and milliseconds of processor time to FILE.end.
timed() {
    local file=$1 began status user system
    shift
    began=$(now_ms)
    # The braces keep the shell's own word about a crash out of the way.
    {
        TIMEFORMAT='%3U %3S'
        { time timeout -k 5 "$limit" "$@" >"$file" 2>&1 </dev/null; } 2>"$file.cpu"
        status=$?
    } 2>/dev/null
    read -r user system < <(tail -n 1 "$file.cpu" | tr -d .)
    echo "$status $(($(now_ms) - began)) $((10#${user:-0} + 10#${system:-0}))" >"$file.end"
}

# side_by_side RUN REPORT NAME...: RUN NAME FILE for each, which leaves FILE and FILE.end as timed does; when it has ended, REPORT
# NAME FILE STATUS MILLISECONDS CPU. `at_once` of them run at a time. Those whose source says `run: beside` mostly wait: `beside` of
# them run beside the others, more when no others are left, the last ones (drills, which take longest) first.
at_once=1
beside=0
side_by_side() {
    local run=$1 report=$2 status ms cpu left i next waiter busy idle output
    shift 2
    local names=("$@") state=() waits=()
    for ((i = 0; i < $#; i++)); do
        state[i]=new
        waits[i]=
        [ "$beside" -eq 0 ] || ! grep -qs 'run: beside' "tests/${names[i]}".{c,sh} || waits[i]=yes
    done
    left=$#
    while [ "$left" -gt 0 ]; do
        next='' waiter='' busy=0 idle=0
        for ((i = 0; i < $#; i++)); do
            output=$scratch/output-$i
            if [ "${state[i]}" = running ] && [ -s "$output.end" ]; then
                read -r status ms cpu <"$output.end"
                "$report" "${names[i]}" "$output" "$status" "$ms" "$cpu"
                rm -f "$output" "$output".*
                state[i]=reported
                left=$((left - 1))
            fi
            case ${state[i]}${waits[i]} in
                new) next=${next:-$i} ;;
                newyes) waiter=$i ;;
                running) busy=$((busy + 1)) ;;
                runningyes) idle=$((idle + 1)) ;;
            esac
        done
        if [ -n "$next" ] && [ $busy -lt "$at_once" ]; then
            i=$next
        elif [ -n "$waiter" ] && { [ $idle -lt "$beside" ] || { [ -z "$next" ] && [ $((busy + idle)) -lt $((at_once + beside)) ]; }; }; then
            i=$waiter
        else
            wait -n 2>/dev/null
            continue
        fi
        state[i]=running
        "$run" "${names[i]}" "$scratch/output-$i" &
    done
}

# programs BUILD LABEL NAME...: runs programs (named kind/test_x) of a build.
programs() {
    local dir=$1 label=$2
    shift 2
    side_by_side run_program report_program "$@"
}

run_program() {
    local wrap=()
    # ThreadSanitizer's memory layout does not stand the address randomisation of some kernels.
    [[ $dir != */tsan ]] || ! setarch -R true 2>/dev/null || wrap=(setarch -R)
    VECSTORE_SERVER=$dir/vecstore-server timed "$2" "${wrap[@]}" "$dir/tests/$1"
}

report_program() {
    counted "$label$1" "$2" "$3" "$4" "$5"
    # What a drill at full count has to say.
    [ "${VECSTORE_DRILL:-}" != full ] || grep -v '^\[' "$2" | sed 's/^/    /'
}

# A check passes or fails as a whole.
report_check() { # report_check NAME FILE STATUS MILLISECONDS CPU
    if [ "$3" = 0 ]; then
        passed=$((passed + 1))
        line ok "$1" 1 "$4" "$5"
    else
        failed=$((failed + 1))
        failures+=("$1")
        line FAILED "$1" 1 "$4" "$5"
        tail -n 120 "$2" | sed 's/^/    | /'
    fi
}

# one NAME COMMAND...: one check.
one() {
    local name=$1 status ms cpu
    shift
    timed "$scratch/output" "$@"
    read -r status ms cpu <"$scratch/output.end"
    report_check "$name" "$scratch/output" "$status" "$ms" "$cpu"
}

# A script of tests/check, or a fuzz target.
run_rest() {
    if [[ $1 == fuzz/* ]]; then
        BUILD=$build FUZZ=${1#fuzz/} FUZZ_SECONDS=$fuzz_time limit=$((fuzz_time + 60)) timed "$2" tests/fuzz.sh
    else
        BUILD=$build timed "$2" "tests/$1.sh"
    fi
}

# names KIND...: the test programs of these kinds, as kind/test_x (drills/drill_x).
names() {
    local kind file
    for kind in "$@"; do
        for file in tests/"$kind"/test_*.c tests/"$kind"/drill_*.c; do
            [ -e "$file" ] || continue
            file=${file#tests/}
            echo "${file%.c}"
        done
    done
}

finish() {
    if [ ${#failures[@]} -gt 0 ]; then
        printf 'failed: %s\n' "${failures[*]}"
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}

mapfile -t everything < <(names unit recall model integration drills)
if [ -n "$wanted" ]; then
    mapfile -t everything < <(printf '%s\n' "${everything[@]}" | grep -F -- "$wanted")
    if [ ${#everything[@]} -eq 0 ]; then
        echo "no test program has '$wanted' in its name"
        failed=1
        finish
    fi
fi

# At full count, drills that measure times (they say `drill: alone`) run behind the others, one by one.
together=() alone=()
for name in "${everything[@]}"; do
    if [ "${VECSTORE_DRILL:-}" = full ] && grep -q 'drill: alone' "tests/$name.c"; then
        alone+=("$name")
    else
        together+=("$name")
    fi
done
at_once=2 beside=2 programs "$build" "" "${together[@]}"
programs "$build" "" "${alone[@]}"
[ -z "$wanted" ] || finish

# The sanitizer phases run the same programs, asked to be quick; a source with the marker `asan: skip` stays out of
# the first, with `tsan: skip` out of the second. In the first, servers have a journal unless their test says otherwise:
# replies then go another way.
sanitized() { # sanitized NAME FLAGS PROGRAMS...
    local san=$1 flags=$2 output=$scratch/output-make
    shift 2
    [ $# -gt 0 ] || return 0
    # shellcheck disable=SC2086
    if ! $make BUILD="$build/$san" $flags OPT=-O1 PROGRAMS_WANTED="$*" programs-wanted >"$output" 2>&1; then
        failed=$((failed + 1))
        failures+=("$san build")
        line FAILED "$san build" 1 0
        tail -n 60 "$output" | sed 's/^/    | /'
        return
    fi
    limit=$((2 * limit)) at_once=2 beside=1 VECSTORE_TEST_QUICK=1 programs "$build/$san" "$san " "$@"
}

if [ -n "${CI_SKIP_SANITIZERS:-}" ]; then
    mapfile -t served < <(names integration)
    VECSTORE_TEST_JOURNAL=always at_once=2 beside=2 programs "$build" "journal " "${served[@]}"
else
    mapfile -t all < <(names unit model integration drills)
    addressed=()
    for name in "${all[@]}"; do
        grep -q 'asan: skip' "tests/$name.c" || addressed+=("$name")
    done
    VECSTORE_TEST_JOURNAL=always sanitized asan SAN=address,undefined "${addressed[@]}"
    threaded=()
    for name in "${all[@]}"; do
        grep -q 'tsan: skip' "tests/$name.c" || threaded+=("$name")
    done
    sanitized tsan SAN=thread "${threaded[@]}"
fi

one "layers link" $make BUILD="$build" check-links
# Scripts that say `run: first` take long and keep one core busy: beside them is time for the others.
mapfile -t rest < <({ grep -l 'run: first' tests/check/*.sh; grep -L 'run: first' tests/check/*.sh; } | sed 's|^tests/||; s|\.sh$||')
if compgen -G 'tests/fuzz/fuzz_*.c' >/dev/null; then
    limit=600 one "fuzz build" $make BUILD="$build" fuzz-build
    for source in tests/fuzz/fuzz_*.c; do
        name=fuzz/$(basename "$source" .c)
        [ ! -x "$build/fuzz/tests/$name" ] || rest+=("$name")
    done
fi
at_once=2 side_by_side run_rest report_check "${rest[@]}"
finish
