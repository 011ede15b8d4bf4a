//! What iproute2 6.1 printed for these words, as the rate of an htb class, the limit of a bfifo, the latency of a tbf.

use proptest::prelude::*;

use super::*;

#[test]
fn rates_are_read_and_printed_as_tc_does() {
    for (word, printed) in [
        ("8bit", "8bit"),
        ("999bit", "992bit"),
        ("1000bit", "1Kbit"),
        ("1001bit", "1Kbit"),
        ("9600bit", "9600bit"),
        ("999999bit", "999992bit"),
        ("1000000bit", "1Mbit"),
        ("1000008bit", "1Mbit"),
        ("1500kbit", "1500Kbit"),
        ("1.5mbit", "1500Kbit"),
        ("10kibit", "10240bit"),
        ("1gibit", "1073Mbit"),
        ("1tbit", "1Tbit"),
        ("12345678901bit", "12345Mbit"),
        ("1234567bit", "1234Kbit"),
        ("12345678bit", "12345Kbit"),
        ("10bps", "80bit"),
        ("10kbps", "80Kbit"),
        ("1mibps", "8388Kbit"),
        ("999mbit", "999Mbit"),
        ("1e6", "1Mbit"),
        ("1E6bit", "1Mbit"),
        ("0x10", "16bit"),
        ("1.5mBiT", "1500Kbit"),
        ("+5mbit", "5Mbit"),
        ("18tbit", "18Tbit"),
        ("200tbit", "200Tbit"),
    ] {
        assert_eq!(rate(word, None).map(|bytes| show_rate(bytes, false)).as_deref(), Some(printed), "{word}");
    }
    for word in
        ["5e", "1.5.5mbit", "10 mbit", "", "bit", "-5mbit", "nan", "inf", "1e400", "10%", "5xbit", "1e30"]
    {
        assert_eq!(rate(word, None), None, "{word}");
    }
    assert_eq!(show_rate(1_234_560 / 8, true), "1205Kibit");
}

#[test]
fn a_percentage_is_of_the_link() {
    let link = Some(1_250_000_000);
    assert_eq!(rate("100%", link), link);
    assert_eq!(rate("1.5%", link), Some(18_750_000));
    assert_eq!(rate("0.5%", link), Some(6_250_000));
    for word in ["101%", "-1%", "%", "5%%", "1k%"] {
        assert_eq!(rate(word, link), None, "{word}");
    }
}

#[test]
fn sizes_are_read_and_printed_as_tc_does() {
    for (word, printed) in [
        ("1", "1b"),
        ("1b", "1b"),
        ("1023", "1023b"),
        ("1024", "1Kb"),
        ("1039", "1Kb"),
        ("1040", "1040b"),
        ("1041", "1041b"),
        ("1k", "1Kb"),
        ("1.5k", "1536b"),
        ("1KB", "1Kb"),
        ("10kbit", "1280b"),
        ("1mbit", "128Kb"),
        ("1m", "1Mb"),
        ("1048577", "1Mb"),
        ("1049599", "1Mb"),
        ("1049600", "1025Kb"),
        ("1046250", "1046250b"),
        ("10240", "10Kb"),
        ("1600", "1600b"),
        ("1g", "1024Mb"),
        ("3.9gb", "4187593113b"),
        ("1gbit", "128Mb"),
        ("0", "0b"),
        ("1e3", "1000b"),
        ("3221230000", "3221230000b"),
        ("1073742000", "1024Mb"),
    ] {
        let bytes = size(word).map(u64::from);
        assert_eq!(bytes.map(show_size).as_deref(), Some(printed), "{word}");
    }
    for word in ["4g", "5g", "-1", "x", "1kk", ""] {
        assert_eq!(size(word), None, "{word}");
    }
    assert_eq!(size_and_cell("10k/8"), Some(10240));
    assert_eq!(size_and_cell("10k/7"), None);
}

#[test]
fn times_are_read_and_printed_as_tc_does() {
    for (word, us, printed) in [
        ("1", 1, "1us"),
        ("999", 999, "999us"),
        ("1000", 1000, "1ms"),
        ("1.5ms", 1500, "1.5ms"),
        ("22800", 22_800, "22.8ms"),
        ("831ms", 831_000, "831ms"),
        ("123.4ms", 123_400, "123ms"),
        ("1s", 1_000_000, "1s"),
        ("1.234567secs", 1_234_567, "1.23s"),
        ("100s", 100_000_000, "100s"),
        ("4000sec", 4_000_000_000, "4e+03s"),
    ] {
        assert_eq!(time(word), Some(us), "{word}");
        assert_eq!(show_time(us.into()), printed, "{word}");
    }
    for word in ["5000s", "1m", "x", ""] {
        assert_eq!(time(word), None, "{word}");
    }
}

