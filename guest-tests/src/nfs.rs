//! Servers and clients of NFS in guests of a scenario, and what has to be known to have them start at once.

use anyhow::{Context as _, Result};
use uml_test::{GuestPlan, LabGuest};

/// What starts a server. The order matters:
///
/// - A server lets nobody lock or open for so long after its start as a client may need to come back; the shortest
///   times are set before it starts, and since 3.18 that time can be ended at once (`v4_end_grace`), unless nfsdcld
///   knows of no client and has it ended already.
/// - Since 5.2 a server that finds no nfsdcld waits a second for it (`nfsd4_cld_tracking_init()` in
///   fs/nfsd/nfs4recover.c).
/// - Nothing is exported before mountd runs, which answers the kernel's questions about it.
const START: &str = "set -e
    mount -t nfsd nfsd /proc/fs/nfsd
    mkdir -p /run/rpc_pipefs /var/lib/nfs/nfsdcld /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/sm.bak
    mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
    echo 10 > /proc/fs/nfsd/nfsv4leasetime
    echo 10 > /proc/fs/nfsd/nfsv4gracetime
    echo 3 > /proc/sys/fs/nfs/nlm_timeout
    echo 3 > /proc/sys/fs/nfs/nlm_grace_period
    rpcbind
    rpc.statd --no-notify
    nfsdcld
    rpc.nfsd 4
    rpc.mountd
    test ! -e /proc/fs/nfsd/v4_end_grace || echo Y 2>/dev/null > /proc/fs/nfsd/v4_end_grace || true";

/// Boots a server of /srv, for everybody in its network.
///
/// # Errors
/// When it does not come up.
pub fn planned_server(plan: GuestPlan, options: &str) -> Result<LabGuest> {
    let server = plan.boot()?;
    server.run("mkdir -p /srv && chmod 777 /srv")?;
    start(&server, "/srv", options)?;
    Ok(server)
}

/// Has a guest that was just booted export a folder, for everybody in its network. exportfs tells the kernel of a
/// client that is none, to try the folder with it (`validate_export()` in nfs-utils), and mountd has the kernel forget
/// all clients when the first question of a real one comes (`check_useipaddr()`). Where one waits for the server to come
/// back, that can be in between, and the folder is said not to support it: once.
///
/// # Errors
/// When something does not start.
pub fn start(server: &LabGuest, folder: &str, options: &str) -> Result<()> {
    server.run(START).context("the server does not start")?;
    let export = format!("exportfs -i -o {options},insecure,no_subtree_check '*:{folder}'");
    server.run(&format!("{export} || {export}"))?;
    Ok(())
}

/// Boots a client.
///
/// # Errors
/// When it does not come up.
pub fn planned_client(plan: GuestPlan) -> Result<LabGuest> {
    let client = plan.boot()?;
    client.run("rpcbind && rpc.statd --no-notify")?;
    Ok(client)
}

/// Mounts what a server exports on /mnt. Until 4.17 a server takes an answer of mountd's for expired that comes within
/// the second of the last exportfs, and then refuses the mount (upstream: "SUNRPC: cache: ignore timestamp written to
/// 'flush' file"): some seconds later it does not.
///
/// # Errors
/// When it is refused for longer.
pub fn mount(client: &LabGuest, server: &str, folder: &str, options: &str) -> Result<()> {
    let mount = format!("timeout 20 mount -t nfs -o {options} {server}:{folder} /mnt");
    client.run(&format!("for i in 1 2 3; do {mount} && exit; sleep 2.5; done; exit 1"))?;
    Ok(())
}
