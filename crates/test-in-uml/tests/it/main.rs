//! The engine as a process meets it: real namespaces, real processes, a real command line.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod adopt;
mod archive;
mod background_guest;
mod broken_image;
mod cli;
mod configuration;
mod contained;
mod contained_program;
mod faults;
mod fetch;
mod full_guest;
mod guard;
mod guests_on_a_network;
mod host_network;
mod hosts;
mod interruption;
mod kernel;
mod kernel_log;
mod lengths;
mod listing;
mod network;
mod privileges;
mod report;
mod rooms;
mod security;
mod selection;
mod server;
mod shut_in;
mod space;
mod stage;
mod stage_in_folder;
mod store;
mod support;
mod workspace;
mod world;
