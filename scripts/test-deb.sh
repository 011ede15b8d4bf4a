#!/bin/bash
# Installs the package in a clean Debian made for it and tries everything it brings: units, man pages, completion,
# the service from its start to its end, and the removal.
#
#   scripts/test-deb.sh skiff_VERSION_amd64.deb          as root
#
# SKIFF_SUITE is the Debian to make (bookworm), SKIFF_ROOT an already made one to copy instead of debootstrapping.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
deb=$(realpath "${1:?usage: ${0##*/} FILE.deb}")
suite=${SKIFF_SUITE:-bookworm}

work=$(mktemp -d /var/tmp/skiff-deb.XXXXXX)
root=$work/root
mount_all() {
    mount -t proc proc "$root/proc"
    mount --bind /sys "$root/sys"
    mount -o remount,bind,ro "$root/sys"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts"
    mount -t devpts devpts "$root/dev/pts"
    for node in null zero random urandom tty ptmx; do
        cp -a "/dev/$node" "$root/dev/"
    done
    ln -s /proc/self/fd "$root/dev/fd"
}
umount_all() {
    for mount in dev/pts dev proc run sys; do
        ! mountpoint -q "$root/$mount" || umount -l "$root/$mount"
    done
}
cleanup() {
    umount_all
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
step() {
    echo "== $*"
}
inside() {
    chroot "$root" env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

step "a clean $suite"
if [ -n "${SKIFF_ROOT:-}" ]; then
    cp -a "$SKIFF_ROOT" "$root"
else
    debootstrap --variant=minbase --include=systemd,man-db,bash-completion,python3-minimal,ca-certificates \
        "$suite" "$root" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; fail "debootstrap"; }
    # Where packages come from here, they come from there.
    rm -f "$root"/etc/apt/sources.list
    cp -r /etc/apt/sources.list* "$root/etc/apt/"
    # Debian's own sources are enough, and the others' keys are not there.
    find "$root/etc/apt" -name '*.list' -delete
    find "$root/etc/apt/sources.list.d" -name '*.sources' ! -exec grep -q 'debian.org\|Suites: .*'"$suite" {} \; -delete
fi
mount_all
# Daemons do not start here by themselves; the manager of this system is not this system's.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
# Man pages and documentation are wanted.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/*
inside dpkg --get-selections | sort >"$work/packages.before"
snapshot() {
    (cd "$root" && find . -xdev \( -path ./var/cache -o -path ./var/log -o -path ./var/lib/apt -o -path ./var/lib/dpkg \
        -o -path ./tmp -o -path ./root \) -prune -o -print | sort)
}
snapshot >"$work/files.before"
inside getent group | sort >"$work/groups.before"

step "install"
cp "$deb" "$root/tmp/skiff.deb"
inside apt-get -qq update
inside apt-get -qq install -y --no-install-recommends /tmp/skiff.deb >"$work/log" 2>&1 || { cat "$work/log"; fail "apt install"; }
inside skiff --version
echo "package: $(stat -c %s "$deb") bytes, $(inside dpkg-query -W -f '${Installed-Size}' skiff) KiB installed"
echo "depends: $(inside dpkg-query -W -f '${Depends}' skiff)"
inside dpkg-query -W -f '${Conffiles}\n' skiff | grep -q /etc/skiff/skiff.toml || fail "skiff.toml is no conffile"
inside getent group skiff >/dev/null || fail "no group skiff"
inside test -L /etc/systemd/system/multi-user.target.wants/skiff.service || fail "the service is not enabled"
! inside ldd /usr/bin/skiff | grep -i 'rte_\|not found' || fail "the binary is not self-contained"

step "units"
inside sh -c 'systemd-analyze verify /lib/systemd/system/skiff*.service' >"$work/verify" 2>&1 || true
cat "$work/verify"
! grep -q skiff "$work/verify" || fail "systemd-analyze verify complains"
inside systemd-analyze security --offline=yes /lib/systemd/system/skiff.service | tail -1

step "configuration"
inside skiff config check /etc/skiff/skiff.toml
for example in "$root"/usr/share/doc/skiff/examples/*.toml; do
    inside skiff config check "${example#"$root"}" >/dev/null
done

step "man pages"
for page in skiff skiff-run skiff-config-check skiff-tc skiff-doctor skiff.toml; do
    inside man --warnings "$page" >"$work/page" 2>"$work/warnings" </dev/null || fail "man $page"
    [ "$(wc -l <"$work/page")" -gt 10 ] || fail "man $page is empty"
    [ ! -s "$work/warnings" ] || { cat "$work/warnings"; fail "man $page has warnings"; }
done
echo "$(find "$root/usr/share/man" -name 'skiff*' | wc -l) pages"

step "service"
"$here/test-deb-service.py" "$root"

step "doctor"
inside skiff doctor || fail "skiff doctor finds a failure in a system that runs"
inside skiff doctor -j | python3 -c 'import json, sys; assert all(f["level"] in ("ok", "warn") for f in json.load(sys.stdin))'

step "booted"
umount_all
mkdir "$root/etc/systemd/system/skiff.service.d"
printf '[Service]\nWatchdogSec=4\n' >"$root/etc/systemd/system/skiff.service.d/test.conf"
install -m 755 "$here/test-deb-boot.sh" "$root/root/boot.sh"
cat >"$root/etc/systemd/system/boot-test.service" <<UNIT
[Service]
Type=idle
ExecStart=/root/boot.sh
UNIT
ln -s ../boot-test.service "$root/etc/systemd/system/multi-user.target.wants/boot-test.service"
# EAL looks for modules, and systemd-nspawn shows only a part of /sys.
timeout 180 systemd-nspawn --quiet --directory "$root" --machine skiff-test-$$ --register=no --keep-unit \
    --private-network --bind-ro=/sys/module --boot >"$work/console" 2>&1 </dev/null || true
if [ -s "$root/root/boot.log" ]; then
    cat "$root/root/boot.log"
    [ "$(tail -1 "$root/root/boot.log")" = ok ] || fail "in a booted system"
else
    # Needs cgroups that a container of this machine may not have.
    echo "not tried: systemd-nspawn does not boot here: $(tail -1 "$work/console")"
fi
rm -r "$root"/etc/systemd/system/{skiff.service.d,boot-test.service,multi-user.target.wants/boot-test.service}
mount_all

step "purge"
inside apt-get -qq purge -y skiff >/dev/null
inside apt-get -qq autoremove --purge -y >/dev/null 2>&1
inside dpkg --get-selections | sort >"$work/packages.after"
snapshot >"$work/files.after"
inside getent group | sort >"$work/groups.after"
diff "$work/packages.before" "$work/packages.after" || fail "packages are left"
# What other packages and the tools themselves write is not ours, nor are the private directories for temporary files that
# systemd removes at the next boot.
left=$(comm -13 "$work/files.before" "$work/files.after" | grep -v systemd-private- | grep -i skiff || true)
[ -z "$left" ] || fail "left behind: $left"
diff "$work/groups.before" "$work/groups.after" || fail "the group is left"

echo "ok"
