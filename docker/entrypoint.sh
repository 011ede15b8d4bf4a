#!/bin/sh
# Runs skiff with the arguments of the container.
#
# SKIFF_PORTS="left=172.30.1.254 right=172.30.2.254": first the interfaces that Docker gave these addresses get these
# names, because their order, eth0, eth1, is not certain; and the kernel loses the addresses, so that only skiff answers.
set -eu

interface_of() {
    # 2: eth0    inet 172.30.1.254/24 ...
    set -- $(ip -o -4 addr show to "$1")
    echo "${2-}"
}

for port in ${SKIFF_PORTS-}; do
    name=${port%%=*} address=${port#*=}
    tries=0
    interface=$(interface_of "$address")
    while [ -z "$interface" ]; do
        tries=$((tries + 1))
        if [ $tries = 100 ]; then
            echo "skiff-container: no interface has $address" >&2
            exit 1
        fi
        sleep 0.1
        interface=$(interface_of "$address")
    done
    ip addr flush dev "$interface"
    ip link set "$interface" down
    ip link set "$interface" name "$name"
    ip link set "$name" up
done

exec skiff "$@"
