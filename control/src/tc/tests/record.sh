#!/bin/bash
# Records transcripts of the installed tc and this machine's kernel: runs the lines that begin with "$ " of each file given
# in a network namespace of its own, with the devices d0 and d1, and writes what was printed and the exit codes below them.
# The usage texts, which are not ours, are left out, and so is the number of transmit queues. Needs root.
set -eu
for file in "$@"; do
    ns="tcrec$$"
    ip netns add "$ns"
    trap 'ip netns del "$ns"' EXIT
    ip -n "$ns" link add d0 type veth peer name d1
    ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$ns" link set d0 up
    ip -n "$ns" link set d1 up
    out=$(mktemp)
    while IFS= read -r line; do
        case "$line" in
            "#"*) echo "$line" ;;
            "\$ "*)
                echo "$line"
                set +e
                text=$(eval "ip netns exec $ns tc ${line#\$ tc }" 2>&1; echo "=> $?")
                set -e
                printf '%s\n' "$text" | sed 's/refcnt 3/refcnt 2/; s/"refcnt":3/"refcnt":2/' |
                    grep -v $'^Usage\\|^\t\\|^  *\\[\\|^\\.\\.\\.\\|^ [a-z_]*  *[A-Za-z{].*[^0-9:] *$\\|^TC HTB\\|^$\\|^ offload\\|^ r2q  ' || true
                ;;
        esac
    done < "$file" > "$out"
    cat "$out" > "$file"
    rm "$out"
    ip netns del "$ns"
    trap - EXIT
done
