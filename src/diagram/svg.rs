//! An SVG image: outside above, the router below it, then its networks, beside each other, each with its VMs in columns; at the
//! bottom mirrors, each with where it copies from and to.
//! Widths are those of a fixed-width font, so that nothing needs to be measured.

use std::fmt::Write;

use super::group::{Copies, Network, Picture};

/// A character's width and a line's height, at the font's size.
const SIZE: usize = 13;
const CHARACTER: usize = 8;
const LINE: usize = 18;
/// Around text in a box, and between boxes.
const PADDING: usize = 10;
const GAP: usize = 12;
/// Between the rows of the picture, with room for the words on a line.
const ROW: usize = 64;
/// A network whose column of VMs would be higher gets another one.
const HIGHEST: usize = 560;

/// A box with text, where it stands.
struct Card<'t> {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    title: &'t str,
    lines: &'t [String],
}

impl<'t> Card<'t> {
    fn new(title: &'t str, lines: &'t [String]) -> Self {
        let longest = lines
            .iter()
            .map(|line| line.chars().count())
            .chain([title.chars().count()])
            .max();
        Self {
            x: 0,
            y: 0,
            width: longest.unwrap_or_default() * CHARACTER + 2 * PADDING,
            height: (lines.len() + 1) * LINE + PADDING + PADDING / 2,
            title,
            lines,
        }
    }

    fn at(mut self, x: usize, y: usize) -> Self {
        (self.x, self.y) = (x, y);
        self
    }

    fn draw(&self, out: &mut String, class: &str) {
        let Self {
            x, y, width, height, ..
        } = self;
        let _ = writeln!(
            out,
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>"#
        );
        text(out, "title", x + PADDING, y + PADDING + SIZE, self.title);
        for (index, line) in self.lines.iter().enumerate() {
            text(
                out,
                "line",
                x + PADDING,
                y + PADDING + SIZE + (index + 1) * LINE,
                line,
            );
        }
    }
}

/// A network that is laid out from its own corner.
struct Block<'p> {
    network: &'p Network,
    cards: Vec<Card<'p>>,
    width: usize,
    height: usize,
}

impl<'p> Block<'p> {
    fn new(network: &'p Network) -> Self {
        let mut cards: Vec<Card<'p>> = network
            .vms
            .iter()
            .map(|vm| Card::new(&vm.address, &vm.lines))
            .collect();
        cards.extend(network.more.as_ref().map(|more| Card::new(more, &[])));
        if cards.is_empty() {
            cards.push(Card::new("no VM has an entry", &[]));
        }
        // All of one width, column by column.
        let width = cards.iter().map(|card| card.width).max().unwrap_or_default();
        let top = PADDING + LINE + GAP;
        let (mut x, mut y, mut height) = (GAP, top, 0);
        let shown = network.vms.len();
        for (index, card) in cards.iter_mut().enumerate() {
            // What counts the rest stays below the last one.
            if y > top && y + card.height > HIGHEST && index < shown {
                (x, y) = (x + width + GAP, top);
            }
            (card.x, card.y, card.width) = (x, y, width);
            y += card.height + GAP;
            height = height.max(y);
        }
        let title = network.name.chars().count() * CHARACTER + 2 * GAP;
        // The words on its line have to fit beside those of its neighbours.
        let nic = network
            .nic
            .as_ref()
            .map_or(0, |nic| nic.chars().count() * CHARACTER + 2 * PADDING);
        let block = Self {
            network,
            cards,
            width: (x + width + GAP).max(title).max(nic),
            height,
        };
        if x == GAP { block.filled() } else { block }
    }

    /// One column, as wide as the network.
    fn filled(mut self) -> Self {
        for card in &mut self.cards {
            card.width = self.width - 2 * GAP;
        }
        self
    }
}

