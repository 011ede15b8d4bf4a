#!/usr/bin/env python3
"""Listens to a queue of skiff: prints its packets and accepts or drops them by a rule.

    skiff iptables -A FORWARD -j NFQUEUE --queue-num 7
    docs/examples/nfqueue.py --queue 7 --drop-to 10.0.1.66

Nothing but the standard library. The frames are described in docs/nfqueue.md.
"""

import argparse
import ipaddress
import socket
import struct
import sys

MAGIC = int.from_bytes(b"SKNQ", "little")
VERSION = 1
HELLO, WELCOME, BIND, CONFIG, UNBIND, DONE, ERROR, PACKET, VERDICT = range(1, 10)
COPY_PACKET = 2
NAMES = 2
DROP, ACCEPT = 0, 1
HEADER = struct.Struct("<IBBHI")
PACKET_HEAD = struct.Struct("<HBBIH6sHHIIIQBBH")
HOOKS = ["PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING", "L2_INPUT", "L2_ENQUEUE", "L2_DEQUEUE"]
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}


class Refused(Exception):
    """The router did not do what it was asked."""


class Queue:
    """A connection to the router."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.send(HELLO, struct.pack("<BBH", VERSION, VERSION, 0))
        self.expect(WELCOME)

    def bind(self, number, copy_range=0xFFFF, maxlen=1024):
        self.send(BIND, struct.pack("<HHBBHII", number, number, COPY_PACKET, NAMES, 0, copy_range, maxlen))
        self.expect(DONE)

    def packets(self):
        while True:
            body = self.expect(PACKET)
            head = PACKET_HEAD.unpack_from(body)
            queue, hook, _, number, _, _, _, _, mark, _, length, _, iif_len, oif_len, _ = head
            names, payload = body[PACKET_HEAD.size :], PACKET_HEAD.size + iif_len + oif_len
            yield {
                "queue": queue,
                "id": number,
                "hook": HOOKS[hook],
                "mark": mark,
                "length": length,
                "iif": names[:iif_len].decode(),
                "oif": names[iif_len : iif_len + oif_len].decode(),
                "payload": body[payload:],
            }

    def verdict(self, packet, verdict):
        self.send(VERDICT, struct.pack("<HBBIIHH", packet["queue"], verdict, 0, packet["id"], 0, 0, 0))

    def send(self, kind, body):
        self.socket.send(HEADER.pack(MAGIC, VERSION, kind, 0, HEADER.size + len(body)) + body)

    def expect(self, wanted):
        """The body of the next frame, which has to be of this type."""
        frame = self.socket.recv(0x20000)
        if not frame:
            raise Refused("the router closed the connection")
        magic, version, kind, _, length = HEADER.unpack_from(frame)
        if (magic, version, length) != (MAGIC, VERSION, len(frame)):
            raise Refused("not a frame of this protocol")
        body = frame[HEADER.size :]
        if kind == ERROR:
            raise Refused(body[16:].decode())
        if kind != wanted:
            raise Refused(f"frame of type {kind} instead of {wanted}")
        return body


def describe(packet):
    """Source, destination and protocol of an IPv4 packet."""
    payload = packet["payload"]
    source, destination = (ipaddress.ip_address(payload[at : at + 4]) for at in (12, 16))
    return source, destination, PROTOCOLS.get(payload[9], f"protocol {payload[9]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", default="/run/skiff/nfqueue.sock")
    parser.add_argument("--queue", type=int, default=0)
    parser.add_argument("--drop-to", type=ipaddress.ip_network, default=None, metavar="NET")
    parser.add_argument("--count", type=int, default=0, help="stop after so many packets")
    args = parser.parse_args()

    queue = Queue(args.socket)
    queue.bind(args.queue)
    for seen, packet in enumerate(queue.packets(), 1):
        source, destination, protocol = describe(packet)
        drop = args.drop_to is not None and destination in args.drop_to
        queue.verdict(packet, DROP if drop else ACCEPT)
        print(
            f"{packet['id']} {packet['hook']} {packet['iif']} -> {packet['oif']} {source} > {destination} {protocol}, "
            f"{packet['length']} bytes, mark {packet['mark']:#x}: {'drop' if drop else 'accept'}",
            flush=True,
        )
        if seen == args.count:
            break


if __name__ == "__main__":
    try:
        main()
    except (OSError, Refused) as why:
        sys.exit(f"nfqueue.py: {why}")
    except KeyboardInterrupt:
        pass
