//! Starting EAL.

mod common;

use common::{config, eal, pool};
use skiff_pmd::{Eal, EalConfig, Error, Hugepages, register_thread};

#[test]
fn starts_once_without_hugepages() {
    let eal = eal(&[]);
    assert!(!eal.uses_hugepages());
    assert!(Eal::dpdk_version().starts_with("DPDK "));
    assert_eq!(eal.port_names(), []);
    assert!(matches!(Eal::init(config(&[])), Err(Error::AlreadyInitialised)));
}

#[test]
fn prefers_hugepages_or_does_without() {
    let eal = Eal::init(EalConfig { hugepages: Hugepages::Prefer, ..config(&["net_null0"]) }).unwrap();
    let pool = pool(&eal);
    let (_port, mut rx, _tx) = common::open(&eal, 0, &pool);
    assert_eq!(rx.rx_burst(&mut skiff_pmd::Burst::new()), 32);
}

#[test]
fn missing_hugepages_are_an_error_that_says_so() {
    let cfg = EalConfig { hugepages: Hugepages::Require, memory_mib: 1 << 30, ..config(&[]) };
    let why = Eal::init(cfg).unwrap_err();
    assert!(matches!(why, Error::Hugepages { .. }), "{why}");
    assert!(why.to_string().contains("536870912 pages of 2 MiB are needed"), "{why}");
    // It was found out before EAL was touched.
    assert!(Eal::init(config(&[])).is_ok());
}

#[test]
fn wrong_arguments_are_quoted() {
    let cfg = EalConfig { extra_args: vec!["--lcores".into(), "nonsense".into()], ..config(&[]) };
    let why = Eal::init(cfg).unwrap_err().to_string();
    assert!(why.starts_with("EAL did not start: ") && why.contains("lcore"), "{why}");
    let cfg = EalConfig { program: "a\0b".into(), ..config(&[]) };
    assert!(matches!(Eal::init(cfg), Err(Error::Argument { .. })));
}

#[test]
fn unprivileged_user_can_start_it() {
    // SAFETY: no other thread runs in this process; changing to nobody is what the test is about.
    let root = unsafe { libc::geteuid() } == 0;
    if root {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setgid(65534) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setuid(65534) }, 0);
    }
    let eal = eal(&["net_null0", "net_ring0"]);
    let pool = pool(&eal);
    let (_port, mut rx, _tx) = common::open(&eal, 0, &pool);
    assert_eq!(rx.rx_burst(&mut skiff_pmd::Burst::new()), 32);
}

#[test]
fn main_thread_is_lcore_0_on_its_cpu() {
    let cpu = *skiff_pmd::allowed_cpus().last().unwrap();
    let before = skiff_pmd::current_lcore_id();
    let _eal = Eal::init(EalConfig { main_cpu: Some(cpu), ..config(&[]) }).unwrap();
    assert_eq!((before, skiff_pmd::current_lcore_id()), (None, Some(0)));
    assert_eq!(skiff_pmd::allowed_cpus(), [cpu]);
}

#[test]
fn main_thread_may_move_if_no_cpu_is_named() {
    let before = skiff_pmd::allowed_cpus();
    let _eal = eal(&[]);
    assert_eq!(skiff_pmd::allowed_cpus(), before);
}

#[test]
fn threads_register_and_leave() {
    assert!(register_thread().is_err(), "EAL is not up");
    let _eal = eal(&[]);
    let main = register_thread().unwrap();
    drop(main);
    assert_eq!(skiff_pmd::current_lcore_id(), Some(0), "the main lcore stays");
    // More threads than lcore numbers, one after the other.
    for _ in 0..200 {
        let id = std::thread::spawn(|| {
            let outer = register_thread().unwrap();
            let inner = register_thread().unwrap();
            drop(inner);
            let id = skiff_pmd::current_lcore_id();
            drop(outer);
            assert_eq!(skiff_pmd::current_lcore_id(), None);
            id
        });
        assert_eq!(id.join().unwrap(), Some(1));
    }
}

#[test]
fn threads_are_pinned_and_timed() {
    let cpus = skiff_pmd::allowed_cpus();
    skiff_pmd::pin_current_thread(cpus[0]).unwrap();
    assert_eq!(skiff_pmd::allowed_cpus(), [cpus[0]]);
    for wrong in [1000, u16::MAX] {
        let why = skiff_pmd::pin_current_thread(wrong).unwrap_err().to_string();
        assert!(why.starts_with(&format!("cannot move the thread to CPU {wrong}: ")), "{why}");
    }
    skiff_pmd::set_timer_slack_ns(1000);
    let slack = std::fs::read_to_string("/proc/thread-self/timerslack_ns");
    if let Ok(slack) = slack {
        assert_eq!(slack.trim(), "1000");
    }
    let before = skiff_pmd::thread_cpu_time_ns();
    while skiff_pmd::thread_cpu_time_ns() == before {}
}
