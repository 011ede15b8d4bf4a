#!/bin/bash
# What the kernel's htb does: packets a second of one CPU from trafgen over a veth pair, without a queueing discipline
# and with an htb of 3 levels and 48 leaves, in turns. Prints both and the cycles of a packet between them; set them
# beside `skiff bench htb`.
#
#   benches/compare/kernel_htb.sh           # ROUNDS=3 rounds of SECONDS_A_ROUND=3
set -euo pipefail
shopt -s inherit_errexit

rounds=${ROUNDS:-3}
seconds=${SECONDS_A_ROUND:-3}
cpu=${CPU:-1}
from=skb$$a to=skb$$b
work=$(mktemp -d)
cleanup() {
    ip netns del "$from" 2>/dev/null || true
    ip netns del "$to" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
command -v trafgen >/dev/null || { echo "${0##*/}: trafgen is missing: run scripts/install-deps.sh bench" >&2; exit 1; }

ip netns add "$from"
ip netns add "$to"
ip link add e0 netns "$from" type veth peer name e0 netns "$to"
ip -n "$from" link set e0 up
ip -n "$to" link set e0 up

# 60 bytes: Ethernet, IPv4, UDP to 48 ports in turn.
cat >"$work/packet" <<'P'
{ eth(da=02:00:00:00:00:02, sa=02:00:00:00:00:01), ipv4(saddr=10.0.0.1, daddr=10.0.0.2), udp(sp=9, dp=dinc(5000, 5047)), fill(0, 18) }
P

shape() {
    local leaf
    {
        echo "qdisc add dev e0 root handle 1: htb"
        echo "class add dev e0 parent 1: classid 1:1 htb rate 40gbit"
        for inner in 2 3 4 5 6 7; do echo "class add dev e0 parent 1:1 classid 1:$inner htb rate 40gbit"; done
        # One lookup by the last byte of the port, not 48 comparisons.
        echo "filter add dev e0 parent 1: prio 1 handle 1: protocol ip u32 divisor 256"
        for ((leaf = 0; leaf < 48; leaf++)); do
            printf 'class add dev e0 parent 1:%x classid 1:%x htb rate 400mbit ceil 40gbit\n' $((2 + leaf % 6)) $((0x100 + leaf))
            printf 'filter add dev e0 parent 1: prio 1 protocol ip u32 ht 1:%x: match ip dport %d 0xffff flowid 1:%x\n' \
                $(((5000 + leaf) & 255)) $((5000 + leaf)) $((0x100 + leaf))
        done
        echo "filter add dev e0 parent 1: prio 1 protocol ip u32 ht 800:: match u32 0 0 hashkey mask 0x000000ff at 20 link 1:"
    } >"$work/tc"
    tc -n "$from" -batch "$work/tc" 2>"$work/warnings" || { cat "$work/warnings" >&2; exit 1; }
}

received() { ip netns exec "$to" cat /sys/class/net/e0/statistics/rx_packets; }

# Packets a second that arrive while one trafgen sends as fast as it can.
rate() {
    local pid before after
    ip netns exec "$from" taskset -c "$cpu" trafgen -q -o e0 -P1 -i "$work/packet" >/dev/null 2>&1 &
    pid=$!
    sleep 1
    before=$(received)
    sleep "$seconds"
    after=$(received)
    pkill -KILL -P "$pid" || true
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    echo $(((after - before) / seconds))
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((round = 0; round < rounds; round++)); do
    rate >>"$work/without"
    shape
    rate >>"$work/with"
    # The namespace itself may say hello in IPv6.
    direct=$(tc -n "$from" -s qdisc show dev e0 | grep -o 'direct_packets_stat [0-9]*' | cut -d' ' -f2)
    [ "$direct" -lt 100 ] || { echo "${0##*/}: $direct packets went unshaped" >&2; exit 1; }
    tc -n "$from" qdisc del dev e0 root
done
without=$(median <"$work/without") with=$(median <"$work/with")
hz=$(awk '/^cpu MHz/ { print $4; exit }' /proc/cpuinfo)
awk -v a="$without" -v b="$with" -v mhz="$hz" 'BEGIN {
    printf "kernel: %d packets/s without, %d with htb (3 levels, 48 leaves): %.0f cycles a packet between them\n",
        a, b, mhz * 1e6 * (1 / b - 1 / a)
}'
