//! `ip maddress show`.

use std::fmt::Write as _;

use skiff_dataplane::ipv4::ipmr::group_mac;

use super::document;
use crate::ip::json::Json;
use crate::ip::request::{Family, Options};
use crate::ip::rows::MaddrRow;

/// Prints the groups of each device.
pub fn show_maddrs(rows: &[MaddrRow], options: &Options) -> String {
    let inet = options.family != Some(Family::Inet6);
    let link = options.family.is_none();
    if options.json {
        return document(rows.iter().map(|row| json(row, link, inet)).collect(), options);
    }
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(out, "{}:\t{}", row.ifindex, row.ifname);
        if link {
            row.groups.iter().for_each(|group| {
                let _ = writeln!(out, "\tlink  {}", group_mac(group.to_bits()));
            });
        }
        if inet {
            row.groups.iter().for_each(|group| {
                let _ = writeln!(out, "\tinet  {group}");
            });
        }
    }
    out
}

fn json(row: &MaddrRow, link: bool, inet: bool) -> Json {
    let of_link = row.groups.iter().filter(|_| link);
    let of_link = of_link.map(|group| Json::Obj(vec![("link", Json::str(group_mac(group.to_bits())))]));
    let of_inet = row.groups.iter().filter(|_| inet);
    let of_inet =
        of_inet.map(|group| Json::Obj(vec![("family", Json::str("inet")), ("address", Json::str(group))]));
    Json::Obj(vec![
        ("ifindex", Json::num(row.ifindex)),
        ("ifname", Json::str(&row.ifname)),
        ("maddr", Json::Arr(of_link.chain(of_inet).collect())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_and_json_are_iproute2s() {
        let rows = [MaddrRow { ifindex: 2, ifname: "r1".into(), groups: vec!["224.0.0.1".parse().unwrap()] }];
        let text = "2:\tr1\n\tlink  01:00:5e:00:00:01\n\tinet  224.0.0.1\n";
        assert_eq!(show_maddrs(&rows, &Options::default()), text);
        let json = "[{\"ifindex\":2,\"ifname\":\"r1\",\"maddr\":[{\"link\":\"01:00:5e:00:00:01\"},\
                    {\"family\":\"inet\",\"address\":\"224.0.0.1\"}]}]\n";
        assert_eq!(show_maddrs(&rows, &Options { json: true, ..Options::default() }), json);
    }
}
