//! Classic BPF (McCanne and Jacobson 1993; the instructions of pcap-filter and bpf(4)): which packets of a burst a
//! program wants.
//!
//! A program is checked once by [`Filter::new`]. After that nothing it does can fail: jumps go forward and stay inside,
//! so it ends; a load beyond the packet and a division by zero say "no", as they do in every other BPF. It sees a frame
//! as on the wire: a VLAN tag that travels beside the data is where it belongs ([`Pkt::tag_beside`]).
//!
//! It is not DPDK's librte_bpf, which reads memory that is not the packet's when an indirect offset wraps around 32
//! bits (`ether[0 - (ether[0] | 1)] = 1` ends the process), and whose burst call interprets as well.

use crate::burst::Burst;
use crate::pkt::Pkt;

/// Instructions a program may have, as in the kernel (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY: usize = 16;

/// An instruction, as C's `struct bpf_insn` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Insn {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// What is wrong with a program. Instructions are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No instructions, or more than [`MAX_INSNS`].
    #[error("a program has 1 to {MAX_INSNS} instructions, this one {0}")]
    Length(usize),
    /// There is no such instruction.
    #[error("instruction {at}: unknown code {code:#x}")]
    Code {
        /// Which.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// It jumps behind the last instruction, or back.
    #[error("instruction {0}: jumps back or out of the program")]
    Jump(usize),
    /// There is no such word of scratch memory.
    #[error("instruction {0}: there are {MEMORY} words of memory")]
    Memory(usize),
    /// It divides by zero, or shifts by more bits than there are.
    #[error("instruction {0}: divides by zero or shifts by 32 or more")]
    Operand(usize),
    /// The last instruction does not return.
    #[error("the last instruction is no return")]
    NoReturn,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    ops: Box<[Op]>,
}

impl Filter {
    /// Checks a program.
    ///
    /// # Errors
    /// [`FilterError`]: the first thing that is wrong with it.
    pub fn new(program: &[Insn]) -> Result<Filter, FilterError> {
        if program.is_empty() || program.len() > MAX_INSNS {
            return Err(FilterError::Length(program.len()));
        }
        let ops = program.iter().enumerate().map(|(at, insn)| check(insn, at, program.len()));
        let ops: Box<[Op]> = ops.collect::<Result<_, _>>()?;
        match ops.last() {
            Some(Op::ReturnA | Op::Return(_)) => Ok(Filter { ops }),
            _ => Err(FilterError::NoReturn),
        }
    }

    /// A mask of the packets the program wants; bit 0 is the first.
    pub fn matches(&self, burst: &Burst) -> u32 {
        burst.mask_of(|pkt| self.wants(pkt))
    }

    /// Whether the program wants this packet.
    pub fn wants(&self, pkt: &Pkt) -> bool {
        self.run(&Frame { pkt, whole: pkt.tag_beside().is_none(), first: pkt.data() }).is_some_and(|n| n != 0)
    }

    /// What the program returns; `None` if it ends by a load beyond the packet or a division by zero.
    fn run(&self, frame: &Frame<'_>) -> Option<u32> {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
        let mut pc = 0;
        loop {
            let op = self.ops.get(pc)?;
            pc += 1;
            match *op {
                Op::Return(k) => return Some(k),
                Op::ReturnA => return Some(a),
                Op::Load(size, k) => a = frame.load(size, k)?,
                Op::LoadIndirect(size, k) => a = frame.load(size, x.checked_add(k)?)?,
                Op::LoadHeaderLen(k) => x = (frame.load(Size::Byte, k)? & 0xf) << 2,
                Op::SetA(k) => a = k,
                Op::SetX(k) => x = k,
                Op::LenA => a = frame.pkt.wire_len() as u32,
                Op::LenX => x = frame.pkt.wire_len() as u32,
                Op::RecallA(m) => a = memory[m.0],
                Op::RecallX(m) => x = memory[m.0],
                Op::KeepA(m) => memory[m.0] = a,
                Op::KeepX(m) => memory[m.0] = x,
                Op::Alu(alu, k) => a = alu.apply(a, k)?,
                Op::AluX(alu) => a = alu.apply(a, x)?,
                Op::Negate => a = a.wrapping_neg(),
                Op::Tax => x = a,
                Op::Txa => a = x,
                Op::Jump(skip) => pc += skip as usize,
                Op::Test(test, k, jt, jf) => pc += usize::from(if test.holds(a, k) { jt } else { jf }),
                Op::TestX(test, jt, jf) => pc += usize::from(if test.holds(a, x) { jt } else { jf }),
            }
        }
    }
}

/// A packet to load from.
struct Frame<'a> {
    pkt: &'a Pkt,
    /// All of the first segment stands as on the wire.
    whole: bool,
    first: &'a [u8],
}

