//! What a router can do: each feature turns its part of a [`Config`] into desired state. Pure.
//!
//! A new feature is a new module here, a field of the configuration, and a line in [`FEATURES`].

mod conntrack;
pub mod dhcp;
mod fast_path;
mod interfaces;
pub mod mirror;
pub mod nat;
pub mod overlay;
mod routes;

use crate::config::Config;
use crate::model::Desired;

/// Adds what a feature wants to the desired state.
type Feature = fn(&Config, &mut Desired);

/// All features, in an order that does not matter: each writes keys of its own.
const FEATURES: &[Feature] = &[
    interfaces::desire,
    routes::desire,
    nat::desire,
    fast_path::desire,
    overlay::desire,
    conntrack::desire,
    mirror::desire,
];

/// What the kernel should have for this configuration. An empty one wants nothing at all.
#[must_use]
pub fn desired(config: &Config) -> Desired {
    let mut desired = Desired {
        conntrack: config.conntrack(),
        ..Desired::default()
    };
    if !config.is_empty() {
        for feature in FEATURES {
            feature(config, &mut desired);
        }
    }
    desired
}
