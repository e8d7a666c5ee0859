#!/usr/bin/env bash
# Probes through Slurm with config/slurm.toml: two nodes at once; a node that fails; a killed daemon; cancelled jobs.
#
#   tests/slurm.sh                    the binary of `cargo build --release`
#   tests/slurm.sh --binary FILE
#
# Uses a cluster that is there (`sinfo` answers); else starts one with $CLAY_PROBE_SHARED/tools/slurm-cluster.sh; else
# skips, exit 0. Nodes are made to fail in that test cluster only.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
cd "$repo"

binary=${CARGO_TARGET_DIR:-target}/release/clay-probe
case ${1:-} in '') ;; --binary) binary=${2:?a file} ;; *) sed -n '2,8p' "$0"; exit 2 ;; esac
[ -x "$binary" ] || { echo "error: no binary at $binary; hint: cargo build --release"; exit 1; }
binary=$(realpath "$binary")

skip() { echo "skipped: slurm: $*"; exit 0; }
fail() { echo "error: $*"; exit 1; }
for tool in curl python3; do command -v $tool >/dev/null || skip "no $tool here"; done

tool=${CLAY_PROBE_SHARED:-}/tools/slurm-cluster.sh
started_cluster=
if ! timeout 20 sinfo >/dev/null 2>&1; then
  [ -f "$tool" ] || skip "no cluster here"
  [ "$(id -u)" = 0 ] || skip "no cluster here, and only root can start one"
  up=$(bash "$tool" up) || skip "no cluster could be started"
  started_cluster=1
  eval "$(grep '^export SLURM_CONF=' <<<"$up")"
fi
# Nodes are only taken down in the cluster of that script.
own=
if [ -f "$tool" ] && [ "$(scontrol show config | sed -n 's/^ClusterName *= //p')" = probe ]; then own=1; fi

work=$(mktemp -d -p "${CLAY_PROBE_SLURM_DIR:-/tmp}") # on a real cluster a folder that all nodes share, as is this one
export CLAY_PROBE__INTAKE__DIRS="[\"$work/checkpoints\"]" CLAY_PROBE__INTAKE__SETTLE=300ms CLAY_PROBE__INTAKE__POLL=500ms
export CLAY_PROBE__QUEUE__EVERY_N_EPOCHS=1 CLAY_PROBE__QUEUE__CONTROLS=false CLAY_PROBE__WORKER__LEASE=20s CLAY_PROBE__STORE__DIR=$work/store
# Long enough to be caught at it.
export CLAY_PROBE__PROBE__DATA=$repo/data/sample CLAY_PROBE__PROBE__FIT_STEPS=300
CLAY_PROBE__API__LISTEN=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
export CLAY_PROBE__API__LISTEN
url=http://$CLAY_PROBE__API__LISTEN
mkdir "$work/checkpoints"

# Our Slurm jobs: number, name, state, node.
ours() { squeue --noheader --user "$(id -un)" --format '%i %j %T %N' | awk '$2 ~ /^clay-probe-/'; }
running() { ours | awk '$3 == "RUNNING"'; }
[ -z "$(ours)" ] || skip "another clay-probe has jobs in this cluster: $(ours)"

daemon=
cleanup() {
  status=$?
  if [ $status -ne 0 ]; then squeue || true; tail -n 40 "$work/log" || true; fi
  if [ -n "$daemon" ]; then kill -9 "$daemon" 2>/dev/null || true; fi
  ours | while read -r id _; do scancel "$id" || true; done
  if [ -n "$own" ]; then for n in 1 2; do scontrol update nodename=node$n state=resume 2>/dev/null || true; done; fi
  if [ -n "$started_cluster" ]; then bash "$tool" down || true; fi
  rm -rf "$work"
  exit $status
}
trap cleanup EXIT

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local seconds=$1 what=$2 from=$SECONDS
  shift 2
  until "$@"; do
    [ $((SECONDS - from)) -lt "$seconds" ] || fail "waited $seconds seconds until $what"
    sleep 0.3
  done
  echo "  $what: after $((SECONDS - from)) s"
}

start_daemon() {
  "$binary" serve --config config/slurm.toml >>"$work/log" 2>&1 &
  daemon=$!
  wait_for 60 "the daemon is ready" curl -sf -o /dev/null "$url/readyz"
}

