//! What the viewer sees: lines, and on a terminal a table that stays in its place.

use std::io::{self, IsTerminal as _, Write as _};

use super::stop::Stop;

/// Standard output. A reader that left stops the demo instead of ending the program before it has cleaned up.
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table that the next one replaces.
    live: usize,
    stop: Stop,
}

impl Screen {
    pub(super) fn new(stop: Stop) -> Screen {
        Screen { terminal: io::stdout().is_terminal(), live: 0, stop }
    }

    /// Prints a line, or several.
    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        self.live = 0;
        self.write(&format!("{}\n", text.as_ref().trim_end()));
    }

    /// Prints the title of a part.
    pub(super) fn title(&mut self, text: &str) {
        let text = if self.terminal { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") };
        self.line(text);
    }

    /// Prints a command as one would type it.
    pub(super) fn command(&mut self, text: &str) {
        let text = if self.terminal { format!("\x1b[36m$ {text}\x1b[0m") } else { format!("$ {text}") };
        self.line(text);
    }

    /// Shows the newest rows of the table: in place of the last ones on a terminal, below them elsewhere.
    pub(super) fn rows(&mut self, rows: &[String]) {
        let mut text = String::new();
        if self.terminal && self.live > 0 {
            text = format!("\x1b[{}A\x1b[J", self.live);
        }
        for row in rows {
            text.push_str(row);
            text.push('\n');
        }
        self.live = rows.len();
        self.write(&text);
    }

    fn write(&self, text: &str) {
        let mut out = io::stdout();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.stop.set();
        }
    }
}
