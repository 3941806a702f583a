//! A picture of what was measured: bars on a logarithmic scale, as an SVG of a few shapes.

use std::fmt::Write as _;

use crate::book::{Book, OURS, Row, Unit};

const WIDTH: f64 = 960.0;
/// Where bars begin, and where the longest ends.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 850.0;
const BAR: f64 = 13.0;
const GAP: f64 = 3.0;
const HEADING: f64 = 26.0;

/// Bars of this project, and of everything else.
const OURS_COLOUR: &str = "#c2410c";
const COLOUR: &str = "#94a3b8";

/// The picture, with a line below that says where and when.
pub(crate) fn svg(book: &Book, below: &str) -> String {
    let mut body = String::new();
    let mut y = 8.0;
    let panels = [
        (Unit::Time, "Microseconds a call: shorter is better"),
        (Unit::Rate, "Calls a second: longer is better"),
    ];
    for (unit, title) in panels {
        let rows: Vec<_> = book.rows.iter().filter(|row| row.unit == unit).collect();
        if rows.is_empty() {
            continue;
        }
        y = panel(&mut body, y, title, &rows);
    }
    y += 20.0;
    text(&mut body, 12.0, y, "start", "#64748b", 11, below);
    y += 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y:.0}\" \
         viewBox=\"0 0 {WIDTH} {y:.0}\" font-family=\"system-ui, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws one panel from `y` on, and tells where it ends.
fn panel(body: &mut String, mut y: f64, title: &str, rows: &[&Row]) -> f64 {
    let spreads = rows.iter().flat_map(|row| &row.sides);
    let spreads: Vec<_> = spreads.map(|side| side.spread()).collect();
    let lowest = spreads
        .iter()
        .map(|spread| spread.p50)
        .fold(f64::MAX, f64::min);
    let highest = spreads.iter().map(|spread| spread.p99).fold(1.0, f64::max);
    let scale = Scale::new(lowest, highest);
    y += 22.0;
    text(body, 12.0, y, "start", "#0f172a", 16, title);
    for row in rows {
        y += HEADING;
        text(body, 12.0, y, "start", "#0f172a", 12, &row.title);
        y += 7.0;
        for side in &row.sides {
            let spread = side.spread();
            let colour = if side.name == OURS {
                OURS_COLOUR
            } else {
                COLOUR
            };
            let (end, tail) = (scale.place(spread.p50), scale.place(spread.p99));
            let middle = y + BAR / 2.0;
            text(
                body,
                LEFT - 8.0,
                y + BAR - 2.5,
                "end",
                "#334155",
                11,
                &side.name,
            );
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <line x1=\"{end:.1}\" x2=\"{tail:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" \
                 stroke=\"{colour}\" stroke-width=\"2\"/>",
                (end - LEFT).max(1.0)
            );
            let label = figure(row.unit, spread.p50);
            let after = end.max(tail) + 6.0;
            text(body, after, y + BAR - 2.5, "start", "#334155", 11, &label);
            y += BAR + GAP;
        }
    }
    y
}

/// A logarithmic scale that begins at a power of ten.
struct Scale {
    from: f64,
    decades: f64,
}

impl Scale {
    fn new(lowest: f64, highest: f64) -> Scale {
        let from = lowest.max(1.0).log10().floor();
        Scale {
            from,
            decades: (highest.log10() - from).max(1.0),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(1.0).log10() - self.from) / self.decades;
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Time if value < 1e5 => format!("{:.1} µs", value / 1e3),
        Unit::Time if value < 1e6 => format!("{:.0} µs", value / 1e3),
        Unit::Time => format!("{:.1} ms", value / 1e6),
        Unit::Rate => format!("{value:.0}"),
    }
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, colour: &str, size: u32, what: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" \
         font-size=\"{size}\">{what}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(svg: &str) -> Vec<f64> {
        let bars = svg.lines().filter(|line| line.starts_with("<rect x="));
        let width = |line: &str| {
            line.split("width=\"")
                .nth(1)?
                .split('"')
                .next()?
                .parse()
                .ok()
        };
        bars.filter_map(width).collect()
    }

    #[test]
    fn what_takes_longer_has_a_longer_bar() {
        let mut row = Row::new("add", "add <of two>", Unit::Time);
        row.add("raw", vec![20_000.0]);
        row.add(OURS, vec![50_000.0]);
        row.add("python", vec![900_000.0]);
        let svg = svg(&Book { rows: vec![row] }, "somewhere");
        let widths = widths(&svg);
        assert_eq!(widths.len(), 3);
        assert!(widths.is_sorted() && widths[2] <= RIGHT - LEFT);
        assert!(svg.contains("add &lt;of two>") && svg.contains("50.0 µs"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(OURS_COLOUR) && !svg.contains("NaN"));
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let svg = svg(&Book::default(), "");
        assert!(widths(&svg).is_empty() && !svg.contains("NaN"));
    }
}
