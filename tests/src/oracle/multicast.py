# Joins groups and routes multicast in the namespace it runs in, for as long as its standard input is open.
#
# Arguments: `join DEVICE GROUP` and `route GROUP SOURCE IIF OIF:THRESHOLD,...`
import socket
import struct
import sys

MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC = 200, 202, 204
VIFF_USE_IFINDEX = 8

groups = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
router = None
vifs = {}


def vif(device):
    """The number of a device, which is added to the kernel's table at its first use."""
    if device not in vifs:
        vifs[device] = len(vifs)
        index = socket.if_nametoindex(device)
        control = struct.pack("@HBBIi4s", vifs[device], VIFF_USE_IFINDEX, 1, 0, index, bytes(4))
        router.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, control)
    return vifs[device]


words = iter(sys.argv[1:])
for word in words:
    if word == "join":
        device, group = next(words), next(words)
        request = struct.pack("@4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(device))
        groups.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        continue
    if router is None:
        router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
        router.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
    group, source, iif, oifs = next(words), next(words), next(words), next(words)
    parent, thresholds = vif(iif), [0] * 32
    for oif in oifs.split(","):
        device, threshold = oif.split(":")
        thresholds[vif(device)] = int(threshold)
    ends = [socket.inet_aton(source), socket.inet_aton(group)]
    entry = struct.pack("@4s4sH32sIIIi", *ends, parent, bytes(thresholds), 0, 0, 0, 0)
    router.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, entry)
print("ready", flush=True)
sys.stdin.read()
