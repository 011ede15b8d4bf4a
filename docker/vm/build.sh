#!/bin/bash
# Builds a disk image that boots into a skiff router: Debian packages and skiff's own, nothing else.
#
#   docker/vm/build.sh SKIFF.deb [IMAGE.qcow2]           (default: target/vm/skiff.qcow2)
#
# Run as root, for debootstrap and for the owners of the files. The image is put together as a plain file: nothing is
# mounted from it and no loop device is used, so a container will do.
#
#   VM_MIRROR  Debian mirror (http://deb.debian.org/debian)
#   VM_SUITE   Debian release (bookworm)
#   VM_SIZE    size of the disk (4G); the root file system grows to a larger one when it boots
#   VM_WORK    where the file system is built and kept for the next time (target/vm)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
mirror=${VM_MIRROR:-http://deb.debian.org/debian}
suite=${VM_SUITE:-bookworm}
size=${VM_SIZE:-4G}
work=${VM_WORK:-${CARGO_TARGET_DIR:-$top/target}/vm}
deb=${1:-}
image=${2:-$work/skiff.qcow2}

# linux-image-cloud-amd64 would be smaller and lacks the drivers of Intel's NICs, so a NIC could not be given back.
packages=(linux-image-amd64 initramfs-tools zstd systemd-sysv systemd-resolved systemd-timesyncd dbus udev kmod
    cloud-init cloud-guest-utils e2fsprogs openssh-server sudo ca-certificates iproute2 iputils-ping ethtool pciutils
    procps netbase less nano tcpdump)

# Where the parts of the disk begin, in sectors of 512 bytes.
bios_start=2048 bios_sectors=2048
esp_start=4096 esp_sectors=65536
root_start=$((esp_start + esp_sectors))
# What the boot loader and the kernel find the root file system by.
root_label=skiff-root

main() {
    if [ ! -f "$deb" ]; then
        echo "usage: ${0##*/} SKIFF.deb [IMAGE.qcow2]" >&2
        exit 2
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "${0##*/}: needs root" >&2
        exit 1
    fi
    mkdir -p "$work" "$(dirname "$image")"
    scratch=$(mktemp -d "$work/build.XXXXXX")
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    root=$scratch/root
    raw=$scratch/disk.raw

    base_system
    install_skiff
    make_disk
    qemu-img convert -O qcow2 -c "$raw" "$image.new"
    mv "$image.new" "$image"
    echo "$image: $(du -h "$image" | cut -f1), disk $size"
}

# Debian with everything but skiff. It is kept as an archive as long as what goes into it stays the same.
base_system() {
    local key base
    key=$( (
        cat "$here"/files/*
        declare -f base_system settings
        echo "$mirror $suite ${packages[*]}"
    ) | sha256sum | cut -c1-16)
    base=$work/base-$key.tar.zst
    mkdir "$root"
    if [ -f "$base" ]; then
        tar -C "$root" --numeric-owner --xattrs -xf "$base"
        return
    fi
    debootstrap --variant=minbase "$suite" "$root" "$mirror"
    quiet_services
    settings
    in_root apt-get -q update
    in_root apt-get -q install -y --no-install-recommends "${packages[@]}"
    in_root systemctl enable systemd-networkd systemd-resolved
    in_root systemctl disable e2scrub_reap.service
    # What every machine must make for itself: keys, and the name others know it by.
    rm -f "$root"/etc/ssh/ssh_host_*
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id"
    in_root apt-get clean
    rm -f "$work"/base-*.tar.zst
    tar -C "$root" --numeric-owner --xattrs -c . | zstd -q -3 -T0 -o "$base.new"
    mv "$base.new" "$base"
}

# Before any package, because some read these files when they are installed.
settings() {
    install -d "$root/etc/default" "$root/etc/initramfs-tools" "$root/etc/cloud/cloud.cfg.d" "$root/boot/grub" "$root/etc/dpkg/dpkg.cfg.d"
    install -m 644 "$here/files/grub.cfg" "$root/boot/grub/grub.cfg"
    install -m 644 "$here/files/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/90-skiff.cfg"
    install -m 644 "$here/files/initramfs-modules" "$root/etc/initramfs-tools/modules"
    install -m 644 "$here/files/dpkg.cfg" "$root/etc/dpkg/dpkg.cfg.d/90-skiff"
    install -m 644 -D "$here/files/wait-online.conf" \
        "$root/etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf"
    install -d "$root/etc/initramfs-tools/conf.d"
    echo MODULES=list >"$root/etc/initramfs-tools/conf.d/skiff"
    echo "LABEL=$root_label / ext4 defaults,discard 0 1" >"$root/etc/fstab"
    echo LANG=C.UTF-8 >"$root/etc/default/locale"
    echo skiff >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 skiff\n::1 localhost\n' >"$root/etc/hosts"
    {
        echo "deb $mirror $suite main"
        echo "deb $mirror $suite-updates main"
        echo "deb http://deb.debian.org/debian-security $suite-security main"
    } >"$root/etc/apt/sources.list"
}

install_skiff() {
    quiet_services
    cp "$deb" "$root/tmp/skiff.deb"
    in_root apt-get -q update
    in_root apt-get -q install -y --no-install-recommends /tmp/skiff.deb
    in_root systemctl enable skiff-bind.service skiff.service
    in_root apt-get clean
    rm -rf "$root/tmp/skiff.deb" "$root"/var/lib/apt/lists/* "$root/usr/sbin/policy-rc.d" "$root"/var/log/*.log
    # systemd-resolved's, which is there once it runs. Until here the build needed a real one.
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
}

# Nothing is to be started while it is installed.
quiet_services() {
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    rm -f "$root/etc/resolv.conf"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}

in_root() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" chroot "$root" "$@"
}

# GPT with a BIOS boot partition, an EFI one and the root file system, so that either firmware can start it.
make_disk() {
    truncate -s "$size" "$raw"
    # The copy of the table at the end has 33 sectors; a whole MiB keeps the end aligned.
    local root_sectors=$(($(stat -c %s "$raw") / 512 - 2048 - root_start))
    sfdisk -q "$raw" <<TABLE
label: gpt
start=$bios_start, size=$bios_sectors, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=$esp_start, size=$esp_sectors, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start=$root_start, size=$root_sectors, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
TABLE
    # GRUB of this release does not know the two features.
    mkfs.ext4 -q -F -L "$root_label" -O '^metadata_csum_seed,^orphan_file' -E "offset=$((root_start * 512))" \
        -d "$root" "$raw" $((root_sectors / 2))k
    grub_config
    bios_loader
    efi_loader
}

# All either loader has to know: where its configuration is.
grub_config() {
    cat >"$scratch/early.cfg" <<CFG
search --no-floppy --label --set=root $root_label
set prefix=(\$root)/boot/grub
configfile (\$root)/boot/grub/grub.cfg
CFG
}

grub_modules="part_gpt ext2 search search_label normal configfile linux serial terminal echo test boot minicmd"

# What grub-bios-setup does, which wants a block device: the first sector loads the first sector of the core image,
# and that one the rest. Both have the place they load from patched in.
bios_loader() {
    local pc=/usr/lib/grub/i386-pc
    # shellcheck disable=SC2086
    grub-mkimage -O i386-pc -o "$scratch/core.img" -p /boot/grub -c "$scratch/early.cfg" biosdisk $grub_modules
    if [ "$(stat -c %s "$scratch/core.img")" -gt $((bios_sectors * 512)) ]; then
        echo "${0##*/}: GRUB's core image does not fit its partition" >&2
        exit 1
    fi
    # Bytes 440 to 511 are the partition table's.
    put "$pc/boot.img" 0 440
    put "$scratch/core.img" $((bios_start * 512))
    le64 $bios_start | put /dev/stdin $((0x5c)) 8
    le64 $((bios_start + 1)) | put /dev/stdin $((bios_start * 512 + 0x1f4)) 8
}

# put FILE OFFSET [BYTES]: writes into the disk image.
put() {
    dd if="$1" of="$raw" bs=64k iflag=fullblock,count_bytes oflag=seek_bytes seek="$2" ${3:+count="$3"} \
        conv=notrunc status=none
}

# A number as eight bytes, the lowest first.
le64() {
    local n=$1 i
    for ((i = 0; i < 8; i++)); do
        # shellcheck disable=SC2059
        printf "\\x$(printf %02x $((n >> (8 * i) & 255)))"
    done
}

efi_loader() {
    # shellcheck disable=SC2086
    grub-mkimage -O x86_64-efi -o "$scratch/bootx64.efi" -p /boot/grub -c "$scratch/early.cfg" $grub_modules \
        efi_gop all_video
    local at="$raw@@$((esp_start * 512))"
    mkfs.vfat -F 16 -n ESP --offset="$esp_start" "$raw" $((esp_sectors / 2)) >/dev/null
    mmd -i "$at" ::/EFI ::/EFI/BOOT
    mcopy -i "$at" "$scratch/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
}

main
