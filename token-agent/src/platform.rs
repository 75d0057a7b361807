//! What differs from platform to platform, and nothing else: where files lie, memory that is not swapped out, a private
//! folder in memory, and the sandbox that viewers run in. This is the Linux side; everything else in the agent assumes no
//! Unix.

mod folders;
mod memory;
mod sandbox;

pub(crate) use folders::{
    Claim, default_runtime_dir, default_state_dir, is_own_listener, open_regular, private_folder,
    private_subfolder, read_private, remove_folder, remove_if_there, write_private,
};
pub use memory::harden;
pub(crate) use memory::{LockedSecret, boot_time, swap_in_use};
pub(crate) use sandbox::{Viewer, sandbox_program, sandbox_works};

/// The name of the bootstrap file in the runtime directory.
pub(crate) const BOOTSTRAP: &str = "agent.json";