#[test]
fn names_are_hexadecimal() {
    let h = |major, minor| Some(TcHandle::new(major, minor));
    for (word, handle) in
        [("1", h(1, 0)), ("1:", h(1, 0)), ("1:0", h(1, 0)), ("1:1", h(1, 0)), ("ffff:", h(0xffff, 0))]
    {
        assert_eq!(qdisc_handle(word), handle, "{word}");
    }
    for (word, handle) in [
        ("1:10", h(1, 0x10)),
        ("1:", h(1, 0)),
        (":a", h(0, 10)),
        ("e", h(0, 14)),
        ("10010", h(1, 0x10)),
        ("root", Some(TcHandle::ROOT)),
        ("none", Some(TcHandle::UNSPEC)),
    ] {
        assert_eq!(classid(word), handle, "{word}");
    }
    for word in ["zz", "10000:", "1:10000", "1:1:1", "-1:", "+1", ""] {
        assert_eq!(classid(word), None, "{word}");
    }
    for word in ["zz", "10000:", "", ":1"] {
        assert_eq!(qdisc_handle(word), None, "{word}");
    }
}

#[test]
fn general_is_percent_g() {
    for (value, digits, text) in [
        (0.0, 3, "0"),
        (0.02, 6, "0.02"),
        (0.019_999_999_8, 6, "0.02"),
        (999.6, 3, "1e+03"),
        (12.34, 3, "12.3"),
        (100_000.0, 6, "100000"),
        (1_000_000.0, 6, "1e+06"),
        (0.0001, 6, "0.0001"),
        (0.000_012_3, 6, "1.23e-05"),
    ] {
        assert_eq!(general(value, digits), text);
    }
}

proptest! {
    #[test]
    fn reading_any_word_ends(word in "\\PC{0,12}") {
        let _ = (rate(&word, Some(1)), size(&word), time(&word), classid(&word), qdisc_handle(&word));
        let _ = (size_and_cell(&word), (u64_in(&word, 0), signed(&word)), number(&word));
    }

    #[test]
    fn what_was_printed_prints_the_same_again(bytes in 0u32..4_200_000_000, rate_bytes in 0u64..1 << 44, us in 0u32..4_200_000_000) {
        let size_text = show_size(bytes.into());
        prop_assert_eq!(size(&size_text).map(|n| show_size(n.into())), Some(size_text));
        let rate_text = show_rate(rate_bytes, false);
        let again = rate(&rate_text, None).map(|n| show_rate(n, false));
        prop_assert_eq!(again, Some(rate_text));
        let time_text = show_time(us.into());
        prop_assert_eq!(time(&time_text).map(|n| show_time(n.into())), Some(time_text));
    }
}

#[test]
fn what_is_read_is_known_by_its_number() {
    for (text, bytes, shown) in [
        ("80mbit", 10_000_000, "80Mbit"),
        ("1kbps", 1000, "8Kbit"),
        ("8", 1, "8bit"),
        ("1.5mbit", 187_500, "1500Kbit"),
        ("1Kibit", 128, "1024bit"),
        ("100gbit", 12_500_000_000, "100Gbit"),
    ] {
        assert_eq!((rate(text, None), show_rate(bytes, false).as_str()), (Some(bytes), shown));
    }
    for (text, bytes, shown) in [
        ("16k", 16384, "16Kb"),
        ("1600", 1600, "1600b"),
        ("2040", 2040, "2Kb"),
        ("1mb", 1 << 20, "1Mb"),
        ("8kbit", 1024, "1Kb"),
        ("1046250", 1_046_250, "1046250b"),
    ] {
        assert_eq!((size(text), show_size(bytes.into()).as_str()), (Some(bytes), shown));
    }
    for bad in ["", "x", "1xbit", "-1", "1e40gbit"] {
        assert_eq!((rate(bad, None), size(bad)), (None, None), "{bad}");
    }
}

#[test]
fn classes_are_hexadecimal() {
    assert_eq!(classid("1:10"), Some(TcHandle::new(1, 0x10)));
    assert_eq!((classid("1:"), classid(":a")), (Some(TcHandle::new(1, 0)), Some(TcHandle(10))));
    assert_eq!((classid("10010"), classid("root")), (Some(TcHandle(0x10010)), Some(TcHandle::ROOT)));
    assert_eq!([classid("1:10000"), classid("x"), classid(""), classid("1:2:3")], [None; 4]);
}
