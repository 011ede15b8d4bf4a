use serde_json::json;

use super::*;

fn options(words: &[(&str, &str)]) -> Result<BondOptions, String> {
    let mut options = BondOptions::default();
    options.set_all(words.iter().copied(), false, false).map(|()| options)
}

fn text(options: &BondOptions) -> String {
    let rows = options.rows(&BondStatus::default());
    rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_new_bond_reads_as_ip_shows_it() {
    assert_eq!(
        text(&BondOptions::default()),
        "mode balance-rr miimon 100 updelay 0 downdelay 0 peer_notify_delay 0 use_carrier 1 arp_interval 0 \
         arp_missed_max 2 arp_validate none arp_all_targets any primary_reselect always fail_over_mac none \
         xmit_hash_policy layer2 resend_igmp 1 num_grat_arp 1 all_slaves_active 0 min_links 0 lp_interval 1 \
         packets_per_slave 1 lacp_active on lacp_rate slow coupled_control on ad_select stable tlb_dynamic_lb 1"
    );
}

#[test]
fn names_and_numbers_are_the_same_and_order_does_not_matter() {
    let named = options(&[("lacp_rate", "fast"), ("mode", "802.3ad"), ("xmit_hash_policy", "layer3+4")]);
    assert_eq!(named, options(&[("mode", "4"), ("xmit_hash_policy", "1"), ("lacp_rate", "1")]));
    let options = named.unwrap();
    assert_eq!(options.mode, BondMode::Lacp);
    assert_eq!(options.lacp_rate, LacpRate::Fast);
    assert!(text(&options).contains(
        " ad_select stable ad_actor_sys_prio 65535 ad_user_port_key 0 ad_actor_system 00:00:00:00:00:00 tlb_"
    ));
}

#[test]
fn options_are_refused_outside_their_modes_and_ranges() {
    let refusal = |words: &[(&str, &str)]| options(words).unwrap_err();
    assert_eq!(
        refusal(&[("primary", "eth0")]),
        "option primary: mode dependency failed, not supported in mode balance-rr(0)"
    );
    assert_eq!(
        refusal(&[("mode", "4"), ("arp_interval", "100")]),
        "option arp_interval: mode dependency failed, not supported in mode 802.3ad(4)"
    );
    assert_eq!(refusal(&[("mode", "7")]), "option mode: invalid value (7)");
    assert_eq!(
        refusal(&[("lp_interval", "0")]),
        "option lp_interval: invalid value (0), allowed values 1 - 2147483647"
    );
    for bad in [
        ("arp_missed_max", "0"),
        ("num_grat_arp", "256"),
        ("peer_notify_delay", "300001"),
        ("packets_per_slave", "65536"),
        ("ad_user_port_key", "1024"),
        ("ad_actor_sys_prio", "0"),
        ("ad_actor_system", "01:00:00:00:00:01"),
        ("arp_ip_target", "10.0.0.1,10.0.0.1"),
        ("arp_ip_target", "0.0.0.0"),
        ("use_carrier", "2"),
        ("miimon", "-1"),
        ("nonsense", "1"),
        ("", "1"),
    ] {
        let mode = if bad.0.starts_with("ad_") { "4" } else { "0" };
        assert!(options(&[("mode", mode), bad]).is_err(), "{bad:?} was accepted");
    }
    assert!(options(&[("num_unsol_na", "255"), ("mii", "50"), ("peer_notify_delay", "300000")]).is_ok());
}

#[test]
fn the_monitors_exclude_each_other() {
    let mut options = options(&[("arp_interval", "200"), ("arp_ip_target", "10.0.0.1,10.0.0.2")]).unwrap();
    assert_eq!((options.miimon_ms, options.arp_interval_ms), (0, 200));
    assert!(options.set("updelay", "100").unwrap_err().contains("MII monitoring is disabled"));
    options.set("miimon", "50").unwrap();
    assert_eq!((options.miimon_ms, options.arp_interval_ms), (50, 0));
    let both = [("miimon", "100"), ("arp_interval", "100")];
    assert_eq!(
        options.set_all(both, false, false).unwrap_err(),
        "ARP monitoring cannot be used with MII monitoring"
    );
    options.set("miimon", "0").unwrap();
    options.set("mode", "balance-alb").unwrap();
    assert_eq!(options.miimon_ms, DEFAULT_MIIMON_MS);
    assert!(options.set("miimon", "0").is_err());
}

#[test]
fn delays_are_multiples_of_miimon() {
    let options = options(&[("updelay", "250"), ("downdelay", "99"), ("miimon", "100")]).unwrap();
    assert_eq!((options.updelay(), options.updelay_ticks()), (200, 2));
    assert_eq!((options.downdelay(), options.downdelay_ticks()), (0, 0));
}

#[test]
fn some_options_need_the_bond_down_or_empty() {
    let mut options = options(&[("mode", "4")]).unwrap();
    assert_eq!(
        options.set_live("mode", "1", false, true).unwrap_err(),
        "option mode: unable to set because the bond device has slaves"
    );
    assert_eq!(
        options.set_live("lacp_rate", "fast", true, true).unwrap_err(),
        "option lacp_rate: unable to set because the bond device is up"
    );
    options.set_live("lacp_rate", "fast", false, true).unwrap();
    assert!(options.set_live("fail_over_mac", "1", false, true).is_err());
    options.set_live("min_links", "2", true, true).unwrap();
    let before = options.clone();
    assert!(options.set_all([("min_links", "3"), ("mode", "1")], true, true).is_err());
    assert_eq!(options, before, "all or none");
}

#[test]
fn states_read_as_ip_shows_them() {
    let ad = AdInfo {
        aggregator: 1,
        num_ports: 2,
        actor_key: 15,
        partner_key: 15,
        partner_mac: MacAddr([2, 0, 0, 0, 0, 9]),
    };
    let status = BondStatus { active: None, ad: Some(ad) };
    let options = options(&[("mode", "4")]).unwrap();
    let rows = options.rows(&status);
    let info = rows.iter().find(|row| row.key == "ad_info").unwrap();
    assert_eq!(
        info.text,
        "ad_aggregator 1 ad_num_ports 2 ad_actor_key 15 ad_partner_key 15 ad_partner_mac 02:00:00:00:00:09"
    );
    assert_eq!(info.json["partner_mac"], "02:00:00:00:00:09");
    assert_eq!(rows.iter().find(|row| row.key == "arp_validate").unwrap().json, json!(null));
    let member = MemberStatus {
        active: true,
        mii: MiiStatus::Up,
        ad: Some(MemberAdInfo { aggregator_id: 1, actor_state: 0x3d, partner_state: 0x45 }),
        ..MemberStatus::default()
    };
    let text: Vec<String> = member.rows().into_iter().map(|row| row.text).collect();
    assert_eq!(
        text.join(" "),
        "state ACTIVE mii_status UP link_failure_count 0 perm_hwaddr 00:00:00:00:00:00 queue_id 0 prio 0 \
         ad_aggregator_id 1 ad_actor_oper_port_state 61 ad_actor_oper_port_state_str \
         <active,aggregating,in_sync,collecting,distributing> ad_partner_oper_port_state 69 \
         ad_partner_oper_port_state_str <active,aggregating,defaulted>"
    );
}

#[test]
fn member_options() {
    let mut options = BondSlaveOptions::default();
    options.set("prio", "-5").unwrap();
    options.set("queue_id", "16").unwrap();
    assert_eq!(options, BondSlaveOptions { prio: -5, queue_id: 16 });
    assert!(options.set("queue_id", "17").is_err());
    assert!(options.set("speed", "1").is_err());
}
