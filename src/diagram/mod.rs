//! The VPC as a picture: outside, the router, its networks, the VMs with what leads to them, and mirrors. Pure; a picture is
//! text, in one of three languages, and shows what the file says, not what the kernel has.
//!
//! Whatever the file holds it stays readable: what belongs to one VM is in that VM's box, and a network shows so many VMs
//! and counts the rest.

mod dot;
mod group;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

use crate::config::Config;

use group::Picture;

/// The language of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Mermaid's flowchart: what GitHub, GitLab and many wikis draw.
    Mermaid,
    /// Graphviz.
    Dot,
    /// An image, laid out here.
    Svg,
}

/// Draws a configuration; at most `vms` VMs of a network, and as many mirrors, are shown, the rest is counted.
#[must_use]
pub fn draw(config: &Config, format: Format, vms: usize) -> String {
    let picture = Picture::of(config, vms.max(1));
    match format {
        Format::Mermaid => mermaid::draw(&picture),
        Format::Dot => dot::draw(&picture),
        Format::Svg => svg::draw(&picture),
    }
}
