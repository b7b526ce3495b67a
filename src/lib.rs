//! kylin-vr: the agent inside a virtual-router VM, the gateway of a VPC.
//!
//! One straight line, told module by module:
//!
//! ```text
//! text ── config ─▶ Config ── features ─▶ Desired ─┐
//!                                                  ├─ plan ─▶ Plan ── kernel ─▶ look again ─▶ report
//!                            kernel ─▶ Observed ───┘
//! ```
//!
//! - [`config`] reads the file and refuses it whole, with every problem named, or makes a valid [`config::Config`].
//! - [`features`] turn that into what the kernel should have; [`model`] holds these values.
//! - [`kernel`] looks at what it has; [`plan`] is the difference, as operations; [`owned`] says what is ours.
//! - [`reconcile`] walks the line once: it carries the plan out, looks again, and undoes what failed; [`flows`] says which
//!   tracked flows end with it.
//! - [`trusted`] opens files that only root can have written; [`words`] says what went wrong.
//! - [`intake`] is how a text comes in and what is kept of it; [`lock`] lets one run work at a time; [`cli`] is
//!   the command.
//!
//! [`push`] stands beside the line: on the hypervisor it hands a text to the `reload` of a VM. So does [`translate`]: it
//! says what a packet meets by a configuration, and [`trace`] puts that in words, beside what a kernel does. And
//! [`diagram`], which draws a configuration.
//!
//! Everything up to the plan is pure: no I/O, no clock, no log.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod detached;
pub mod diagram;
pub mod dnsmasq;
pub mod features;
pub mod flows;
pub mod intake;
pub mod kernel;
pub mod lock;
pub mod managers;
pub mod model;
pub mod monitor;
pub mod owned;
pub mod plan;
pub mod push;
pub mod reconcile;
mod timing;
pub mod trace;
pub mod translate;
pub mod trusted;
mod undo;
pub mod words;