# save EPOCH: the golden checkpoint as of that epoch, with weights of its own.
save() {
  python3 - "$1" tests/fixtures/clay/golden/d16h2-newtorch/*.ckpt "$work/checkpoints/epoch-$1.ckpt" <<'P'
import re, sys, zipfile
epoch, source, target = int(sys.argv[1]), zipfile.ZipFile(sys.argv[2]), sys.argv[3]
with zipfile.ZipFile(target + ".part", "w") as out:
    for entry in source.infolist():
        data = bytearray(source.read(entry))
        if entry.filename.endswith("/data.pkl"):  # `epoch` and `global_step` are small integers there
            for key, value in ((b"epoch", epoch), (b"global_step", 10 * epoch + 1)):
                name = b"X" + len(key).to_bytes(4, "little") + key
                data, n = re.subn(b"(" + re.escape(name) + b"(?:q.|r....)?K).", lambda m: m[1] + bytes([value]), bytes(data), 1, re.S)
                assert n == 1, key
        elif "/data/" in entry.filename:
            data[0] ^= epoch + 1  # the last bits of one weight of each tensor
        out.writestr(entry.filename, bytes(data))
P
  mv "$work/checkpoints/epoch-$1.ckpt.part" "$work/checkpoints/epoch-$1.ckpt"
}

# checkpoint EPOCH KEY: what `/checkpoints` tells of it.
checkpoint() {
  curl -sf "$url/checkpoints?limit=100" | python3 -c '
import json, sys
for item in json.load(sys.stdin)["items"]:
    if item["path"].endswith(f"/epoch-{sys.argv[1]}.ckpt"):
        print(item[sys.argv[2]])' "$1" "$2"
}
is() { [ "$(checkpoint "$1" state)" = "$2" ]; }
runs_on() { [ "$(running | wc -l)" = "$1" ]; } # so many of ours run
gone() { local left; left=$(ours) && [ -z "$left" ]; } # and `squeue` answered

echo "cluster: $(sinfo --noheader --format '%P %D %T' | tr '\n' ';') ${own:+(started for tests)}"
start_daemon

echo "two probes at once, on two nodes"
nodes=$(sinfo --noheader --Node --format %N | sort -u | wc -l)
[ "$nodes" -ge 2 ] || fail "the cluster has $nodes node"
save 0
save 1
wait_for 60 "two jobs run" runs_on 2
running | sed 's/^/    /'
if [ -n "$own" ]; then [ "$(running | awk '{print $4}' | sort -u | wc -l)" = 2 ] || fail "both run on one node"; fi
wait_for 180 "epoch 0 is done" is 0 done
wait_for 180 "epoch 1 is done" is 1 done

if [ -n "$own" ]; then
  echo "a node fails"
  save 2
  wait_for 60 "its job runs" runs_on 1
  sleep 3
  read -r first name _ node <<<"$(running)"
  bash "$tool" fail-node "${node#node}"
  # The node may be back by itself before that, and be chosen again.
  again() { read -r second same _ <<<"$(running)" && [ "$same" = "$name" ] && [ "$second" != "$first" ]; }
  wait_for 120 "its job runs again, as another job of Slurm" again
  wait_for 180 "epoch 2 is done" is 2 done
  bash "$tool" resume-node "${node#node}"
fi

echo "the daemon is killed, and its srun"
save 3
wait_for 60 "its job runs" runs_on 1
sleep 2
# And its `srun` with it, which leaves the step running, its stdin open: only the lease ends that.
mapfile -t children < <(ps -o pid= --ppid "$daemon")
{ kill -9 "$daemon" "${children[@]}" && wait "$daemon"; } 2>/dev/null || true
wait_for 90 "no step is left" gone
start_daemon
wait_for 180 "epoch 3 is done" is 3 done

echo "a job is cancelled"
save 4
wait_for 60 "its job runs" runs_on 1
curl -sf -X DELETE -H 'content-type: application/json' -o /dev/null "$url/checkpoints/$(checkpoint 4 id)"
wait_for 30 "epoch 4 is cancelled" is 4 cancelled
wait_for 30 "its Slurm job is gone" gone

if [ -n "$own" ]; then
  echo "a job is cancelled that waits for Slurm"
  for n in 1 2; do scontrol update nodename=node$n state=drain reason="waits on purpose"; done
  save 5
  pending() { ours | awk '$3 == "PENDING"' | grep -q .; }
  wait_for 60 "its job is pending" pending
  shown() { checkpoint 5 progress | grep -q "'launch'"; }
  wait_for 30 "it is shown to wait for Slurm" shown
  curl -sf -X DELETE -H 'content-type: application/json' -o /dev/null "$url/checkpoints/$(checkpoint 5 id)"
  wait_for 30 "epoch 5 is cancelled" is 5 cancelled
  wait_for 30 "its Slurm job is gone" gone
  for n in 1 2; do bash "$tool" resume-node $n; done
fi

echo "the daemon is stopped while a job runs"
save 6
wait_for 60 "its job runs" runs_on 1
kill "$daemon"
wait "$daemon" || fail "SIGTERM ended it with status $?"
daemon=
wait_for 30 "no step is left" gone
echo "slurm: ok"
