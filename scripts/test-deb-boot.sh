#!/bin/bash
# Runs inside a booted system: what systemd makes of skiff.service. Lines to /root/boot.log, the last one "ok" if all is
# well, and then the system goes down.
exec >/root/boot.log 2>&1

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --full skiff
    journalctl --no-pager -u skiff | tail -30
    systemctl poweroff --force
    exit 1
}
eventually() {
    for _ in $(seq 300); do
        "${@:2}" >/dev/null 2>&1 && return
        sleep 0.2
    done
    fail "$1"
}
config=/etc/skiff/skiff.toml

# The package enabled it, so the boot has started it.
eventually "the service does not become active" systemctl is-active skiff
echo "   started at boot: $(systemctl show -P StatusText -P ActiveState -P Type skiff | xargs)"
skiff healthcheck >/dev/null || fail "healthcheck"
[ "$(stat -c '%a %U %G' /run/skiff/skiff.sock)" = "660 root skiff" ] || fail "the socket is not the group's"
pid=$(systemctl show -P MainPID skiff)
echo "   capabilities: $(awk '/CapBnd/ { print $2 }' "/proc/$pid/status")"

systemctl reload skiff || fail "reload"
eventually "not active after a reload" systemctl is-active skiff
echo 'mistake = 1' >>$config
! systemctl reload skiff || fail "a reload with a mistake succeeds"
[ "$(systemctl show -P MainPID skiff)" = "$pid" ] || fail "a mistake in the file ended the router"
skiff healthcheck >/dev/null || fail "healthcheck after a refused reload"
echo "   reload, and a reload with a mistake that changes nothing"

! systemctl restart skiff || fail "a start with a mistake succeeds"
[ "$(systemctl show -P NRestarts skiff)" = 0 ] && [ "$(systemctl is-active skiff)" = failed ] || fail "it is tried again"
journalctl -u skiff | grep -q 'skiff.toml:[0-9]*:[0-9]*: ' || fail "the journal does not say where the mistake is"
sed -i '$d' $config
systemctl restart skiff || fail "start"
echo "   a start with a mistake, said once and not tried again"

# The whole process stands still: no feeds, and the manager starts another.
pid=$(systemctl show -P MainPID skiff)
kill -STOP "$pid"
eventually "the watchdog does not bite" sh -c "[ \$(systemctl show -P NRestarts skiff) = 1 ]"
eventually "not active after the watchdog" systemctl is-active skiff
echo "   the watchdog starts another"

systemctl stop skiff || fail "stop"
journalctl -u skiff | grep -q 'skiff: stopped: .*pools full' || fail "no closing balance"
[ "$(systemctl show -P Result skiff)" = success ] || fail "the stop is no success"
echo "   stop"
echo ok
systemctl poweroff --force
