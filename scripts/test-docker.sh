#!/bin/bash
# Builds the images and runs docker/compose.yml: two hosts, the router between them, Prometheus beside it.
#
#   scripts/test-docker.sh skiff_VERSION_amd64.deb       as root
#
# The package is put in the image, so that nothing is compiled twice. Where no Docker daemon runs one is started and ended;
# where no debian:bookworm-slim is there, and none can be had, one is made by debootstrap.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
deb=$(realpath "${1:?usage: ${0##*/} FILE.deb}")
base=debian:bookworm-slim
bytes=$((64 << 20))

work=$(mktemp -d /var/tmp/skiff-docker.XXXXXX)
daemon=
compose=(docker-compose --project-name skiff-test --file "$work/context/docker/compose.yml")
export SKIFF_BUILDER=$base SKIFF_DEB=skiff.deb COMPOSE_DOCKER_CLI_BUILD=0 DOCKER_BUILDKIT=0

fail() {
    echo "FAILED: $*" >&2
    "${compose[@]}" logs --no-color --tail=15 router left right >&2 || true
    exit 1
}
step() {
    echo "== $*"
}
# Until a command succeeds: no step depends on how fast the machine is.
eventually() {
    local what=$1
    shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    fail "$what"
}

start_daemon() {
    # Docker changes the firewall and lets the kernel forward; its own daemon leaves both as they were.
    iptables-save >"$work/iptables"
    cat /proc/sys/net/ipv4/ip_forward >"$work/ip_forward"
    ip link show docker0 >/dev/null 2>&1 && touch "$work/had-docker0"
    export DOCKER_HOST=unix://$work/docker.sock
    dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
        >"$work/dockerd.log" 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        docker version >/dev/null 2>&1 && return
        kill -0 $daemon 2>/dev/null || break
        sleep 0.2
    done
    tail -20 "$work/dockerd.log" >&2
    echo "FAILED: dockerd does not start" >&2
    exit 1
}

stop_daemon() {
    kill $daemon && wait $daemon 2>/dev/null || true
    [ -e "$work/had-docker0" ] || ip link delete docker0 2>/dev/null || true
    iptables -P FORWARD ACCEPT
    for table in filter nat; do
        iptables -t $table -F
        iptables -t $table -X
    done
    iptables-restore <"$work/iptables"
    cat "$work/ip_forward" >/proc/sys/net/ipv4/ip_forward
    local mounts
    mounts=$(awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r)
    [ -z "$mounts" ] || umount -l $mounts
}

cleanup() {
    local status=$?
    "${compose[@]}" down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
    [ -z "$daemon" ] || stop_daemon
    rm -rf "$work"
    exit $status
}
trap cleanup EXIT