impl Frame<'_> {
    /// Loads a number, most significant byte first.
    #[inline]
    fn load(&self, size: Size, at: u32) -> Option<u32> {
        match size {
            Size::Byte => self.bytes::<1>(at).map(|[b]| b.into()),
            Size::Half => self.bytes(at).map(|half| u16::from_be_bytes(half).into()),
            Size::Word => self.bytes(at).map(u32::from_be_bytes),
        }
    }

    #[inline]
    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let at = at as usize;
        if self.whole
            && let Some(bytes) = self.first.get(at..).and_then(<[u8]>::first_chunk)
        {
            return Some(*bytes);
        }
        self.bytes_across(at)
    }

    #[cold]
    fn bytes_across<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.pkt.copy_wire(at, &mut bytes) == N).then_some(bytes)
    }
}

/// A checked instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Return(u32),
    ReturnA,
    Load(Size, u32),
    LoadIndirect(Size, u32),
    /// X = 4 * (byte & 0xf): the length of an IP header.
    LoadHeaderLen(u32),
    SetA(u32),
    SetX(u32),
    LenA,
    LenX,
    RecallA(Word),
    RecallX(Word),
    KeepA(Word),
    KeepX(Word),
    Alu(Alu, u32),
    AluX(Alu),
    Negate,
    Tax,
    Txa,
    Jump(u32),
    Test(Test, u32, u8, u8),
    TestX(Test, u8, u8),
}

/// A word of scratch memory: less than [`MEMORY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Word,
    Half,
    Byte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
}

impl Alu {
    /// `None` for a division by zero.
    #[inline]
    fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Alu::Add => a.wrapping_add(b),
            Alu::Sub => a.wrapping_sub(b),
            Alu::Mul => a.wrapping_mul(b),
            Alu::Div => a.checked_div(b)?,
            Alu::Mod => a.checked_rem(b)?,
            Alu::Or => a | b,
            Alu::And => a & b,
            Alu::Xor => a ^ b,
            // All bits out leaves nothing, as in libpcap.
            Alu::Lsh => a.checked_shl(b).unwrap_or(0),
            Alu::Rsh => a.checked_shr(b).unwrap_or(0),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Test {
    #[inline]
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Test::Equal => a == b,
            Test::Greater => a > b,
            Test::GreaterOrEqual => a >= b,
            Test::AnyBit => a & b != 0,
        }
    }
}

/// Reads instruction `at` of a program of `len`.
fn check(insn: &Insn, at: usize, len: usize) -> Result<Op, FilterError> {
    let Insn { code, k, .. } = *insn;
    let word = || usize::try_from(k).ok().filter(|k| *k < MEMORY).map(Word).ok_or(FilterError::Memory(at));
    Ok(match code {
        code::RET_K => Op::Return(k),
        code::RET_A => Op::ReturnA,
        code::LD_W_ABS => Op::Load(Size::Word, k),
        code::LD_H_ABS => Op::Load(Size::Half, k),
        code::LD_B_ABS => Op::Load(Size::Byte, k),
        code::LD_W_IND => Op::LoadIndirect(Size::Word, k),
        code::LD_H_IND => Op::LoadIndirect(Size::Half, k),
        code::LD_B_IND => Op::LoadIndirect(Size::Byte, k),
        code::LDX_MSH => Op::LoadHeaderLen(k),
        code::LD_IMM => Op::SetA(k),
        code::LDX_IMM => Op::SetX(k),
        code::LD_LEN => Op::LenA,
        code::LDX_LEN => Op::LenX,
        code::LD_MEM => Op::RecallA(word()?),
        code::LDX_MEM => Op::RecallX(word()?),
        code::ST => Op::KeepA(word()?),
        code::STX => Op::KeepX(word()?),
        code::TAX => Op::Tax,
        code::TXA => Op::Txa,
        code::NEG => Op::Negate,
        _ if code & code::CLASS == code::ALU => check_alu(insn, at)?,
        _ if code & code::CLASS == code::JMP => check_jump(insn, at, len)?,
        _ => return Err(FilterError::Code { at, code }),
    })
}

fn check_alu(insn: &Insn, at: usize) -> Result<Op, FilterError> {
    let alu = match insn.code & !(code::CLASS | code::X) {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Lsh,
        0x70 => Alu::Rsh,
        0x90 => Alu::Mod,
        0xa0 => Alu::Xor,
        _ => return Err(FilterError::Code { at, code: insn.code }),
    };
    if insn.code & code::X != 0 {
        return Ok(Op::AluX(alu));
    }
    match alu {
        Alu::Div | Alu::Mod if insn.k == 0 => Err(FilterError::Operand(at)),
        Alu::Lsh | Alu::Rsh if insn.k >= u32::BITS => Err(FilterError::Operand(at)),
        _ => Ok(Op::Alu(alu, insn.k)),
    }
}

