//! A report as a picture: throughput by frame size, the loss curve, and latency percentiles, as SVG.

use std::fmt::{Display, Write as _};

use crate::bench::SizeReport;
use crate::latency::Latency;
use crate::report::Report;
use crate::table::{place, title};

const WIDTH: f64 = 980.0;
const PANEL_HEIGHT: f64 = 300.0;
const TOP: f64 = 70.0;
const LEFT: f64 = 70.0;
/// Room for a legend to the right of a panel.
const RIGHT: f64 = 190.0;
/// Room for an axis and its title below a panel, and a title above the next.
const BETWEEN: f64 = 85.0;
/// Told apart without colour vision, too (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000"];
/// Gaps between the marks of an axis, at least so many.
const MARKS: f64 = 5.0;

/// The picture.
pub fn svg(report: &Report) -> String {
    let panels = [throughput(&report.sizes), loss(&report.sizes), latency(&report.sizes)];
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    let height = TOP + panels.len() as f64 * (PANEL_HEIGHT + BETWEEN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    words(&mut out, 15.0, 22.0, "start", 15, title(report));
    words(&mut out, 15.0, 40.0, "start", 10, place(report));
    for (at, panel) in panels.iter().enumerate() {
        panel.draw(&mut out, TOP + 20.0 + at as f64 * (PANEL_HEIGHT + BETWEEN));
    }
    out + "</svg>\n"
}

/// A pair of axes with something on them.
struct Panel {
    title: String,
    x_title: &'static str,
    x: Axis,
    y: Axis,
    lines: Vec<Line>,
    /// Bars, group by group, one of each series in each.
    bars: Option<Bars>,
}

struct Line {
    name: String,
    colour: usize,
    dashed: bool,
    points: Vec<(f64, f64)>,
    /// Points that are none of the router, by their number: drawn hollow.
    hollow: Vec<usize>,
}

struct Bars {
    series: Vec<String>,
    groups: Vec<Vec<f64>>,
}

/// From a value to a place between 0 and 1.
enum Axis {
    /// From 0 to this.
    Linear(f64),
    /// From one power of ten to another.
    Log(i32, i32),
    /// Names at equal distances.
    Names(Vec<String>),
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        match self {
            Axis::Linear(most) => value / most,
            Axis::Log(from, to) => {
                let range = f64::from(to - from);
                ((value.max(1e-9).log10() - f64::from(*from)) / range).clamp(0.0, 1.0)
            }
            Axis::Names(names) => (value + 0.5) / names.len() as f64,
        }
    }

    /// Values that get a mark, and what is written there.
    fn marks(&self) -> Vec<(f64, String)> {
        match self {
            Axis::Linear(most) => {
                let step = round_step(most / MARKS);
                let count = (most / step + 1e-9) as u32;
                (0..=count).map(|n| f64::from(n) * step).map(|value| (value, short(value))).collect()
            }
            Axis::Log(from, to) => {
                (*from..=*to).map(|n| 10f64.powi(n)).map(|value| (value, short(value))).collect()
            }
            Axis::Names(names) => {
                names.iter().enumerate().map(|(n, name)| (n as f64, name.clone())).collect()
            }
        }
    }
}

fn throughput(sizes: &[SizeReport]) -> Option<Panel> {
    let paced: Vec<_> =
        sizes.iter().filter_map(|size| Some((size.size, size.throughput.as_ref()?))).collect();
    let rates = |pps: [f64; 3]| pps.iter().map(|pps| pps / 1e6).collect::<Vec<_>>();
    let (names, series, groups): (Vec<usize>, Vec<String>, Vec<Vec<f64>>) = match paced.first() {
        Some((_, first)) => (
            paced.iter().map(|(size, _)| *size).collect(),
            vec!["NDR, strict".into(), "NDR, retried".into(), format!("PDR {} %", first.pdr_loss * 100.0)],
            paced
                .iter()
                .map(|(_, found)| rates([found.ndr_strict.pps, found.ndr.pps, found.pdr.pps]))
                .collect(),
        ),
        None => (
            sizes.iter().map(|size| size.size).collect(),
            vec!["received, flooded".into()],
            sizes.iter().map(|size| vec![size.flood.received_pps() / 1e6]).collect(),
        ),
    };
    let most = groups.iter().flatten().copied().fold(0.0, f64::max);
    Some(Panel {
        title: "Throughput by frame size, Mpps".into(),
        x_title: "bytes with FCS",
        x: Axis::Names(names.iter().map(ToString::to_string).collect()),
        y: Axis::Linear(above(most)),
        lines: Vec::new(),
        bars: Some(Bars { series, groups }),
    })
}

