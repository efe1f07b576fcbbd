//! A guest: booted on a stage, judged by its own words, never waited for without a deadline.
//!
//! Everything that happens to a guest (a console line, a message, its end, a deadline) is an event
//! in one channel. [`machine`] decides, purely, what it means; the driver does what it says.

mod boot;
mod calibration;
mod command_line;
mod complaint;
mod console;
mod cow;
mod driver;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod fuzz;
mod host;
mod interface;
pub mod kernel_line;
mod limit;
pub mod machine;
mod output;
mod package;
pub mod peer;
mod program;
mod session;
mod spec;

pub use crate::kernel::NetDriver;
pub use boot::{BootFailed, boot};
pub(crate) use boot::{address_space, fresh_token};
pub use calibration::Calibration;
pub(crate) use command_line::{ByHand, plugged_in};
pub use command_line::{CommandLine, Init, LinkBy};
pub use complaint::Complaint;
pub(crate) use console::keep_console;
pub(crate) use cow::sight;
pub use cow::{Cow, Disk, ExtraDisk};
pub use driver::{CaseOptions, CaseRun, Gone, Guest, Sink};
pub use host::GuestHost;
pub use interface::{Connect, Interface};
pub use limit::KeptWaiting;
pub(crate) use limit::is_starved;
pub use output::Output;
pub use package::{PackageFiles, PackageFolder, TestProgram};
pub use program::Program;
pub use spec::GuestSpec;
