#!/usr/bin/env bash
# Starts the daemon, has it probe one checkpoint, and reads `/metrics` with Prometheus' own parser and linter.
#
#   tests/metrics.sh BINARY
#
# Without `promtool` (in Debian part of the package `prometheus`) it skips, exit 0.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
[ $# -eq 1 ] || { sed -n '2,6p' "$0"; exit 2; }
binary=$(realpath -e "$1")

# What a dashboard of an operator asks for; each must have at least one sample after one probe.
names=(clay_probe_jobs clay_probe_oldest_due_seconds clay_probe_lag_epochs clay_probe_seconds_to_score
  clay_probe_stage_seconds clay_probe_ends_total clay_probe_store_bytes clay_probe_scan_seconds clay_probe_last_score)

for tool in curl promtool python3; do
  command -v $tool >/dev/null || { echo "skipped: prometheus: no $tool here"; exit 0; }
done

work=$(mktemp -d)
daemon=
cleanup() {
  status=$?
  if [ $status -ne 0 ]; then tail -n 30 "$work/log" || true; fi
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
  rm -rf "$work"
  exit $status
}
trap cleanup EXIT
cd "$work" # nothing is left where it was called from

mkdir checkpoints
unset "${!CLAY_PROBE__@}"
export CLAY_PROBE__INTAKE__DIRS='["checkpoints"]' CLAY_PROBE__INTAKE__SETTLE=300ms CLAY_PROBE__INTAKE__POLL=500ms
export CLAY_PROBE__PROBE__DATA=$repo/data/sample CLAY_PROBE__PROBE__FIT_STEPS=40
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
export CLAY_PROBE__API__LISTEN=127.0.0.1:$port
url=http://127.0.0.1:$port
"$binary" serve >log 2>&1 &
daemon=$!

# wait_for WHAT COMMAND...
wait_for() {
  local what=$1 from=$SECONDS
  shift
  until "$@"; do
    [ $((SECONDS - from)) -lt 60 ] || { echo "error: waited 60 seconds until $what"; exit 1; }
    sleep 0.2
  done
}
scored() { [[ $(curl -sf "$url/probes" || true) =~ \"state\":\ *\"done\" ]]; }

wait_for "it is ready" curl -sf -o /dev/null "$url/readyz"
cp "$repo"/tests/fixtures/clay/golden/d16h2-newtorch/*.ckpt checkpoints/
wait_for "the checkpoint has its score" scored

curl -sf -D headers -o metrics "$url/metrics"
grep -i '^content-type:' headers
promtool check metrics <metrics
missing=()
for name in "${names[@]}"; do
  # A histogram has its samples under three names.
  grep -qE "^$name(_bucket|_sum|_count)?[{ ]" metrics || missing+=("$name")
done
[ ${#missing[@]} -eq 0 ] || { cat metrics; echo "error: no samples of ${missing[*]}"; exit 1; }
echo "metrics: ok, $(grep -vc '^#' metrics) samples"