fn loss(sizes: &[SizeReport]) -> Option<Panel> {
    let lines: Vec<Line> = sizes
        .iter()
        .enumerate()
        .filter(|(_, size)| !size.curve.is_empty())
        .map(|(colour, size)| Line {
            name: format!("{} bytes", size.size),
            colour,
            dashed: false,
            // Below the last step nothing was lost either: the curve ends with two such.
            points: size
                .curve
                .iter()
                .map(|trial| (trial.offered_pps() / 1e6, trial.loss() * 100.0))
                .collect(),
            hollow: (0..size.curve.len()).filter(|&at| size.curve[at].is_generator_bound()).collect(),
        })
        .collect();
    let most =
        |of: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| &line.points).map(of).fold(0.0, f64::max);
    let (x, y) = (Axis::Linear(above(most(|point| point.0))), Axis::Linear(above(most(|point| point.1))));
    let title = "Loss, per cent of the frames offered (hollow: the generator fell short)".into();
    (!lines.is_empty()).then_some(Panel { title, x_title: "Mpps offered", x, y, lines, bars: None })
}

/// Of the smallest and the largest frames: seven sizes at three rates would be a thicket.
fn latency(sizes: &[SizeReport]) -> Option<Panel> {
    let measured: Vec<&SizeReport> = sizes.iter().filter(|size| !size.latency.is_empty()).collect();
    let (first, last) = (measured.first()?, measured.last()?);
    let mut lines = Vec::new();
    for (size, dashed) in [(first, false), (last, true)] {
        if dashed && size.size == first.size {
            continue;
        }
        for (colour, point) in size.latency.iter().enumerate() {
            let Some(latency) = point.trial.latency else { continue };
            let points =
                percentiles(&latency).into_iter().enumerate().map(|(n, us)| (n as f64, us)).collect();
            let name = format!("{} bytes, {:.0} % of NDR", size.size, point.share * 100.0);
            lines.push(Line { name, colour, dashed, points, hollow: Vec::new() });
        }
    }
    let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(1e-3, f64::max));
    let from = least.min(most).max(1e-3).log10().floor() as i32;
    let to = (most.log10().ceil() as i32).max(from + 1);
    let names = ["min", "50 %", "99 %", "99.9 %", "max"].map(str::to_owned).to_vec();
    let (x, y) = (Axis::Names(names), Axis::Log(from, to));
    let title = "Latency percentiles, microseconds".into();
    (!lines.is_empty()).then_some(Panel { title, x_title: "percentile", x, y, lines, bars: None })
}

fn percentiles(latency: &Latency) -> [f64; 5] {
    [latency.min_us, latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us]
}

impl Panel {
    fn draw(&self, out: &mut String, top: f64) {
        words(out, LEFT, top - 10.0, "start", 13, &self.title);
        self.axes(out, top);
        if let Some(bars) = &self.bars {
            self.bars(out, top, bars);
        }
        for (at, line) in self.lines.iter().enumerate() {
            self.line(out, top, at, line);
        }
    }

    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_at(&self, top: f64, value: f64) -> f64 {
        top + (1.0 - self.y.place(value)) * PANEL_HEIGHT
    }

    fn axes(&self, out: &mut String, top: f64) {
        let (right, bottom) = (WIDTH - RIGHT, top + PANEL_HEIGHT);
        for (value, name) in self.y.marks() {
            let y = self.y_at(top, value);
            stroke(out, (LEFT, y), (right, y), "#ddd");
            words(out, LEFT - 6.0, y + 4.0, "end", 11, name);
        }
        for (value, name) in self.x.marks() {
            let x = self.x_at(value);
            stroke(out, (x, bottom), (x, bottom + 4.0), "#444");
            words(out, x, bottom + 17.0, "middle", 11, name);
        }
        stroke(out, (LEFT, top), (LEFT, bottom), "#444");
        stroke(out, (LEFT, bottom), (right, bottom), "#444");
        words(out, (LEFT + right) / 2.0, bottom + 34.0, "middle", 11, self.x_title);
    }

