#![no_main]
//! Frames of listeners: refused, or read as what they would be written as.

use libfuzzer_sys::fuzz_target;
use nfqueue::Frame;
use nfqueue::frame::{HEADER_LEN, MAGIC, VERSION};

// A message as it is, and its bytes as the body of a frame that gets as far as its body.
fuzz_target!(|data: &[u8]| {
    check(data);
    let Some((&kind, body)) = data.split_first() else { return };
    let length = (HEADER_LEN + body.len()) as u32;
    let header = [&MAGIC.to_le_bytes()[..], &[VERSION, kind % 16], &[0, 0], &length.to_le_bytes()].concat();
    check(&[&header, body].concat());
});

fn check(message: &[u8]) {
    match Frame::decode(message) {
        Ok(frame) => assert_eq!(Frame::decode(&frame.encode()), Ok(frame)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
