#!/bin/bash
# Forwarding cost of skiff beside Debian's dpdk-testpmd, in TSC cycles of worker CPU time a packet.
#
#   benches/compare/run.sh                          # ROUNDS=5 rounds of SECONDS=3, all cases
#   CASES="1flow 65kflows" ROUNDS=9 benches/compare/run.sh
#   HUGEPAGES=512 benches/compare/run.sh            # reserves 2 MiB pages and puts the old number back
#
# Both read the same frames, net_pcap (infinite_rx) -> net_null, in turns: A/B/A/B. What the generator costs by
# itself is measured in the same round (testpmd: rxonly) and subtracted. testpmd's `mac` mode only rewrites MAC
# addresses, so it is the floor, not an equal: no lookup, no checksum, no counters, no neighbour.
#
# CPU time, not wall time: other users of the CPU do not count. Compare ratios; absolute numbers are of one machine.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

cases=(${CASES:-1flow 1024flows 65kflows 1mroutes})
rounds=${ROUNDS:-5}
seconds=${SECONDS_A_ROUND:-3}
cpu=${CPU:-1}
target=${CARGO_TARGET_DIR:-target}
skiff=${SKIFF_BIN:-$target/release/skiff}
pages_file=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# Set by the first run of skiff, which takes hugepages if they are usable; testpmd follows it.
memory=() mode=
work=$(mktemp -d)
pages_before=
testpmd_pid=
cleanup() {
    [ -z "$testpmd_pid" ] || kill -KILL "$testpmd_pid" 2>/dev/null || true
    [ -z "$pages_before" ] || echo "$pages_before" >$pages_file
    rm -rf "$work" "/run/dpdk/cmp$$"
}
trap cleanup EXIT

[ -x "$skiff" ] || { echo "${0##*/}: $skiff: not there: run \`make release\`, or set SKIFF_BIN" >&2; exit 1; }
command -v dpdk-testpmd >/dev/null || { echo "${0##*/}: dpdk-testpmd is missing: run scripts/install-deps.sh bench" >&2; exit 1; }
if [ -n "${HUGEPAGES:-}" ]; then
    pages_before=$(<$pages_file)
    echo "$HUGEPAGES" >$pages_file
    [ "$(<$pages_file)" -ge "$HUGEPAGES" ] || { echo "${0##*/}: the kernel gave only $(<$pages_file) of $HUGEPAGES pages" >&2; exit 1; }
fi
# The process answers at its prompt; each answer ends in the next one.
ask() {
    local line prompts
    prompts=$(grep -ac 'testpmd> ' "$work/log" || true)
    printf '%s\n' "$1" >&"$prompt"
    for ((line = 0; line < 600; line++)); do
        [ "$(grep -aoc 'testpmd> ' "$work/log" || true)" -gt "$prompts" ] && return
        sleep 0.1
    done
    echo "testpmd did not answer: $1" >&2
    tail -5 "$work/log" >&2
    return 1
}

worker_cpu_ns() {
    local task
    for task in /proc/"$testpmd_pid"/task/*; do
        if [[ "$(<"$task/comm")" == *-worker-1 ]]; then
            cut -d' ' -f1 "$task/schedstat"
            return
        fi
    done
}

# testpmd MODE PCAP: cycles a packet. Its worker sleeps in a read before `start` and after `stop`, so the CPU time
# between the two is that of the forwarding loop.
testpmd_cycles() {
    mkfifo "$work/in"
    : >"$work/log"
    stdbuf -o0 dpdk-testpmd --lcores "0@$((cpu == 0 ? 1 : 0)),1@$cpu" "${memory[@]}" --no-pci --no-telemetry \
        --file-prefix "cmp$$" --log-level=lib.eal:debug \
        --vdev "net_pcap0,rx_pcap=$2,infinite_rx=1" --vdev net_null0 \
        -- -i --no-flush-rx --total-num-mbufs=180000 --forward-mode="$1" <"$work/in" >"$work/log" 2>&1 &
    testpmd_pid=$!
    exec {prompt}>"$work/in"
    for ((i = 0; i < 600; i++)); do grep -aq 'testpmd> ' "$work/log" && break; sleep 0.1; done
    local before after packets
    before=$(worker_cpu_ns)
    ask start
    sleep "$seconds"
    ask stop
    after=$(worker_cpu_ns)
    packets=$(grep -a -A2 'Accumulated forward statistics' "$work/log" | grep -aoE 'RX-packets: [0-9]+' | grep -oE '[0-9]+')
    local tsc_khz
    tsc_khz=$(grep -aoE 'TSC frequency is ~[0-9]+' "$work/log" | grep -oE '[0-9]+$')
    printf 'quit\n' >&"$prompt"
    exec {prompt}>&-
    wait "$testpmd_pid" || true
    testpmd_pid=
    rm -f "$work/in"
    [ -n "$packets" ] && [ "$((after - before))" -gt 0 ] || { echo "testpmd $1 measured nothing" >&2; tail -20 "$work/log" >&2; return 1; }
    awk -v khz="$tsc_khz" -v ns="$((after - before))" -v packets="$packets" \
        'BEGIN { printf "%.2f\n", khz * 1e3 * ns / 1e9 / packets }'
}

# skiff_cycles CASE: "total generator net" of one run, each the median of its own interleaved slices.
skiff_cycles() {
    "$skiff" bench forward --case "$1" --seconds "$seconds" --cpu "$cpu" --pcap "$work/$1.pcap" -j >"$work/skiff.json"
    python3 -c 'import json, sys; r = json.load(sys.stdin)
print(*(r[k]["median"] for k in ("total", "generator", "cycles_per_packet")), r["hugepages"])' <"$work/skiff.json"
}

# follow_memory True|False: testpmd's memory arguments as skiff's choice was.
follow_memory() {
    local now="no hugepages"
    memory=(--no-huge -m 768 --no-shconf)
    [ "$1" = True ] && now=hugepages memory=(--in-memory)
    [ "$now" = "$mode" ] || echo "memory: $now"
    mode=$now
}

# median and minimum of numbers on standard input
spread() {
    sort -n | awk '{ a[NR] = $1 } END { printf "%7.1f %7.1f", NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2, a[1] }'
}

echo "$(uname -m), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), load $(cut -d' ' -f1 /proc/loadavg), $rounds rounds of $seconds s"
echo "TSC cycles a packet, one worker: median and minimum over the rounds; net of the generator"
printf '%-10s | %-15s | %-15s | %-15s | %-15s\n' case 'skiff' 'skiff net' 'testpmd mac' 'testpmd net'
for case in "${cases[@]}"; do
    rm -f "$work"/*.txt
    for ((round = 0; round < rounds; round++)); do
        figures=$(skiff_cycles "$case")
        read -r total _ net huge <<<"$figures"
        follow_memory "$huge"
        generator=$(testpmd_cycles rxonly "$work/$case.pcap")
        mac=$(testpmd_cycles mac "$work/$case.pcap")
        echo "$total" >>"$work/skiff.txt"
        echo "$net" >>"$work/skiff-net.txt"
        echo "$mac" >>"$work/mac.txt"
        awk -v a="$mac" -v b="$generator" 'BEGIN { print a - b }' >>"$work/mac-net.txt"
    done
    printf '%-10s | %s | %s | %s | %s\n' "$case" "$(spread <"$work/skiff.txt")" "$(spread <"$work/skiff-net.txt")" \
        "$(spread <"$work/mac.txt")" "$(spread <"$work/mac-net.txt")"
done