pub(super) fn draw(picture: &Picture) -> String {
    let blocks: Vec<Block<'_>> = picture.networks.iter().map(Block::new).collect();
    let router = Card::new("kylin-vr", &picture.router);
    let outside = picture.outside.as_ref().map(|lines| Card::new("outside", lines));
    let row: usize = blocks
        .iter()
        .map(|block| block.width + GAP)
        .sum::<usize>()
        .saturating_sub(GAP);
    let inner = row
        .max(router.width)
        .max(outside.as_ref().map_or(0, |card| card.width));
    let width = inner + 2 * GAP;
    let middle = width / 2;

    let mut body = String::new();
    let mut y = GAP;
    if let Some(card) = outside {
        let (card_width, height) = (card.width, card.height);
        line(
            &mut body,
            "wire",
            (middle, y + height),
            (middle, y + height + ROW / 2),
        );
        card.at(middle - card_width / 2, y).draw(&mut body, "outside");
        y += height + ROW / 2;
    }
    let (router_width, router_height) = (router.width, router.height);
    router.at(middle - router_width / 2, y).draw(&mut body, "router");
    y += router_height;

    let top = y + ROW;
    let bus = y + ROW / 3;
    let mut x = middle - row / 2;
    let mut bottom = y;
    let centres: Vec<usize> = blocks
        .iter()
        .scan(x, |x, block| {
            let centre = *x + block.width / 2;
            *x += block.width + GAP;
            Some(centre)
        })
        .collect();
    if let (Some(first), Some(last)) = (centres.first(), centres.last()) {
        line(&mut body, "wire", (middle, y), (middle, bus));
        line(
            &mut body,
            "wire",
            ((*first).min(middle), bus),
            ((*last).max(middle), bus),
        );
    }
    for (block, centre) in blocks.into_iter().zip(centres) {
        let class = if block.network.nic.is_some() {
            "wire"
        } else {
            "no-wire"
        };
        line(&mut body, class, (centre, bus), (centre, top));
        let (width, height) = (block.width, block.height);
        let _ = writeln!(
            body,
            r#"<rect class="network" x="{x}" y="{top}" width="{width}" height="{height}" rx="8"/>"#
        );
        text(
            &mut body,
            "title",
            x + GAP,
            top + PADDING + SIZE,
            &block.network.name,
        );
        if let Some(nic) = &block.network.nic {
            let half = nic.chars().count() * CHARACTER / 2;
            let start = centre.saturating_sub(half);
            let (height, width) = (LINE, 2 * half);
            let y = top - GAP - LINE;
            // The words stand on the line: a patch of background below them.
            let _ = writeln!(
                body,
                r#"<rect class="patch" x="{start}" y="{y}" width="{width}" height="{height}"/>"#
            );
            text(&mut body, "nic", start, top - GAP - LINE / 4, nic);
        }
        for mut card in block.cards {
            (card.x, card.y) = (card.x + x, card.y + top);
            card.draw(&mut body, "vm");
        }
        bottom = bottom.max(top + height);
        x += width + GAP;
    }
    let cards: Vec<Vec<String>> = picture.mirrors.iter().map(mirror_lines).collect();
    let mut cards: Vec<Card<'_>> = (cards.iter())
        .filter_map(|lines| lines.split_first())
        .map(|(title, lines)| Card::new(title, lines))
        .collect();
    cards.extend(picture.more_mirrors.as_ref().map(|more| Card::new(more, &[])));
    // As many beside each other as there is room for.
    let widest = cards.iter().map(|card| card.width).max().unwrap_or_default();
    let width = width.max(widest + 2 * GAP);
    let (mut x, mut y, mut next) = (GAP, bottom + GAP, bottom + GAP);
    for card in cards {
        if x > GAP && x + card.width + GAP > width {
            (x, y) = (GAP, next);
        }
        next = next.max(y + card.height + GAP);
        let right = x + card.width + GAP;
        card.at(x, y).draw(&mut body, "mirror");
        (x, bottom) = (right, next - GAP);
    }
    let height = bottom + GAP;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<style>
text {{ font: {SIZE}px "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #0f172a }}
.title {{ font-weight: bold }}
.nic {{ fill: #475569 }}
rect {{ fill: #ffffff; stroke: #475569 }}
.outside {{ stroke-dasharray: 5 3 }}
.router {{ fill: #dbeafe; stroke: #1d4ed8 }}
.mirror {{ stroke: #b45309; stroke-dasharray: 2 3 }}
.network {{ fill: #f1f5f9; stroke: #94a3b8 }}
.patch {{ stroke: none }}
.wire {{ stroke: #475569; stroke-width: 1.5 }}
.no-wire {{ stroke: #475569; stroke-width: 1.5; stroke-dasharray: 5 3 }}
</style>
<rect class="patch" width="{width}" height="{height}"/>
{body}</svg>
"##
    )
}

/// A mirror's title, whose packets it copies, and where to.
fn mirror_lines(mirror: &Copies) -> Vec<String> {
    let title = format!("mirror {}", mirror.name);
    let to = mirror.to.iter().map(|to| format!("→ {to}"));
    std::iter::once(title)
        .chain(mirror.what.iter().cloned())
        .chain(to)
        .collect()
}

fn line(out: &mut String, class: &str, (x1, y1): (usize, usize), (x2, y2): (usize, usize)) {
    let _ = writeln!(
        out,
        r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
    );
}

/// A line of text. Its width is told, so that another font does not run out of its box.
fn text(out: &mut String, class: &str, x: usize, y: usize, text: &str) {
    let width = text.chars().count() * CHARACTER;
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        r#"<text class="{class}" x="{x}" y="{y}" textLength="{width}" lengthAdjust="spacingAndGlyphs">{text}</text>"#
    );
}
