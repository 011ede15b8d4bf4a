#!/usr/bin/env python3
"""Runs ExecStart of skiff.service in a chroot as the service manager would, and listens as it does.

test-deb-service.py ROOT

Looked for: READY=1, then WATCHDOG=1 while it runs and none once a worker is stopped, a reload that says RELOADING=1 and
READY=1, completion in bash by the names of the running router, and STOPPING=1 and exit code 0 at SIGTERM.
"""

import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = sys.argv[1]
UNIT = f"{ROOT}/lib/systemd/system/skiff.service"
WATCHDOG_SECONDS = 4
PATIENCE = 30

CONFIG = """\
[system]
lcores = "{cpu}"
memory = "128M"
hugepages = "off"
[metrics]
listen = "127.0.0.1:9477"
[interface.lan0]
device = "vdev:net_ring0"
addresses = ["10.0.0.1/24"]
[interface.wan0]
device = "vdev:net_ring1"
addresses = ["10.0.1.1/24"]
[traffic-control]
commands = '''
qdisc add dev wan0 root handle 1: htb default 20
class add dev wan0 parent 1: classid 1:1 htb rate 100mbit
class add dev wan0 parent 1:1 classid 1:10 htb rate 30mbit ceil 100mbit
class add dev wan0 parent 1:1 classid 1:20 htb rate 70mbit ceil 100mbit
'''
"""


def check(what, fine):
    if not fine:
        sys.exit(f"FAILED: {what}")
    print(f"   {what}", flush=True)


class Manager:
    """The end of NOTIFY_SOCKET where systemd is."""

    def __init__(self):
        path = f"{ROOT}/run/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o777)
        self.heard = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            for line in self.socket.recv(4096).decode().splitlines():
                self.heard.append((time.monotonic(), line))

    def count(self, line, since=0.0):
        return sum(1 for at, heard in list(self.heard) if heard == line and at >= since)

    def wait(self, line, since=0.0, process=None):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.count(line, since):
                return True
            if process and process.poll() is not None:
                return False
            time.sleep(0.02)
        return False


def inside(command):
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(["chroot", ROOT] + command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def exec_start():
    with open(UNIT, encoding="utf-8") as unit:
        return re.search(r"^ExecStart=(.*)$", unit.read(), re.M).group(1).split()


def start(manager, watchdog):
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify"} | watchdog
    os.makedirs(f"{ROOT}/run/skiff", exist_ok=True)
    since = time.monotonic()
    # The watchdog is for the process whose number is in the environment, as systemd puts it there.
    become = 'WATCHDOG_PID=$$; export WATCHDOG_PID; exec "$@"'
    process = subprocess.Popen(["/bin/sh", "-c", become, "sh", "chroot", ROOT] + exec_start(), env=env)
    # Whatever is wrong, nothing is left running.
    atexit.register(process.kill)
    ready = manager.wait("READY=1", since, process)
    print(f"   ready after {time.monotonic() - since:.2f} s")
    return process, ready


def stop(manager, process):
    since = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=PATIENCE)
    check("SIGTERM: STOPPING=1 and exit code 0", code == 0 and manager.wait("STOPPING=1", since))


# What a shell does at TAB: bash's own variables, then the function it has for the command.
TAB = r"""
set -u
. /usr/share/bash-completion/completions/skiff
compopt() { :; }
COMP_LINE=$1 COMP_POINT=${#1}
read -ra COMP_WORDS <<<"$COMP_LINE"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_skiff
printf '%s\n' "${COMPREPLY[@]}"
"""


def tab(line):
    code, out, err = inside(["bash", "-c", TAB, "tab", line])
    if code:
        sys.exit(f"FAILED: completion of {line!r}: {err}")
    return out.split()


class Stuck:
    """Holds one thread of a process, as a debugger does, for as long as the context lasts."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, thread):
        self.thread = thread
        self.libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(self, request):
        if self.libc.ptrace(request, self.thread, None, None):
            sys.exit(f"FAILED: ptrace {request:#x}: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.thread, self.WALL)

    def __exit__(self, *_):
        self.ptrace(self.DETACH)


def worker(process):
    """The thread of the first worker."""
    tasks = f"/proc/{process.pid}/task"
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/comm", encoding="utf-8") as comm:
            if comm.read().startswith("skiff-lcore"):
                return int(task)
    sys.exit("FAILED: no thread of a worker")


def main():
    manager = Manager()

    process, ready = start(manager, {})
    check("the shipped configuration: READY=1", ready)
    code, out, _ = inside(["skiff", "healthcheck"])
    check("skiff healthcheck: exit code 0", code == 0)
    check("no port is taken", "wan" not in inside(["skiff", "ip", "link"])[1])
    stop(manager, process)
    check("skiff healthcheck: exit code 5 without a router", inside(["skiff", "healthcheck"])[0] == 5)

    config = f"{ROOT}/etc/skiff/skiff.toml"
    with open(config, encoding="utf-8") as file:
        shipped = file.read()
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(cpu=max(os.sched_getaffinity(0))))
    process, ready = start(manager, {"WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000)})
    check("with ports and classes: READY=1", ready)
    since = time.monotonic()
    check("WATCHDOG=1 while it runs", manager.wait("WATCHDOG=1", since, process))

    with Stuck(worker(process)):
        since = time.monotonic()
        time.sleep(1.5 * WATCHDOG_SECONDS)
        # It may have moved between the last feed and the moment it was stopped.
        check("a stuck worker ends the feeds", manager.count("WATCHDOG=1", since) <= 1)
        check("and the router still answers", inside(["skiff", "drops"])[0] == 0)
    check("a worker that goes on is fed for", manager.wait("WATCHDOG=1", time.monotonic(), process))

    since = time.monotonic()
    process.send_signal(signal.SIGHUP)
    reloaded = manager.wait("RELOADING=1", since, process) and manager.wait("READY=1", since, process)
    check("SIGHUP: RELOADING=1, READY=1", reloaded)
    stamp = any(re.fullmatch(r"MONOTONIC_USEC=\d+", line) for at, line in manager.heard if at >= since)
    check("and the time, for Type=notify-reload", stamp)

    check("TAB completes a class", tab("skiff tc class change dev wan0 classid ") == ["1:1", "1:10", "1:20"])
    check("and what is behind its colon", tab("skiff tc class change dev wan0 classid 1:1") == ["1", "10"])
    check("a device of tc", tab("skiff tc class show dev ") and "wan0" in tab("skiff tc class show dev w"))
    check("a device of ip", "lan0" in tab("skiff ip link show "))
    check("a command", tab("skiff iptables-s") == ["iptables-save"])
    check("a file", "/etc/skiff" in tab("skiff config check /etc/ski"))

    stop(manager, process)
    check("TAB is silent without a router", tab("skiff tc class change dev wan0 classid ") == [])
    with open(config, "w", encoding="utf-8") as file:
        file.write(shipped)

    # The doctor wants one that runs.
    process, ready = start(manager, {})
    code, out, _ = inside(["skiff", "doctor"])
    check("skiff doctor finds the router", "daemon: version" in out and code == 0)
    stop(manager, process)


main()
