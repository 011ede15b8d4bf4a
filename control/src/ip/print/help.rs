//! The grammar in short, as `help` prints it.

use crate::ip::request::Topic;

/// What `skiff ip help` and `skiff ip OBJECT help` print.
pub fn help_text(topic: Topic) -> &'static str {
    match topic {
        Topic::Ip => {
            "Usage: skiff ip [ OPTIONS ] OBJECT { COMMAND | help }\n\
             OBJECT  := { link | address | route | neighbour | mroute | maddress }\n\
             OPTIONS := { -j[son] | -p[retty] | -s[tatistics] | -d[etails] | -br[ief] | -o[neline] | -4 | -6 |\n\
             \x20            -f[amily] { inet | inet6 } | -c[olor] }\n"
        }
        Topic::Link => {
            "Usage: skiff ip link [ show ] [ [ dev ] DEVICE ] [ up ] [ type TYPE ]\n\
             \x20                [ master DEVICE ]\n\
             \x20      skiff ip link add [ link DEVICE ] [ name ] NAME [ up ] [ mtu MTU ] [ address LLADDR ]\n\
             \x20                type TYPE [ ARGS ]\n\
             \x20      skiff ip link set [ dev ] DEVICE [ up | down ] [ mtu MTU ] [ address LLADDR ]\n\
             \x20                [ promisc { on | off } ] [ name NEWNAME ] [ master DEVICE | nomaster ]\n\
             \x20                [ type TYPE ARGS ]\n\
             \x20      skiff ip link del [ dev ] DEVICE\n\
             TYPE := { vlan | bond | bond_slave }\n"
        }
        Topic::Address => {
            "Usage: skiff ip address [ show ] [ [ dev ] DEVICE ] [ up ] [ type TYPE ] [ to PREFIX ] [ scope SCOPE ]\n\
             \x20      skiff ip address { add | change | replace | del } PREFIX dev DEVICE\n\
             \x20                [ broadcast { ADDRESS | + | - } ] [ label LABEL ] [ scope SCOPE ]\n\
             \x20      skiff ip address flush SELECTOR\n\
             SCOPE := [ host | link | global | NUMBER ]\n"
        }
        Topic::Route => {
            "Usage: skiff ip route [ show ] [ table { TABLE | all } ] [ dev DEVICE ] [ via ADDRESS ] [ src ADDRESS ]\n\
             \x20                [ [ root | match | exact ] PREFIX ] [ proto PROTO ] [ scope SCOPE ] [ type TYPE ]\n\
             \x20      skiff ip route get ADDRESS [ from ADDRESS ] [ iif DEVICE ] [ oif DEVICE ]\n\
             \x20      skiff ip route { add | change | replace | append | del } [ TYPE ] PREFIX\n\
             \x20                [ via ADDRESS ] [ dev DEVICE ] [ onlink ] [ nexthop NH ]... [ equalize ]\n\
             \x20                [ metric METRIC ]\n\
             \x20                [ src ADDRESS ] [ mtu [ lock ] MTU ] [ proto PROTO ] [ scope SCOPE ] [ table TABLE ]\n\
             \x20      skiff ip route flush SELECTOR\n\
             NH    := [ via ADDRESS ] [ dev DEVICE ] [ weight 1..256 ] [ onlink ]\n\
             TYPE  := { unicast | local | broadcast | multicast | throw | unreachable | prohibit | blackhole }\n\
             TABLE := [ local | main | default | NUMBER ]\n\
             SCOPE := [ host | link | global | NUMBER ]\n\
             PROTO := [ kernel | boot | static | NUMBER ]\n"
        }
        Topic::Mroute => {
            "Usage: skiff ip mroute [ show ] [ [ to ] PREFIX ] [ from PREFIX ] [ iif DEVICE ]\n\
             \x20      skiff ip mroute add GROUP [ from SOURCE ] iif DEVICE [ oif DEVICE [ ttl THRESHOLD ] ]...\n\
             \x20      skiff ip mroute del GROUP [ from SOURCE ]\n\
             GROUP  := { ADDRESS | any }\n\
             SOURCE := { ADDRESS | any }\n"
        }
        Topic::Maddr => {
            "Usage: skiff ip maddr [ show ] [ [ dev ] DEVICE ]\n\
             \x20      skiff ip maddr { add | del } GROUP dev DEVICE\n"
        }
        Topic::Neighbour => {
            "Usage: skiff ip neigh [ show ] [ [ to ] PREFIX ] [ dev DEVICE ] [ nud STATE ]...\n\
             \x20      skiff ip neigh { add | change | replace | del } ADDRESS [ lladdr LLADDR ] dev DEVICE\n\
             \x20                [ nud STATE ] [ router ]\n\
             \x20      skiff ip neigh flush SELECTOR\n\
             STATE := { permanent | noarp | stale | reachable | none | incomplete | delay | probe | failed }\n"
        }
    }
}
