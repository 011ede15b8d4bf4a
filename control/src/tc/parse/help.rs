//! The grammar in short, as `help` prints it.

pub(super) const VERSION: &str = concat!("tc utility, skiff-", env!("CARGO_PKG_VERSION"), "\n");

pub(super) const TC: &str = "\
Usage: skiff tc [ OPTIONS ] OBJECT { COMMAND | help }
       skiff tc -batch FILE
OBJECT  := { qdisc | class | filter | actions }
OPTIONS := { -s[tatistics] | -d[etails] | -r[aw] | -j[son] | -p[retty] | -o[neline] | -iec }
";

pub(super) const QDISC: &str = "\
Usage: skiff tc qdisc { add | change | replace | link | del } dev DEVICE
                [ root | parent CLASSID | ingress | clsact ] [ handle MAJOR: ]
                [ estimator INTERVAL TIME_CONSTANT ] [ KIND OPTIONS ]
       skiff tc qdisc [ show ] [ dev DEVICE ] [ root | ingress | parent CLASSID ] [ handle MAJOR: ]
KIND := { htb | red | tbf | prio | pfifo | bfifo | pfifo_head_drop | pfifo_fast | noqueue }
";

pub(super) const CLASS: &str = "\
Usage: skiff tc class { add | change | replace | del } dev DEVICE
                [ root | parent CLASSID ] [ classid MAJOR:MINOR ] [ htb OPTIONS ]
       skiff tc class [ show ] [ dev DEVICE ] [ root | parent CLASSID ] [ qdisc MAJOR: ] [ classid CLASSID ]
";

pub(super) const HTB: &str = "\
Usage: ... qdisc add ... htb [ default MINOR ] [ r2q N ] [ direct_qlen PACKETS ] [ hysteresis ]
       ... class add ... htb rate RATE [ ceil RATE ] [ burst BYTES ] [ cburst BYTES ] [ prio 0..7 ]
                [ quantum BYTES ] [ mtu BYTES ] [ mpu BYTES ] [ overhead BYTES ] [ linklayer LAYER ]
";

pub(super) const TBF: &str = "\
Usage: ... tbf rate RATE burst BYTES { limit BYTES | latency TIME } [ peakrate RATE mtu BYTES ]
                [ mpu BYTES ] [ overhead BYTES ] [ linklayer LAYER ]
";

pub(super) const RED: &str = "\
Usage: ... red limit BYTES avpkt BYTES [ min BYTES ] [ max BYTES ] [ burst PACKETS ] [ bandwidth RATE ]
                [ probability P ] [ adaptive ] [ ecn ] [ harddrop ] [ nodrop ] [ gentle ]
";

pub(super) const PRIO: &str = "\
Usage: ... prio [ bands 2..16 ] [ priomap BAND... ]
";

pub(super) const FIFO: &str = "\
Usage: ... { pfifo | bfifo | pfifo_head_drop } [ limit N ]
";
