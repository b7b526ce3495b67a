//! New flows a second over the number of entries, both logarithmic, as an SVG. Pure.

use std::fmt::Write as _;

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Labels of lines stand at least so far from each other.
const LABEL: f64 = 15.0;

/// The floor, ours, and the others: colours that the colour-blind tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 5] = ["#777777", "#0072b2", "#d55e00", "#cc79a7", "#e69f00"];

type Series = (String, Vec<(usize, f64)>);

/// Draws each series as a line with its name at its end.
pub fn svg(series: &[Series]) -> String {
    let series: Vec<&Series> = series.iter().filter(|(_, points)| !points.is_empty()).collect();
    let xs = || {
        series
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(count, _)| (*count as f64).log10())
    };
    let ys = || {
        series
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(_, rate)| rate.log10())
    };
    let axis = |from: f64, to: f64| (from.floor(), to.ceil());
    let (x_first, x_last) = axis(xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
    let (y_first, y_last) = axis(ys().fold(f64::MAX, f64::min), ys().fold(f64::MIN, f64::max));
    let x = |log: f64| LEFT + (log - x_first) / (x_last - x_first) * (WIDTH - LEFT - RIGHT);
    let y = |log: f64| HEIGHT - BOTTOM - (log - y_first) / (y_last - y_first) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>New flows a second over the number of elastic IPs</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">new flows a second, one core, over the number of elastic IPs</text>\n"
    );
    for decade in decades(x_first, x_last) {
        let (at, bottom) = (x(decade), HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{bottom:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            number(decade)
        );
    }
    for decade in decades(y_first, y_last) {
        let (at, right) = (y(decade), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            number(decade)
        );
    }
    let mut labels: Vec<(f64, usize)> = Vec::new();
    for (index, (_, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<String> = points
            .iter()
            .map(|(count, rate)| format!("{:.1},{:.1}", x((*count as f64).log10()), y(rate.log10())))
            .collect();
        let dashes = if index == 0 {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            places.join(" ")
        );
        for place in &places {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>");
        }
        labels.extend(points.last().map(|(_, rate)| (y(rate.log10()), index)));
    }
    labels.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = TOP;
    for (at, index) in labels {
        let at = at.max(free);
        free = at + LABEL;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text>",
            WIDTH - RIGHT + 8.0,
            at + 4.0,
            COLOURS[index % COLOURS.len()],
            series[index].0
        );
    }
    svg + "</svg>\n"
}

fn decades(first: f64, last: f64) -> impl Iterator<Item = f64> {
    (first as i32..=last as i32).map(f64::from)
}

/// 1,000 and 1 M rather than 10 to the third and sixth.
fn number(decade: f64) -> String {
    match decade as i32 {
        small @ 0..=2 => 10_i32.pow(small as u32).to_string(),
        thousands @ 3..=5 => format!("{} k", 10_i32.pow(thousands as u32 - 3)),
        millions @ 6..=8 => format!("{} M", 10_i32.pow(millions as u32 - 6)),
        other => format!("1e{other}"),
    }
}
