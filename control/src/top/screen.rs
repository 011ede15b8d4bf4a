//! The screen of `skiff top`: what stands where, and what keys do. Drawing is a function of the state alone.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, TableState};

use super::view::{Pane, View};

const HELP: &str = "q quit  tab/←/→ pane  ↑/↓ scroll  s sort";
/// Panes there may be.
const PANES: usize = 4;

/// What the user has chosen.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// The pane that keys are for.
    pane: usize,
    /// The column each pane is sorted by; its own order if `None`.
    sort: [Option<usize>; PANES],
    /// Rows that are scrolled out at the top.
    scrolled: [usize; PANES],
    /// What is wrong, if something is.
    pub trouble: Option<String>,
}

impl Screen {
    /// Takes a key. False if it ends the program.
    pub fn key(&mut self, key: KeyEvent, view: &View) -> bool {
        let panes = view.panes.len().clamp(1, PANES);
        self.pane = self.pane.min(panes - 1);
        let rows = view.panes.get(self.pane).map_or(0, |pane| pane.rows.len());
        let scrolled = &mut self.scrolled[self.pane];
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Tab | KeyCode::Right => self.pane = (self.pane + 1) % panes,
            KeyCode::BackTab | KeyCode::Left => self.pane = (self.pane + panes - 1) % panes,
            KeyCode::Down => *scrolled = (*scrolled + 1).min(rows.saturating_sub(1)),
            KeyCode::Up => *scrolled = scrolled.saturating_sub(1),
            KeyCode::Char('s') => self.sort_by_next(view),
            _ => {}
        }
        true
    }

    /// Every column in turn, and then the pane's own order again.
    fn sort_by_next(&mut self, view: &View) {
        let columns = view.panes.get(self.pane).map_or(0, |pane| pane.columns.len());
        let sort = &mut self.sort[self.pane];
        *sort = match *sort {
            None => Some(0),
            Some(at) => Some(at + 1).filter(|at| *at < columns),
        };
    }

    /// Draws everything.
    pub fn draw(&self, frame: &mut Frame<'_>, view: &View) {
        let panes = view.panes.iter().take(PANES);
        let wanted = |pane: &Pane| {
            Constraint::Max(u16::try_from(pane.rows.len()).unwrap_or(u16::MAX).saturating_add(3))
        };
        let heights = std::iter::once(Constraint::Length(3)).chain(panes.clone().map(wanted));
        let areas = Layout::vertical(heights).split(frame.area());
        let mut lines: Vec<Line<'_>> = view.header.iter().map(|line| Line::from(line.as_str())).collect();
        lines.push(Line::from(self.trouble.as_deref().unwrap_or(HELP)));
        frame.render_widget(Paragraph::new(lines), areas[0]);
        for (at, pane) in panes.enumerate() {
            let mut state = TableState::default().with_offset(self.scrolled[at]);
            frame.render_stateful_widget(self.table(at, pane), areas[at + 1], &mut state);
        }
    }

    fn table(&self, at: usize, pane: &Pane) -> Table<'static> {
        let mut pane = pane.clone();
        if let Some(column) = self.sort[at] {
            pane.sort_by(column);
        }
        let aligned = |column: usize, text: String| {
            let side = if pane.is_numeric(column) { Alignment::Right } else { Alignment::Left };
            Text::from(text).alignment(side)
        };
        let head = |(column, head): (usize, &&str)| {
            let style = match self.sort[at] == Some(column) {
                true => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
                false => Style::new().add_modifier(Modifier::BOLD),
            };
            aligned(column, (*head).to_owned()).style(style)
        };
        let rows = pane.rows.iter().map(|row| {
            Row::new(row.iter().enumerate().map(|(column, cell)| aligned(column, cell.text.clone())))
        });
        let widths = pane
            .widths()
            .into_iter()
            .map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
        let border = match at == self.pane {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        let block = Block::new().borders(Borders::TOP).title(pane.title).border_style(border);
        Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
            .header(Row::new(pane.columns.iter().enumerate().map(head)))
            .column_spacing(2)
            .block(block)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::view::tests::example;

    fn drawn(screen: &Screen, view: &View, size: (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| screen.draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let width = usize::from(size.0);
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(width).map(|row| row.concat().trim_end().to_owned()).collect()
    }

    fn press(screen: &mut Screen, view: &View, code: KeyCode) -> bool {
        screen.key(KeyEvent::from(code), view)
    }

    #[test]
    fn everything_has_its_place() {
        let lines = drawn(&Screen::default(), &example(), (80, 24));
        assert_eq!(lines[0], "skiff 0.1.0  up 1d 01:00:03");
        assert!(lines[2].starts_with("q quit"), "{}", lines[2]);
        assert!(lines[3].starts_with("lcores──"), "{}", lines[3]);
        assert_eq!(lines[4], "LCORE  CPU  BUSY%  IDLE%  SLEEP%  RX-PPS  CYC/PKT  BURST");
        assert_eq!(lines[5], "0      3     75.0   25.0     0.0      15       50    7.5");
        let at = |text: &str| {
            lines
                .iter()
                .position(|line| line.starts_with(text))
                .unwrap_or_else(|| panic!("{text}: {lines:#?}"))
        };
        assert!(at("lan  ") < at("netfilter_drop") && at("netfilter_drop") < at("lan  1:10"));
    }

    #[test]
    fn a_small_screen_shows_what_it_can() {
        for size in [(80, 3), (10, 8), (1, 1)] {
            drawn(&Screen::default(), &example(), size);
        }
    }

    #[test]
    fn keys_choose_scroll_and_sort() {
        let view = example();
        let mut screen = Screen::default();
        assert!(press(&mut screen, &view, KeyCode::Tab) && press(&mut screen, &view, KeyCode::Right));
        assert_eq!(screen.pane, 2);
        // By reason, by stage, by rate, by total, and as it was.
        let mut first = Vec::new();
        for _ in 0..5 {
            press(&mut screen, &view, KeyCode::Char('s'));
            let lines = drawn(&screen, &view, (80, 24));
            let head = lines.iter().position(|line| line.starts_with("REASON")).unwrap();
            first.push(lines[head + 1].split(' ').next().unwrap().to_owned());
        }
        let [no_route, filtered] = ["ip_innoroutes", "netfilter_drop"];
        assert_eq!(first, [no_route, no_route, filtered, filtered, filtered]);
        assert_eq!(screen.sort[2], None);
        (0..9).for_each(|_| _ = press(&mut screen, &view, KeyCode::Down));
        assert_eq!(screen.scrolled[2], 1, "the last row stays");
        (0..3).for_each(|_| _ = press(&mut screen, &view, KeyCode::BackTab));
        assert_eq!(screen.pane, 3, "round the other way");
        // Classes are gone: so is their pane.
        let fewer = View { panes: view.panes[..3].to_vec(), ..view.clone() };
        assert!(press(&mut screen, &fewer, KeyCode::Char('x')));
        assert_eq!(screen.pane, 2);
        assert!(!press(&mut screen, &view, KeyCode::Char('q')));
        assert!(!screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), &view));
    }
}
