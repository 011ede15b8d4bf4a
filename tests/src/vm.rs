//! A router in a virtual machine, from the disk image that users boot.
//!
//! ```text
//! A eth0 10.0.0.2/24 ---- lan [machine] wan ---- 10.0.1.2/24 eth0 B
//!                              | management: SSH, by QEMU's own network
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Outcome, run};
use crate::lab::{A_ADDR, B_ADDR, LAN_ADDR, WAN_ADDR};
use crate::metrics::Metrics;
use crate::netns::Netns;
use crate::peers::ping;
use crate::tempdir::TempDir;

/// How long a machine may take to boot. An emulated processor is some twenty times slower than a real one.
const BOOT_LIMIT: Duration = Duration::from_secs(480);
const POWER_OFF_LIMIT: Duration = Duration::from_secs(90);
/// PCI slots of the NICs, as the configuration names them. The virtual functions of an igb take the slots 16 and 17 behind
/// its own, so they are not neighbours.
const SLOTS: [(&str, &str, u8); 2] = [("lan", LAN_ADDR, 4), ("wan", WAN_ADDR, 6)];
const SSH_PORT: u16 = 2222;
const USER: &str = "debian";

/// What the machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// The model of the two NICs that the router gets, as QEMU names it, and its options.
    pub nic: &'static str,
    /// Whether there is an IOMMU.
    pub iommu: bool,
}

/// Two hosts and the machine between them. Everything ends with it.
#[derive(Debug)]
pub struct Vm {
    /// Host A.
    pub a: Netns,
    /// Host B.
    pub b: Netns,
    /// From power on until both hosts got an answer from the router.
    pub boot: Duration,
    // Before the namespace it runs in and the directory of its disk.
    machine: Qemu,
    host: Netns,
    dir: TempDir,
}

/// The process. Killed on drop; [`Vm::power_off`] is the kind way.
#[derive(Debug)]
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The image under test.
///
/// # Panics
/// If there is none.
#[track_caller]
fn image() -> PathBuf {
    let path = std::env::var_os("SKIFF_VM_IMAGE").map(PathBuf::from);
    let path = path.unwrap_or_else(|| panic!("SKIFF_VM_IMAGE names no image: use `make test-vm`"));
    fs::canonicalize(&path).unwrap_or_else(|why| panic!("{}: {why}: use `make vm-image`", path.display()))
}

impl Vm {
    /// Boots the image and waits until the router answers both hosts.
    ///
    /// # Panics
    /// If it does not, with the end of what the machine printed.
    #[track_caller]
    pub fn boot(hardware: Hardware) -> Self {
        let (a, b, host) = (Netns::new("a"), Netns::new("b"), Netns::new("vm"));
        let dir = TempDir::new();
        seed(&dir);
        let disk =
            format!("qemu-img create -q -f qcow2 -F qcow2 -b {} {}", image().display(), dir.file("disk"));
        run(Command::new("sh").args(["-c", &disk])).ok();
        let powered_on = Instant::now();
        let child = host.command(&command_line(&dir, hardware)).stdin(Stdio::null()).spawn();
        let machine = Qemu(child.expect("ip is installed"));
        let mut vm = Vm { a, b, boot: Duration::ZERO, machine, host, dir };
        vm.plug("tap0", "a");
        vm.plug("tap1", "b");
        vm.wait_for_router(powered_on);
        vm.boot = powered_on.elapsed();
        // Until it is done it restarts sshd. 255 is ssh's own: no connection, or one that broke.
        crate::eventually("cloud-init to be done", BOOT_LIMIT, || {
            vm.try_ssh("cloud-init status --wait").code != 255
        });
        vm
    }

    /// Moves the far end of a NIC's cable, which QEMU made, to a host.
    #[track_caller]
    fn plug(&mut self, tap: &str, host: &str) {
        crate::eventually("QEMU's end of the cable", Duration::from_secs(30), || {
            self.host.try_run(&format!("ip link show {tap}")).code == 0
        });
        let (netns, address, router) =
            if host == "a" { (&self.a, A_ADDR, LAN_ADDR) } else { (&self.b, B_ADDR, WAN_ADDR) };
        self.host.run(&format!("ip link set {tap} netns {} name eth0", netns.name()));
        netns.address("eth0", &format!("{address}/24"));
        netns.run(&format!("ip route add default via {router}"));
    }

    #[track_caller]
    fn wait_for_router(&mut self, powered_on: Instant) {
        let answers =
            |host: &Netns, router: &str| ping(host, &format!("-q -c 1 -W 1 {router}")).received == 1;
        while !(answers(&self.a, LAN_ADDR) && answers(&self.b, WAN_ADDR)) {
            if let Some(status) = self.machine.0.try_wait().expect("our own child") {
                panic!("QEMU ended: {status}\n{}", self.console());
            }
            if powered_on.elapsed() > BOOT_LIMIT {
                let journal =
                    self.try_ssh("sudo journalctl -b --no-pager -u skiff -u skiff-bind; skiff bind");
                panic!("no router within {BOOT_LIMIT:?}\n{}\n{journal:?}", self.console());
            }
        }
    }

