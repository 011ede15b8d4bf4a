//! `skiff top`: what the router does right now, refreshed every second, from the page of metrics that everybody may read.

mod reading;
mod screen;
mod view;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::cli::{Exit, error_line};
use crate::client::{Client, ClientError};
use reading::Reading;
use screen::Screen;
use view::View;

/// `skiff top`
#[derive(Clone, Copy, Debug, Args)]
pub struct Top {
    /// Print plain text instead of a screen, as top -b does
    #[arg(short, long)]
    pub batch: bool,
    /// Refreshes after which it ends
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Seconds between refreshes
    #[arg(short, long, value_name = "SECS", default_value_t = 1.0, value_parser = seconds)]
    pub delay: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(secs) if (0.1..=3600.0).contains(&secs) => Ok(secs),
        _ => Err("0.1 to 3600 seconds".to_owned()),
    }
}

/// Runs it.
pub fn main(args: &Top, client: &Client) -> ExitCode {
    if !args.batch && !std::io::stdout().is_terminal() {
        eprint!("{}", error_line("top", "standard output is no terminal (try --batch)"));
        return Exit::Failed.into();
    }
    let watch = Watch { client, began: Instant::now() };
    let ended = match args.batch {
        true => watch.batch(args),
        false => watch.screen(args),
    };
    match ended {
        Ok(()) => Exit::Ok.into(),
        Err(Trouble::Daemon(error)) => {
            eprintln!("skiff: {error}");
            ExitCode::from(error.exit())
        }
        Err(Trouble::Terminal(error)) => {
            eprint!("{}", error_line("top", error));
            Exit::Failed.into()
        }
    }
}

/// Why it ended.
enum Trouble {
    Daemon(ClientError),
    Terminal(std::io::Error),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Trouble::Daemon(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Terminal(error)
    }
}

struct Watch<'a> {
    client: &'a Client,
    began: Instant,
}

impl Watch<'_> {
    fn read(&self) -> Result<Reading, ClientError> {
        let page = self.client.metrics()?;
        Ok(Reading::parse(self.began.elapsed().as_secs_f64(), crate::daemon::unix_now(), &page))
    }

    fn batch(&self, args: &Top) -> Result<(), Trouble> {
        let mut old = self.read()?;
        let mut left = args.count;
        while left != Some(0) {
            std::thread::sleep(Duration::from_secs_f64(args.delay));
            let new = self.read()?;
            let mut out = std::io::stdout().lock();
            let text = View::between(&old, &new).text();
            // Somebody has seen enough.
            if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
            (old, left) = (new, left.map(|left| left - 1));
        }
        Ok(())
    }

    fn screen(&self, args: &Top) -> Result<(), Trouble> {
        // Nobody there is said on the terminal as it was.
        let first = self.read()?;
        let mut terminal = ratatui::try_init()?;
        let ended = self.refresh(&mut terminal, args, first);
        ratatui::try_restore()?;
        Ok(ended?)
    }

    fn refresh(
        &self,
        terminal: &mut ratatui::DefaultTerminal,
        args: &Top,
        mut old: Reading,
    ) -> std::io::Result<()> {
        let mut screen = Screen::default();
        let mut view = View::between(&old, &old);
        let mut left = args.count;
        loop {
            let next = Instant::now() + Duration::from_secs_f64(args.delay);
            loop {
                terminal.draw(|frame| screen.draw(frame, &view))?;
                if !event::poll(next.saturating_duration_since(Instant::now()))? {
                    break;
                }
                if let Event::Key(key) = event::read()?
                    && key.kind == KeyEventKind::Press
                    && !screen.key(key, &view)
                {
                    return Ok(());
                }
            }
            left = left.map(|left| left - 1);
            match self.read() {
                Ok(new) => {
                    view = View::between(&old, &new);
                    (old, screen.trouble) = (new, None);
                }
                Err(error) => screen.trouble = Some(error.to_string()),
            }
            if left == Some(0) {
                return Ok(());
            }
        }
    }
}
