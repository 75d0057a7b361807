//! The agent on a member's PC, and what its command line and the officers' share with it.
//!
//! The agent watches the readers, talks to the cards, asks sites for their part of each file key, joins the two parts and
//! decrypts. When a card goes, so does everything that it has opened: within one second no viewer runs, no plaintext
//! lies anywhere, and no PIN is kept (invariant I7 of `docs/security.md`). What was exported on purpose stays.

mod actor;
pub mod addressing;
mod agent;
pub mod client;
mod custody;
pub(crate) mod deliveries;
mod ending;
mod facts;
mod fault;
mod follow;
mod forward;
mod http;
pub mod makers;
mod new_keys;
mod opening;
mod others;
mod pending;
mod personalize;
mod pickup;
mod platform;
mod prepare;
pub mod profile;
pub mod puk;
mod routed;
mod routing;
mod run;
mod session;
mod signing;
mod site;
mod sources;
pub mod texts;

pub use agent::Config;
pub use platform::harden;
pub use run::{RunError, run};

/// The operating system's random generator.
fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Where the agent keeps what outlives a restart, unless told otherwise: the profile.
#[must_use]
pub fn default_state_dir() -> std::path::PathBuf {
    platform::default_state_dir()
}

/// The organization's profile, unless told otherwise.
#[must_use]
pub fn default_profile() -> std::path::PathBuf {
    default_state_dir().join("profile.json")
}

/// Where the agent writes its bootstrap file, unless told otherwise.
#[must_use]
pub fn default_runtime_dir() -> std::path::PathBuf {
    platform::default_runtime_dir()
}

/// What of this PC concerns the safety of opened files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformCheck {
    /// Whether viewers can be put in a sandbox.
    pub sandbox: SandboxCheck,
    /// Whether memory, with opened files in it, may be written to a disk.
    pub swap: bool,
}

/// Whether viewers can be put in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxCheck {
    /// They can.
    Works,
    /// The program is there, and this PC does not let it.
    Refused,
    /// The program is missing.
    Missing,
}

/// Looks at this PC.
#[must_use]
pub fn check_platform() -> PlatformCheck {
    let sandbox = match platform::sandbox_program() {
        Some(program) if platform::sandbox_works(&program) => SandboxCheck::Works,
        Some(_) => SandboxCheck::Refused,
        None => SandboxCheck::Missing,
    };
    PlatformCheck { sandbox, swap: platform::swap_in_use() }
}
