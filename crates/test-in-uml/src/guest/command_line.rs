//! The command line of a guest.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::cow::ExtraDisk;
use super::interface::Interface;
use crate::config::ByteSize;
use crate::kernel::NetDriver;
use crate::rootfs::AGENT;
use crate::stage::{Attachment, Link, door_path};

/// The argument for an interface of a guest; the management console takes it too.
pub(crate) fn plugged_in(
    net_driver: NetDriver,
    index: usize,
    at: &Interface,
    (attachment, link): (Attachment, &Link),
) -> String {
    let Interface { name, mac } = at;
    let interface = net_driver.interface(index);
    let door = door_path(&link.dir(), name);
    let door = door.display();
    match (net_driver, attachment) {
        // Without `gro=1` the first bulk transfer stalls for ever.
        (NetDriver::Vector, Attachment::Tap) => {
            format!("{interface}:transport=tap,ifname={name},depth=128,gro=1,mac={mac}")
        }
        (NetDriver::Legacy, Attachment::Tap) => format!("{interface}=tuntap,{name},{mac}"),
        (NetDriver::Vector, Attachment::Socket) => {
            // The networks of scenarios are as everywhere.
            let mtu = if index == 0 {
                format!(",mtu={}", net_driver.socket_mtu())
            } else {
                String::new()
            };
            format!("{interface}:transport=bess,dst={door},depth=128{mtu},mac={mac}")
        }
        (NetDriver::Legacy, Attachment::Socket) => format!("{interface}=daemon,{mac},unix,{door}"),
    }
}

/// What a guest runs, and where its console is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Init {
    /// Our agent is PID 1.
    #[default]
    Agent,
    /// The image's own init, which starts the agent as a service.
    Sysv,
    /// The image's own init, a terminal to log in on, and commands from the host.
    Terminal,
    /// The image's own init, and commands from the host.
    Commands,
}

/// Who configures a guest's end of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkBy {
    /// The kernel, by `ip=`: there is a way out by the host's end.
    #[default]
    Kernel,
    /// The agent: `ip=` may be for another interface, and there is no way out.
    Agent,
}

impl Init {
    /// The time it may take to come up, where our agent may take this: init scripts take many times as long.
    pub(crate) fn boot_time(self, of_agent: Duration) -> Duration {
        match self {
            Init::Agent => of_agent,
            Init::Sysv | Init::Terminal | Init::Commands => of_agent * 4,
        }
    }

    /// Returns true if the guest runs no cases.
    fn is_for_a_person(self) -> bool {
        matches!(self, Init::Terminal | Init::Commands)
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Init::Agent => AGENT,
            Init::Sysv | Init::Terminal | Init::Commands => "/sbin/init",
        }
    }

    /// The channels of tty0: input, output.
    fn console(self) -> &'static str {
        match self {
            Init::Agent | Init::Sysv | Init::Commands => "con0=null,fd:1",
            Init::Terminal => "con0=fd:0,fd:1",
        }
    }
}

/// What a guest's command line is made of.
#[derive(Debug, Clone)]
pub struct CommandLine<'a> {
    /// The kernel binary, as the stage shows it.
    pub kernel: &'a Path,
    /// The image, as the stage shows it.
    pub image: &'a Path,
    /// Memory of the guest.
    pub memory: ByteSize,
    /// The control link.
    pub link: &'a Link,
    /// Who gives the guest its address there.
    pub link_by: LinkBy,
    /// What drives its interfaces.
    pub net_driver: NetDriver,
    /// What its interfaces are attached to.
    pub attachment: Attachment,
    /// The COW, as the stage shows it.
    pub cow: &'a Path,
    /// What it runs.
    pub init: Init,
    /// The nonce that markers carry.
    pub nonce: &'a str,
    /// Loops per jiffy, as this kernel calibrated them on this machine before.
    pub lpj: Option<u64>,
    /// The disks beside that of the root.
    pub disks: &'a [ExtraDisk],
    /// The interfaces beside that of the link.
    pub interfaces: &'a [Interface],
    /// More arguments.
    pub arguments: &'a [String],
    /// Arguments that this kernel's era has.
    pub era: &'a [&'a str],
}

impl CommandLine<'_> {
    /// The kernel binary and its arguments.
    pub fn argv(&self) -> Vec<OsString> {
        let Self { link, net_driver, .. } = self;
        let dir = link.dir();
        let mut argv: Vec<OsString> = vec![self.kernel.into()];
        let mut add = |argument: String| argv.push(argument.into());
        add(format!("mem={}", self.memory));
        add(format!("ubd0={},{}", self.cow.display(), self.image.display()));
        for (index, ExtraDisk { path, read_only }) in self.disks.iter().enumerate() {
            let flag = if *read_only { "r" } else { "" };
            add(format!("ubd{}{flag}={}", index + 1, path.display()));
        }
        add("root=/dev/ubda".into());
        add("rw".into());
        add(format!("init={}", self.init.program()));
        for argument in ["con=null", self.init.console(), "ssl=null"] {
            add(argument.into());
        }
        add("umid=guest".into());
        // The slash at the end belongs to it.
        add(format!("uml_dir={dir}/"));
        let own = Interface { name: link.interface(), mac: link.mac() };
        for (index, interface) in [&own].into_iter().chain(self.interfaces).enumerate() {
            add(plugged_in(*net_driver, index, interface, (self.attachment, link)));
        }
        let (guest, host, netmask) = (link.guest(), link.host(), link.netmask());
        let interface = net_driver.interface(0);
        match self.link_by {
            LinkBy::Kernel => add(format!("ip={guest}::{host}:{netmask}:uml:{interface}:off")),
            LinkBy::Agent => {
                add(format!("{}={interface}:{guest}:{netmask}", uml_protocol::LINK_PARAMETER))
            }
        }
        if self.init.is_for_a_person() {
            add(format!("{}={host}", uml_protocol::commands::PARAMETER));
        }
        // Otherwise writes to /dev/kmsg are rate-limited, and markers are lost.
        add("printk.devkmsg=on".into());
        add("ignore_loglevel".into());
        add("printk.time=1".into());
        if let Some(lpj) = self.lpj {
            add(format!("lpj={lpj}"));
        }
        for argument in self.era {
            add((*argument).into());
        }
        add(format!("{}={}", uml_protocol::NONCE_PARAMETER, self.nonce));
        if self.init == Init::Sysv {
            add(uml_protocol::SERVICE_PARAMETER.into());
        }
        argv.extend(self.arguments.iter().map(OsString::from));
        argv
    }
}

/// A command line that a person can paste into a shell: it boots the same kernel on the same
/// image without a link, from any folder with room for a COW.
#[derive(Debug)]
pub(crate) struct ByHand<'a> {
    pub kernel: &'a Path,
    pub image: &'a Path,
    pub cow: &'a Path,
    pub line: &'a CommandLine<'a>,
}

impl fmt::Display for ByHand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |path: &Path| {
            let text = path.to_string_lossy().into_owned();
            shlex::try_quote(&text).map(|quoted| quoted.into_owned()).unwrap_or(text)
        };
        write!(
            f,
            "setarch -R {} mem={} ubd0={},{} root=/dev/ubda rw init={} con=null \
             con0=fd:0,fd:1 ssl=null {} printk.devkmsg=on ignore_loglevel",
            quoted(self.kernel),
            self.line.memory,
            quoted(self.cow),
            quoted(self.image),
            self.line.init.program(),
            self.line.era.join(" "),
        )
    }
}