make_base() {
    step "no $base: made by debootstrap"
    debootstrap --variant=minbase bookworm "$work/base" >"$work/log" 2>&1 || { tail -5 "$work/log"; fail debootstrap; }
    # Where packages come from here, they come from there.
    rm -f "$work/base/etc/apt/sources.list"
    cp -r /etc/apt/sources.list* "$work/base/etc/apt/"
    find "$work/base/etc/apt" -name '*.list' -delete
    find "$work/base/etc/apt/sources.list.d" -name '*.sources' ! -exec grep -q debian.org {} \; -delete
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/* \
        "$work"/base/usr/share/{doc,man,locale}/*
    tar -C "$work/base" -c . | docker import -c 'CMD ["bash"]' - $base >/dev/null
    rm -rf "$work/base"
}

docker version >/dev/null 2>&1 || start_daemon
docker image inspect $base >/dev/null 2>&1 || timeout 60 docker pull -q $base >/dev/null 2>&1 || make_base

step "build"
mkdir "$work/context"
cp -r "$here"/{docker,packaging,configs,.dockerignore} "$work/context/"
cp "$deb" "$work/context/skiff.deb"
docker build -q -f "$work/context/docker/Dockerfile" --build-arg BUILDER=$base --build-arg DEB=skiff.deb -t skiff \
    "$work/context" >"$work/log" 2>&1 || { tail -30 "$work/log"; fail "docker build"; }
"${compose[@]}" build -q >"$work/log" 2>&1 || { tail -30 "$work/log"; fail "compose build"; }
size() {
    docker image inspect -f '{{.Size}}' "$1" | awk '{ printf "%.0f MB\n", $1 / 1e6 }'
}
echo "image: $(size skiff), of which $base $(size $base)"

step "up"
"${compose[@]}" up -d >"$work/log" 2>&1 || { cat "$work/log"; fail "compose up"; }
router=$("${compose[@]}" ps -q router)
eventually "the router is not healthy" \
    sh -c "[ \"\$(docker inspect -f '{{.State.Health.Status}}' $router)\" = healthy ]"
started=$(date -d "$(docker inspect -f '{{.State.StartedAt}}' "$router")" +%s%3N)
ready=$(docker logs -t "$router" 2>&1 | awk '/skiff: ready/ { print $1; exit }')
echo "ready $(($(date -d "$ready" +%s%3N) - started)) ms after the start of the container"
echo "powers: $(docker inspect -f '{{.HostConfig.CapAdd}}' "$router"), all others dropped"

step "ping"
on() {
    docker exec "$("${compose[@]}" ps -q "$1")" "${@:2}"
}
eventually "the right host does not answer" on left ping -c 1 -W 1 172.30.2.10
on left ping -q -c 20 -i 0.05 -W 2 172.30.2.10 | tee "$work/ping" | tail -2
grep -q '20 received, 0%' "$work/ping" || fail "pings are lost"
! grep -q duplicates "$work/ping" || fail "somebody beside the router answers"
# Nothing answers it, so the command fails.
{ on left ping -c 1 -t 1 172.30.2.10 || true; } >"$work/ttl"
grep -q 'From 172.30.1.254.*Time to live exceeded' "$work/ttl" || fail "it is not skiff that routes"

step "TCP"
on left sh -c "head -c $bytes /dev/urandom >/tmp/sent"
docker exec -d "$("${compose[@]}" ps -q right)" sh -c 'nc -l 5001 >/tmp/got; touch /tmp/done'
eventually "nc does not listen" on right sh -c "ss -ltn | grep -q :5001"
on left sh -c 'nc -N 172.30.2.10 5001 </tmp/sent'
eventually "the file does not arrive" on right test -e /tmp/done
[ "$(on left sha256sum </dev/null /tmp/sent | cut -d' ' -f1)" = "$(on right sha256sum /tmp/got | cut -d' ' -f1)" ] ||
    fail "the file is not the same"
echo "$((bytes >> 20)) MiB, the same at both ends"
on left iperf3 -c 172.30.2.10 -t 2 | grep -E 'sender|receiver' || fail "iperf3"

step "metrics"
prometheus=$("${compose[@]}" ps -q prometheus)
query() {
    docker exec "$prometheus" promtool query instant http://127.0.0.1:9090 "$1"
}
eventually "Prometheus has no scrape" sh -c "docker exec $prometheus promtool query instant http://127.0.0.1:9090 \
    'skiff_port_receive_packets_total{port=\"left\"} > 1000' | grep -q left"
query 'skiff_port_receive_packets_total'
[ -z "$(query 'ALERTS{alertstate="firing"}')" ] || fail "an alert fires: $(query ALERTS)"
query 'skiff_accounting_imbalance_packets'

step "commands"
docker exec "$router" skiff ip route | grep -q '172.30.2.0/24 dev right' || fail "skiff ip route"
docker exec "$router" skiff healthcheck >/dev/null || fail "skiff healthcheck"

step "self-benchmark: no privilege at all"
"${compose[@]}" run --rm self-benchmark | tee "$work/benchmark" | tail -5
grep -q cycles "$work/benchmark" || fail "no figures"
docker run --rm --network none --cap-drop ALL --user 65534:65534 --read-only --tmpfs /run:uid=65534 \
    --security-opt no-new-privileges -v "$here/configs/null.toml:/null.toml:ro" --name skiff-test-null -d skiff \
    run -c /null.toml --socket /run/skiff.sock >/dev/null
eventually "the router over net_null is not healthy" docker exec skiff-test-null skiff --socket /run/skiff.sock healthcheck
docker stop -t 10 skiff-test-null >/dev/null

step "down"
docker stop -t 10 "$router" >/dev/null
docker logs "$router" 2>&1 | grep '^skiff: stopped: ' | grep 'pools full' || fail "no closing balance"
"${compose[@]}" down --volumes --timeout 5 >/dev/null 2>&1
[ -z "$(docker ps -aq --filter name=skiff-test)$(docker network ls -q --filter name=skiff-test)" ] ||
    fail "containers or networks are left"
echo "ok"
