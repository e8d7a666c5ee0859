#!/usr/bin/env bash
# Fails where the daemon takes 1% of a core or more beside a trainer: 10,000 files lie in a folder in which a log grows
# ten times a second, for 60 s. `tests/cpu_at_rest.sh BINARY`; SECONDS_MEASURED, FILES and MOST (percent) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:?give the clay-probe that is to be measured}")
files=${FILES:-10000} measured=${SECONDS_MEASURED:-60} most=${MOST:-1}
folder=$(mktemp -d)
daemon=
end() {
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon"; } || true
    rm -rf "$folder"
}
trap end EXIT

mkdir "$folder/checkpoints"
seq -f "$folder/checkpoints/epoch-%g.ckpt" "$files" | while read -r file; do echo '<html>' > "$file"; done
cat > "$folder/config.toml" <<EOF
[intake]
dirs = ["checkpoints"]
settle = "200ms"
[probe]
data = "$PWD/data/sample"
[store]
dir = "state"
[api]
listen = "127.0.0.1:0"
EOF
RUST_LOG=warn,clay_probe::daemon=info "$binary" serve --config "$folder/config.toml" 2> "$folder/log" &
daemon=$!

port() { sed -n 's/.*listening.* addr=[0-9.]*:\([0-9]*\).*/\1/p' "$folder/log"; }
count() { # files that were read and refused
    curl -sf "127.0.0.1:$(port)/metrics" | awk '/^clay_probe_ends_total.*"pin"/ { n += $NF } END { print n + 0 }'
}
ticks() { # of the daemon, user and system; and of the workers that it has waited for
    local stat
    stat=$(< "/proc/$daemon/stat")
    set -- ${stat##*) }
    echo "$((${12} + ${13})) $((${14} + ${15}))"
}

start=$SECONDS
until [ -n "$(port)" ] && [ "$(count)" -ge "$files" ]; do
    kill -0 "$daemon" || { tail "$folder/log" >&2; exit 1; }
    [ $((SECONDS - start)) -lt 1200 ] || { echo "only $(count) of $files files are over after 20 minutes" >&2; exit 1; }
    sleep 1
done
read -r own workers < <(ticks)
hertz=$(getconf CLK_TCK)
echo "$files files were refused in $((SECONDS - start)) s, for $((own / hertz)) s of the daemon and $((workers / hertz)) s of its workers"

sleep 5
read -r before _ < <(ticks)
stop=$((SECONDS + measured))
until [ $SECONDS -ge $stop ]; do
    echo "step $SECONDS loss 0.1" >> "$folder/checkpoints/train.log"
    sleep 0.1
done
read -r after _ < <(ticks)
awk -v ticks=$((after - before)) -v hertz="$hertz" -v seconds="$measured" -v most="$most" 'BEGIN {
    share = 100 * ticks / hertz / seconds
    printf "at rest beside a growing log: %.2f%% of a core (the most is %s%%)\n", share, most
    exit share >= most
}'