    fn bars(&self, out: &mut String, top: f64, bars: &Bars) {
        let room = (WIDTH - LEFT - RIGHT) / bars.groups.len().max(1) as f64;
        let width = room * 0.8 / bars.series.len().max(1) as f64;
        for (group, values) in bars.groups.iter().enumerate() {
            for (series, &value) in values.iter().enumerate() {
                let x = LEFT + group as f64 * room + room * 0.1 + series as f64 * width;
                let y = self.y_at(top, value);
                let (height, colour) = (top + PANEL_HEIGHT - y, COLOURS[series % COLOURS.len()]);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                    width - 1.0
                );
                words(out, x + width / 2.0, y - 3.0, "middle", 9, format_args!("{value:.2}"));
            }
        }
        for (series, name) in bars.series.iter().enumerate() {
            legend(out, top, series, name, COLOURS[series % COLOURS.len()], false);
        }
    }

    fn line(&self, out: &mut String, top: f64, at: usize, line: &Line) {
        let colour = COLOURS[line.colour % COLOURS.len()];
        let places: Vec<(f64, f64)> =
            line.points.iter().map(|&(x, y)| (self.x_at(x), self.y_at(top, y))).collect();
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{}/>",
            points.join(" "),
            dashes(line.dashed)
        );
        for (n, (x, y)) in places.into_iter().enumerate() {
            let fill = if line.hollow.contains(&n) { "white" } else { colour };
            let _ = writeln!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{fill}\" stroke=\"{colour}\"/>"
            );
        }
        legend(out, top, at, &line.name, colour, line.dashed);
    }
}

fn legend(out: &mut String, top: f64, at: usize, name: &str, colour: &str, dashed: bool) {
    let (x, y) = (WIDTH - RIGHT + 15.0, top + 10.0 + at as f64 * 18.0);
    let _ = writeln!(
        out,
        "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"4\"{}/>",
        x + 22.0,
        dashes(dashed)
    );
    words(out, x + 28.0, y + 4.0, "start", 11, name);
}

fn dashes(dashed: bool) -> &'static str {
    if dashed { " stroke-dasharray=\"6 4\"" } else { "" }
}

fn stroke(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

fn words(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: impl Display) {
    let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
    );
}

/// The end of an axis for values up to this.
fn above(most: f64) -> f64 {
    let most = if most > 0.0 { most * 1.05 } else { 1.0 };
    let step = round_step(most / MARKS);
    (most / step).ceil() * step
}

/// 1, 2 or 5 times a power of ten, not above `value`.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().find(|step| step * power <= value * (1.0 + 1e-9));
    step.unwrap_or(1.0) * power
}

/// Without zeroes nobody needs.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_panel_is_drawn_inside_the_picture() {
        let svg = svg(&sample());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for part in
            ["Throughput by frame size", "Loss, per cent", "Latency percentiles", "64 bytes, 50 % of NDR"]
        {
            assert!(svg.contains(part), "{part}");
        }
        // Six bars, and the background.
        assert_eq!(svg.matches("<rect").count(), 7);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // The generator fell short at the first step of both sizes.
        assert_eq!(svg.matches("fill=\"white\" stroke").count(), 2);
        let height = TOP + 3.0 * (PANEL_HEIGHT + BETWEEN);
        for (name, most) in [(" y=\"", height), (" cy=\"", height), (" x=\"", WIDTH), (" cx=\"", WIDTH)] {
            for place in
                svg.split(name).skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok())
            {
                assert!((0.0..=most).contains(&place), "{name}{place}");
            }
        }
    }

    #[test]
    fn nothing_measured_is_no_reason_to_fail() {
        let mut report = sample();
        for size in &mut report.sizes {
            size.throughput = None;
            size.curve.clear();
            size.latency.clear();
        }
        assert!(svg(&report).contains("received, flooded"));
        report.sizes.clear();
        assert!(!svg(&report).contains("NaN"));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end) in [(1.0, 1.2), (0.0, 1.0), (37.0, 40.0)] {
            assert!((above(most) - end).abs() < 1e-9, "{most}: {}", above(most));
        }
        let marks: Vec<String> = Axis::Linear(1.2).marks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(marks, ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]);
        assert_eq!(Axis::Log(-1, 1).marks().len(), 3);
        assert_eq!(Axis::Log(0, 2).place(10.0), 0.5);
    }
}
