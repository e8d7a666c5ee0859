#!/usr/bin/env bash
# Shows that no number of a probe changed: the golden checkpoints on data/sample, default settings, compared to the bit.
# 60 steps, not the default 600, so that it takes seconds.
#
#   tests/reports_equal.sh OLD NEW              two binaries on this machine
#   tests/reports_equal.sh --expected BINARY    one binary against tests/fixtures/reports/expected.json
#   tests/reports_equal.sh --record BINARY      writes that file for this kind of CPU (on purpose only)
#
# Goldens that are not in the repository are taken from $CLAY_PROBE_SHARED where it is set.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)

usage() { sed -n '2,9p' "$repo/tests/reports_equal.sh"; exit 2; }
[ $# -eq 2 ] || usage
case $1 in --expected | --record) mode=${1#--}; binaries=("$2") ;; -*) usage ;; *) mode=equal; binaries=("$1" "$2") ;; esac
for i in "${!binaries[@]}"; do binaries[i]=$(realpath -e "${binaries[i]}"); done
command -v python3 >/dev/null || { echo "skipped: reports: no python3 here"; exit 0; }

# What the last bits hang on: gemm has kernels for AVX-512, for fused multiply-add and for neither, and exp, log and sin are
# the C library's.
cpu=$(uname -m)
if grep -qw avx512f /proc/cpuinfo 2>/dev/null; then cpu+=" avx512f"; elif grep -qw fma /proc/cpuinfo 2>/dev/null; then cpu+=" fma"; fi
cpu+=" $(getconf GNU_LIBC_VERSION 2>/dev/null || uname -s)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # nothing is left where it was called from
unset "${!CLAY_PROBE__@}"

checkpoint() { # the file of that golden folder, if it is anywhere
  local base
  for base in "$repo/tests/fixtures" "${CLAY_PROBE_SHARED:-$repo/tests/fixtures}"; do
    compgen -G "$base/clay/golden/$1/*.ckpt" && return
  done
  return 1
}

files=()
right=1
for golden in d16h2-newtorch d24h3-full d64h1 d128h2 v1-d32 v1-d64-full; do
  path=$(checkpoint "$golden") || { echo "$golden: not here (CLAY_PROBE_SHARED)"; continue; }
  for i in "${!binaries[@]}"; do
    mkdir -p "$work/$i"
    XDG_CACHE_HOME=$work/$i/cache "${binaries[i]}" probe "$path" --data "$repo/data/sample" --device cpu --fit-steps 60 --json \
      >"$work/$i/$golden.json" 2>"$work/log" || { cat "$work/log"; exit 1; }
  done
  files+=("$work/0/$golden.json")
  if [ $mode = equal ]; then
    python3 "$repo/tests/reports.py" equal "$work/0/$golden.json" "$work/1/$golden.json" || right=
  fi
done
[ $mode = equal ] || python3 "$repo/tests/reports.py" $mode "$cpu" "${files[@]}" || right=
[ -n "$right" ] || { echo "error: the reports differ"; exit 1; }
echo "reports: ok"
