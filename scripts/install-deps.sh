#!/bin/bash
# Installs the Debian packages that a group of tasks needs, and nothing if they are all there.
#
#   scripts/install-deps.sh [--list] [build|demo|test|package|package-test|docker|bench|fuzz|vm]      (default: build)
#
# --list prints what is missing and installs nothing; exit 1 if anything is.
# Needs root or sudo only when something is missing.
set -euo pipefail

# libdpdk-dev depends on every driver, and on the -dev packages of every library a static link asks for.
build=(gcc libc6-dev make pkg-config libclang-dev libdpdk-dev)
# What `skiff demo` builds its two hosts with.
demo=(iproute2 iputils-ping iperf3 ethtool)
# Peers and referees of the black-box tests. dpdk-dev has testpmd, prometheus has promtool.
test=(dpdk-dev iptables ipset nftables traceroute tcpdump python3-scapy curl prometheus util-linux procps
    openvswitch-switch)
# cargo-deb asks dpkg-shlibdeps which packages the binary needs.
package=(dpkg-dev)
# A clean system to install the package in.
package_test=(debootstrap systemd-container python3-minimal util-linux)
# Containers, and an image to begin with where no registry is in reach.
docker=(docker.io docker-compose debootstrap)
# What the disk image is put together with, and what boots it. igb is a model of QEMU 8 and later, which bookworm has in
# its backports; with QEMU 7.2 only that test fails.
vm=(debootstrap fdisk dosfstools e2fsprogs mtools grub-pc-bin grub-efi-amd64-bin qemu-utils zstd
    qemu-system-x86 genisoimage openssh-client)
bench=(dpdk-dev python3-minimal util-linux)

list_only=
if [ "${1:-}" = --list ]; then
    list_only=1
    shift
fi
group=${1:-build}
case $group in
build) wanted=("${build[@]}") ;;
demo) wanted=("${build[@]}" "${demo[@]}") ;;
test) wanted=("${build[@]}" "${demo[@]}" "${test[@]}") ;;
package) wanted=("${build[@]}" "${package[@]}") ;;
package-test) wanted=("${package_test[@]}") ;;
docker) wanted=("${docker[@]}") ;;
bench) wanted=("${build[@]}" "${bench[@]}") ;;
vm) wanted=("${build[@]}" "${demo[@]}" "${vm[@]}") ;;
fuzz) wanted=("${build[@]}" g++) ;;
*)
    echo "usage: ${0##*/} [--list] [build|demo|test|package|package-test|docker|bench|fuzz|vm]" >&2
    exit 2
    ;;
esac

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} = 0 ]; then
    exit 0
fi
if [ -n "$list_only" ]; then
    printf '%s\n' "${missing[@]}"
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "${0##*/}: these packages are missing, and installing them needs root or sudo: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
# env, because sudo drops the environment.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q)

# A daemon that arrives with a package (prometheus, Open vSwitch) must not be started: the policy file tells dpkg so, for
# as long as this script runs.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '"${as_root[@]}" rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
fi

echo "installing: ${missing[*]}"
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}"
# Nor at the next boot: the tests want promtool and a switch of their own, not servers.
for daemon in prometheus openvswitch-switch; do
    if command -v systemctl >/dev/null && [[ " ${missing[*]} " == *" $daemon "* ]]; then
        "${as_root[@]}" systemctl disable $daemon >/dev/null 2>&1 || true
    fi
done
