#!/usr/bin/env bash
# Brings up docker/compose.yaml on a real engine and waits for the first probe over HTTP, from the host.
#
#   tests/compose.sh                    puts the binary of `cargo build --release` into the image's final stage
#   tests/compose.sh --binary FILE      another binary, built on a glibc not newer than Debian 12's
#   tests/compose.sh --full             builds the whole image from source (long)
#
# Uses an engine that is there; else starts one with $CLAY_PROBE_SHARED/tools/docker-engine.sh; else skips, exit 0.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${CARGO_TARGET_DIR:-target}/release/clay-probe
full=
while [ $# -gt 0 ]; do
  case $1 in
    --full) full=1 ;;
    --binary) binary=${2:?a file}; shift ;;
    *) sed -n '2,8p' "$0"; exit 2 ;;
  esac
  shift
done

skip() { echo "skipped: compose: $*"; exit 0; }

engine_was_started=
if ! docker info >/dev/null 2>&1; then
  script=${CLAY_PROBE_SHARED:-}/tools/docker-engine.sh
  [ -x "$script" ] || [ -f "$script" ] || skip "no Docker engine here"
  bash "$script" up || skip "no Docker engine could be started"
  engine_was_started=1
fi
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
command -v "${compose[0]}" >/dev/null || skip "no compose here"
command -v curl >/dev/null || skip "no curl here"

export COMPOSE_PROJECT_NAME=clay-probe-test CLAY_PROBE_PORT=${CLAY_PROBE_PORT:-18080}
export DOCKER_BUILDKIT=0 # the classic builder is the one that every engine has
url=http://127.0.0.1:$CLAY_PROBE_PORT
work=$(mktemp -d)
compose+=(-f docker/compose.yaml)

cleanup() {
  status=$?
  if [ $status -ne 0 ]; then "${compose[@]}" logs --tail 40 2>&1 || true; fi
  "${compose[@]}" down --volumes --timeout 20 >/dev/null 2>&1 || true
  rm -rf "$work"
  [ -z "$engine_was_started" ] || bash "${CLAY_PROBE_SHARED}/tools/docker-engine.sh" down || true
  exit $status
}
trap cleanup EXIT

if [ -n "$full" ]; then
  # RUN needs the registry of crates, which some engines only reach over the host's network.
  docker build --network "${CLAY_PROBE_BUILD_NETWORK:-default}" -f docker/Dockerfile -t clay-probe:local .
else
  [ -x "$binary" ] || { echo "error: no binary at $binary; hint: cargo build --release"; exit 1; }
  # The final stage as it stands, behind a first stage that only holds the binary.
  { printf 'FROM scratch AS build\nCOPY clay-probe /out/clay-probe\n\n'; sed -n '/^FROM debian/,$p' docker/Dockerfile; } >"$work/Dockerfile"
  mkdir -p "$work/config" "$work/data"
  cp "$binary" "$work/clay-probe"
  cp config/docker.toml "$work/config/"
  cp -r data/sample "$work/data/sample"
  docker build -q -t clay-probe:local "$work" >/dev/null
fi

echo "image: $(docker image inspect --format '{{.Size}}' clay-probe:local) bytes, user $(docker image inspect --format '{{.Config.User}}' clay-probe:local)"
"${compose[@]}" up -d --no-build
started=$SECONDS

# The first probe with a score, over HTTP.
until [[ $(curl -sf "$url/probes?run=demo&metric=iou" || true) =~ \"state\":\ *\"done\" ]]; do
  [ $((SECONDS - started)) -lt 300 ] || { echo "error: no probe after 300 seconds"; exit 1; }
  sleep 1
done
echo "first probe after $((SECONDS - started)) seconds"
probe=$(curl -sf "$url/probes/0?run=demo")
printf '%.300s ...\n' "$probe"

# The page answers, writes without a token do not, the container calls itself healthy, nobody is root.
curl -sf -o /dev/null "$url/"
code=$(curl -s -o /dev/null -w '%{http_code}' -H 'content-type: application/json' -d '{"path": "x.ckpt"}' "$url/checkpoints")
[ "$code" = 401 ] || { echo "error: a write without a token was answered with $code, not 401"; exit 1; }
id=$("${compose[@]}" ps -q clay-probe)
[ "$(docker exec "$id" id -u)" != 0 ] || { echo "error: it runs as root"; exit 1; }
until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do
  [ $((SECONDS - started)) -lt 360 ] || { echo "error: the container never became healthy"; exit 1; }
  sleep 1
done
"${compose[@]}" stop --timeout 20 clay-probe >/dev/null 2>&1
exit_code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
[ "$exit_code" = 0 ] || { echo "error: stopped with exit code $exit_code, not 0"; exit 1; }
echo "compose: ok"