fn check_jump(insn: &Insn, at: usize, len: usize) -> Result<Op, FilterError> {
    // Instructions behind this one; a jump may skip all but one of them. Jumps back, which libpcap writes as huge
    // ones for `protochain`, could go on for ever.
    let behind = len - at - 1;
    let lands = |skip: u32| usize::try_from(skip).is_ok_and(|skip| skip < behind);
    if insn.code == code::JA {
        return if lands(insn.k) { Ok(Op::Jump(insn.k)) } else { Err(FilterError::Jump(at)) };
    }
    let test = match insn.code & !(code::CLASS | code::X) {
        0x10 => Test::Equal,
        0x20 => Test::Greater,
        0x30 => Test::GreaterOrEqual,
        0x40 => Test::AnyBit,
        _ => return Err(FilterError::Code { at, code: insn.code }),
    };
    if !lands(insn.jt.into()) || !lands(insn.jf.into()) {
        return Err(FilterError::Jump(at));
    }
    Ok(match insn.code & code::X {
        0 => Op::Test(test, insn.k, insn.jt, insn.jf),
        _ => Op::TestX(test, insn.jt, insn.jf),
    })
}

/// Codes, from the bits that class, size, mode and operation have in them.
mod code {
    pub(super) const CLASS: u16 = 0x07;
    /// The operand is X.
    pub(super) const X: u16 = 0x08;
    pub(super) const ALU: u16 = 0x04;
    pub(super) const JMP: u16 = 0x05;

    pub(super) const LD_W_ABS: u16 = 0x20;
    pub(super) const LD_H_ABS: u16 = 0x28;
    pub(super) const LD_B_ABS: u16 = 0x30;
    pub(super) const LD_W_IND: u16 = 0x40;
    pub(super) const LD_H_IND: u16 = 0x48;
    pub(super) const LD_B_IND: u16 = 0x50;
    pub(super) const LD_IMM: u16 = 0x00;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const LD_LEN: u16 = 0x80;
    pub(super) const LDX_IMM: u16 = 0x01;
    pub(super) const LDX_MEM: u16 = 0x61;
    pub(super) const LDX_LEN: u16 = 0x81;
    pub(super) const LDX_MSH: u16 = 0xb1;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const NEG: u16 = 0x84;
    pub(super) const JA: u16 = 0x05;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const RET_A: u16 = 0x16;
    pub(super) const TAX: u16 = 0x07;
    pub(super) const TXA: u16 = 0x87;
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn programs_are_checked_before_they_run() {
        let ret = insn(code::RET_K, 0, 0, 1);
        for (program, expected) in [
            (vec![], FilterError::Length(0)),
            (vec![ret; MAX_INSNS + 1], FilterError::Length(MAX_INSNS + 1)),
            (vec![insn(code::LD_IMM, 0, 0, 1)], FilterError::NoReturn),
            (vec![insn(0xff, 0, 0, 0), ret], FilterError::Code { at: 0, code: 0xff }),
            (vec![insn(0x106, 0, 0, 0), ret], FilterError::Code { at: 0, code: 0x106 }),
            (vec![insn(0x0e, 0, 0, 0), ret], FilterError::Code { at: 0, code: 0x0e }),
            (vec![insn(0x84 | 8, 0, 0, 0), ret], FilterError::Code { at: 0, code: 0x8c }),
            (vec![insn(code::JA, 0, 0, 1), ret], FilterError::Jump(0)),
            (vec![ret, insn(code::JA, 0, 0, u32::MAX), ret], FilterError::Jump(1)),
            (vec![insn(0x15, 0, 1, 0), ret], FilterError::Jump(0)),
            (vec![insn(0x1d, 1, 0, 0), ret], FilterError::Jump(0)),
            (vec![insn(code::ST, 0, 0, 16), ret], FilterError::Memory(0)),
            (vec![insn(code::LDX_MEM, 0, 0, u32::MAX), ret], FilterError::Memory(0)),
            (vec![insn(0x34, 0, 0, 0), ret], FilterError::Operand(0)),
            (vec![insn(0x94, 0, 0, 0), ret], FilterError::Operand(0)),
            (vec![insn(0x64, 0, 0, 32), ret], FilterError::Operand(0)),
        ] {
            assert_eq!(Filter::new(&program).unwrap_err(), expected, "{program:?}");
        }
        assert!(Filter::new(&[insn(code::JA, 0, 0, 0), ret]).is_ok());
    }
}