    /// The end of what came out of the serial port.
    fn console(&self) -> String {
        let text = fs::read(self.dir.file("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Runs a command line in the machine.
    #[track_caller]
    pub fn try_ssh(&self, line: &str) -> Outcome {
        let options = "-F none -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR \
            -o ConnectTimeout=60 -o BatchMode=yes";
        let to = format!("-i {} -p {SSH_PORT} {USER}@127.0.0.1", self.dir.file("key"));
        run(self.host.command(&format!("ssh {options} {to}")).arg(line))
    }

    /// The same for one that has to succeed; what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ssh(&self, line: &str) -> String {
        let outcome = self.try_ssh(line);
        assert_eq!(outcome.code, 0, "{line}\nstdout: {}\nstderr: {}", outcome.out, outcome.err);
        outcome.out
    }

    /// The router's metrics.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ssh("sudo skiff metrics"))
    }

    /// The NICs as `skiff bind -j` shows them: those of the router, and the one for management.
    ///
    /// # Panics
    /// If there are not three.
    #[track_caller]
    pub fn nics(&self) -> ([Value; 2], Value) {
        let text = self.ssh("sudo skiff bind -j");
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        let at = |slot: u8| {
            let row = rows.iter().find(|row| row["address"] == format!("0000:00:{slot:02x}.0"));
            row.unwrap_or_else(|| panic!("no NIC in slot {slot}: {text}")).clone()
        };
        (SLOTS.map(|(_, _, slot)| at(slot)), at(3))
    }

    /// Shuts the machine down.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn power_off(mut self) {
        // The connection may be cut before the answer.
        self.try_ssh("sudo systemctl poweroff");
        let child = &mut self.machine.0;
        crate::eventually("power off", POWER_OFF_LIMIT, || {
            child.try_wait().expect("our own child").is_some()
        });
    }
}

/// The configuration of the machine, on a disk that cloud-init looks for.
#[track_caller]
fn seed(dir: &TempDir) {
    let key = dir.file("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key])).ok();
    let key = fs::read_to_string(format!("{key}.pub")).expect("ssh-keygen made it");
    let config: String = router_config().lines().map(|line| format!("      {line}\n")).collect();
    let user_data = format!(
        "#cloud-config\nssh_authorized_keys: [\"{}\"]\nwrite_files:\n  - path: /etc/skiff/skiff.toml\n    \
         content: |\n{config}",
        key.trim()
    );
    let seed = dir.path().join("seed");
    fs::create_dir(&seed).expect("the directory is ours");
    for (name, text) in [("user-data", user_data.as_str()), ("meta-data", "instance-id: skiff-test\n")] {
        fs::write(seed.join(name), text).expect("the directory is ours");
    }
    let iso = dir.file("seed.iso");
    run(Command::new("genisoimage").args(["-quiet", "-V", "cidata", "-J", "-r", "-o", &iso]).arg(seed)).ok();
}

fn router_config() -> String {
    let mut config =
        "[system]\nlcores = \"1\"\nmemory = \"256M\"\nhugepages = \"require\"\n[metrics]\n".to_owned();
    for (name, address, slot) in SLOTS {
        config += &format!(
            "[interface.{name}]\ndevice = \"pci:0000:00:{slot:02x}.0\"\naddresses = [\"{address}/24\"]\n"
        );
    }
    config
}

fn command_line(dir: &TempDir, hardware: Hardware) -> String {
    let machine = if hardware.iommu {
        "-M q35,kernel-irqchip=split -device intel-iommu,intremap=on,caching-mode=on"
    } else {
        "-M q35"
    };
    // KVM where it works; DPDK wants SSE 4.2, which the default processor lacks.
    let accelerator = std::env::var("SKIFF_VM_ACCEL").unwrap_or_else(|_| "tcg,thread=multi".to_owned());
    let disk = |file: &str, format: &str| {
        format!(" -drive file={},if=virtio,format={format},cache=unsafe", dir.file(file))
    };
    let mut line = format!("qemu-system-x86_64 {machine} -accel {accelerator} -cpu max -smp 2 -m 1024");
    line += &format!(" -display none -nodefaults -no-reboot -serial file:{}", dir.file("console"));
    line += &disk("disk", "qcow2");
    line += &disk("seed.iso", "raw");
    line += &format!(" -netdev user,id=m,hostfwd=tcp:127.0.0.1:{SSH_PORT}-:22");
    line += " -device virtio-net-pci,netdev=m,mac=52:54:00:00:00:03,addr=3";
    for (index, (_, _, slot)) in SLOTS.iter().enumerate() {
        line += &format!(" -netdev tap,id=n{index},ifname=tap{index},script=no,downscript=no");
        line +=
            &format!(" -device {},netdev=n{index},mac=52:54:00:00:00:{slot:02x},addr={slot}", hardware.nic);
    }
    line
}
