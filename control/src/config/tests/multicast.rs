//! `[[mroute]]` and `[igmp-proxy]`.

use std::time::Duration;

use super::*;

#[test]
fn multicast_routes_and_the_proxy_are_read() {
    let text = "[[mroute]]\ngroup = \"239.1.1.1\"\nsource = \"10.0.1.9\"\niif = \"wan0\"\n\
                oifs = [\"lan0\"]\n[[mroute]]\ngroup = \"239.1.1.1\"\niif = \"wan0\"\noifs = [{ dev = \"lan0\", ttl = 8 }]\n\
                [igmp-proxy]\nupstream = \"wan0\"\ndownstream = [\"lan0\"]\nquery-interval = 60\n";
    let config = good(&format!("{PORTS}{text}"));
    let oifs: Vec<(&str, u8)> =
        config.mroutes.iter().map(|r| (r.oifs[0].dev.value.as_str(), r.oifs[0].ttl.value)).collect();
    assert_eq!(oifs, [("lan0", 1), ("lan0", 8)]);
    let proxy = config.igmp_proxy.unwrap();
    assert_eq!((proxy.upstream.value.as_str(), proxy.threshold.value), ("wan0", 1));
    assert_eq!(proxy.timing.query_interval, Duration::from_secs(60));
    assert_eq!(proxy.timing.group_membership_interval(), Duration::from_secs(130));
}

#[test]
fn mistakes_in_multicast_have_their_place() {
    let route = |rest: &str| format!("[[mroute]]\ngroup = '239.1.1.1'\niif = 'wan0'\n{rest}");
    let (twice, unknown) = (route("oifs = ['lan0', 'lan0']"), route("oifs = ['lan1']"));
    let (bad_ttl, no_list) = (route("oifs = [{ dev = 'lan0', ttl = 255 }]"), route("oifs = 'lan0'"));
    assert_mistakes(
        PORTS,
        &[
            (&twice, &["r:11:17: \"lan0\" is listed twice"]),
            (&unknown, &["r:11:9: there is no interface \"lan1\", did you mean \"lan0\"?"]),
            (&bad_ttl, &["r:11:31: \"ttl\" must be between 1 and 254, not 255"]),
            (&no_list, &["r:11:8: \"oifs\" must be a list of interfaces, not a string"]),
            (
                "[[mroute]]\ngroup = '10.0.0.1'\niif = 'wan0'\noifs = []",
                &["r:9:9: \"10.0.0.1\" is not a multicast address"],
            ),
            (
                "[[mroute]]\ngroup = '224.0.0.9'\niif = 'wan0'\noifs = []",
                &["r:9:9: \"224.0.0.9\" is never forwarded, 224.0.0.0/24 stays on its link"],
            ),
            (
                "[igmp-proxy]\nupstream = 'wan0'\ndownsteam = ['lan0']",
                &[
                    "r:8:1: \"downstream\" is missing",
                    "r:10:1: unknown key \"downsteam\", did you mean \"downstream\"?",
                ],
            ),
            (
                "[igmp-proxy]\nupstream = 'wan0'\ndownstream = ['wan0']",
                &["r:10:15: \"wan0\" is the upstream interface"],
            ),
            (
                "[igmp-proxy]\nupstream = 'wan0'\ndownstream = ['lan0']\nquery-interval = 5",
                &["r:11:1: \"query-response-interval\" must be less than \"query-interval\""],
            ),
        ],
    );
}
