#!/bin/sh
# host ROUTER NETWORK...: reaches the networks by the router, and serves iperf3.
set -eu

router=$1
shift
for network in "$@"; do
    ip route replace "$network" via "$router"
done
# The router sees a frame before a NIC would have put in its checksum, so the sender has to.
ethtool -K eth0 tx off >/dev/null
exec iperf3 --server
