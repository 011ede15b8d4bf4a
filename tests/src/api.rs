//! The router's API socket, asked directly: thousands of commands without a process for each.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::Outcome;

/// No command takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection to the API socket that stays open.
#[derive(Debug)]
pub struct Api(BufReader<UnixStream>);

impl Api {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    #[track_caller]
    pub fn connect(socket: &str) -> Self {
        let stream = UnixStream::connect(socket).unwrap_or_else(|why| panic!("{socket}: {why}"));
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a limit above 0");
        Api(BufReader::new(stream))
    }

    /// Runs `skiff PROGRAM LINE` there, of `ip` or `tc`.
    ///
    /// # Panics
    /// If there is no answer; a refusal is one.
    #[track_caller]
    pub fn run(&mut self, program: &str, line: &str) -> Outcome {
        let args: Vec<&str> = line.split_whitespace().collect();
        let answer = self.exchange(program, &json!({ "args": args }).to_string());
        let answer = answer.unwrap_or_else(|why| panic!("{program} {line}: {why}"));
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let code = answer["exit"].as_i64().unwrap_or_else(|| panic!("{program} {line}: {answer}"));
        Outcome { code: code as i32, out: text("stdout"), err: text("stderr") }
    }

    /// One request and its answer, which have their lengths (RFC 9112 section 6.2).
    fn exchange(&mut self, program: &str, body: &str) -> std::io::Result<Value> {
        let head = format!(
            "POST /v1/{program} HTTP/1.1\r\nHost: skiff\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all((head + body).as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        serde_json::from_slice(&body).map_err(std::io::Error::other)
    }
}
