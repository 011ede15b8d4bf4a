//! pcap-filter(7) texts to programs: libpcap compiles them in the process of the command line, so that its own words
//! say what is wrong with one, and the daemon gets instructions that it checks.

use pcap::{Capture, Linktype};
use serde::{Deserialize, Serialize};
use skiff_pmd::bpf::{Filter, Insn};

/// Compiles a filter for Ethernet frames. An empty one wants every packet.
///
/// # Errors
/// Why there is no such filter, in libpcap's words as far as it says.
pub fn compile(text: &str) -> Result<Vec<Insn>, String> {
    if text.contains('\0') {
        return Err("a filter has no NUL in it".to_owned());
    }
    let words = |error: pcap::Error| match error {
        pcap::Error::PcapError(text) => text,
        other => other.to_string(),
    };
    let program =
        Capture::dead(Linktype::ETHERNET).and_then(|dead| dead.compile(text, true)).map_err(words)?;
    let insns = program.get_instructions().iter().map(|insn| read(&insn.to_string()));
    let insns = insns.collect::<Option<Vec<Insn>>>().ok_or("libpcap wrote no program")?;
    // What libpcap may write and an lcore does not run: the loops of `protochain`.
    match Filter::new(&insns) {
        Ok(_) => Ok(insns),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads an instruction in the form of `tcpdump -ddd`, the only one the crate gives.
fn read(insn: &str) -> Option<Insn> {
    let mut numbers = insn.split(' ');
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let (code, jt, jf, k) = (next()?, next()?, next()?, next()?);
    Some(Insn { code: code.try_into().ok()?, jt: jt.try_into().ok()?, jf: jf.try_into().ok()?, k })
}

/// A program on its way to the daemon: instructions as code, jt, jf, k.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Program(Vec<(u16, u8, u8, u32)>);

impl Program {
    /// A filter ready to run.
    ///
    /// # Errors
    /// What is wrong with the program.
    pub fn filter(&self) -> Result<Filter, String> {
        let insns: Vec<Insn> = self.0.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
        Filter::new(&insns).map_err(|error| error.to_string())
    }
}

impl From<&[Insn]> for Program {
    fn from(insns: &[Insn]) -> Program {
        Program(insns.iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_the_programs_tcpdump_prints() {
        let insns = compile("icmp").unwrap();
        let listed: Vec<_> = insns.iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k)).collect();
        let returns = [(6, 0, 0, 0xffff_ffff), (6, 0, 0, 262_144), (6, 0, 0, 65535)];
        assert_eq!(listed[..4], [(0x28, 0, 0, 12), (0x15, 0, 3, 0x800), (0x30, 0, 0, 23), (0x15, 0, 1, 1)]);
        assert!(returns.contains(&listed[4]) && listed[5] == (6, 0, 0, 0), "{listed:?}");
        assert_eq!(compile("").unwrap().len(), 1);
    }

    #[test]
    fn mistakes_are_told_in_libpcaps_words() {
        assert_eq!(compile("tcp prot 80").unwrap_err(), "can't parse filter expression: syntax error");
        assert!(compile("host 1.2.3.4.5").unwrap_err().contains("1.2.3.4.5"));
        assert!(compile("ip protochain 6").unwrap_err().contains("jumps back"));
        assert!(compile("ic\0mp").is_err());
    }

    #[test]
    fn programs_survive_the_way_to_the_daemon() {
        let insns = compile("vlan 100 and tcp port 179").unwrap();
        let sent = serde_json::to_string(&Program::from(&insns[..])).unwrap();
        let program: Program = serde_json::from_str(&sent).unwrap();
        assert_eq!(program.filter().unwrap(), Filter::new(&insns).unwrap());
        let bad: Program = serde_json::from_str("[[255, 0, 0, 0]]").unwrap();
        assert_eq!(bad.filter().unwrap_err(), "instruction 0: unknown code 0xff");
        assert!(Program::default().filter().is_err());
    }
}
