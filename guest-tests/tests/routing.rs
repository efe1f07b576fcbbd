//! Guests as routers between networks: forwarding, and the masquerading of the guide's section 6.4.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Result;
use uml_protocol::wire::ProcessEnd;
use uml_test::{Lab, LabGuest, Network, TestResult};

/// Two networks, and a router that joins them but forwards nothing yet.
struct Joined {
    inner: Network,
    outer: Network,
    router: LabGuest,
}

impl Joined {
    fn make() -> Result<Self> {
        let (inner, outer) = (Lab::network("inner")?, Lab::network("outer")?);
        let router = Lab::guest("router").on(&inner).on(&outer).boot()?;
        Ok(Self { inner, outer, router })
    }

    /// A host of the inner network, whose way out is the router.
    fn inside(&self) -> Result<LabGuest> {
        let host = Lab::guest("inside").on(&self.inner).boot()?;
        let [near, _] = self.router.addresses() else { panic!("two interfaces") };
        host.run(&format!("ip route add default via {}", near.v4))?;
        host.run(&format!("ip -6 route add default via {}", near.v6))?;
        Ok(host)
    }

    /// A host of the outer network, which knows no way to the inner one.
    fn outside(&self) -> Result<LabGuest> {
        Lab::guest("outside").on(&self.outer).boot()
    }
}

#[test]
fn a_router_joins_two_networks() -> TestResult {
    let joined = Joined::make()?;
    let (inside, outside) = (joined.inside()?, joined.outside()?);
    let [_, far] = joined.router.addresses() else { panic!("two interfaces") };
    outside.run(&format!("ip route add default via {}", far.v4))?;
    assert_ne!(inside.try_run("ping -c 1 -W 1 outside")?.end, ProcessEnd::Code(0));
    joined.router.run("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    inside.run("ping -c 1 -W 20 outside")?;
    outside.run("ping -c 1 -W 20 inside")?;
    Ok(())
}

#[test]
fn ipv6_reaches_neighbours_and_goes_through_a_router() -> TestResult {
    let joined = Joined::make()?;
    let (inside, outside) = (joined.inside()?, joined.outside()?);
    let [near, far] = joined.router.addresses() else { panic!("two interfaces") };
    inside.run(&format!("ping -c 1 -W 20 {}", near.v6))?;
    inside.run("ping -c 1 -W 20 ip6-router")?;
    outside.run(&format!("ip -6 route add default via {}", far.v6))?;
    joined.router.run("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")?;
    inside.run("ping -c 1 -W 20 ip6-outside")?;
    outside.run(&format!("ping -c 1 -W 20 {}", inside.ipv6_address()))?;
    Ok(())
}

#[test]
fn a_router_says_what_does_not_fit_into_the_next_network() -> TestResult {
    let joined = Joined::make()?;
    let (inside, outside) = (joined.inside()?, joined.outside()?);
    let [_, far] = joined.router.addresses() else { panic!("two interfaces") };
    outside.run(&format!("ip route add default via {}", far.v4))?;
    joined.router.run("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    // As on any wire, both ends are told.
    for (end, address) in [(&joined.router, far.v4), (&outside, outside.address())] {
        end.run(&format!(
            "ip link set dev $(ip -o -4 address show to {address} | cut -d' ' -f2) mtu 600"
        ))?;
    }
    // In pieces it goes through; who forbids that is told how much does.
    inside.run("ping -c 1 -W 20 -s 1400 -M dont outside")?;
    let said = inside.try_run("ping -c 1 -W 20 -s 1400 -M do outside")?.output;
    assert!(said.contains("mtu = 600") || said.contains("mtu=600"), "{said}");
    Ok(())
}

#[test]
fn a_masquerading_router_hides_who_is_behind_it() -> TestResult {
    let joined = Joined::make()?;
    let (inside, outside) = (joined.inside()?, joined.outside()?);
    let [_, far] = joined.router.addresses() else { panic!("two interfaces") };
    joined.router.run(&format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
        out=$(ip -o -4 address show to {} | cut -d' ' -f2)
        iptables-legacy -t nat -A POSTROUTING -o $out -j MASQUERADE",
        far.v4
    ))?;
    // What has no way back to the inner network answers all the same.
    inside.run("ping -c 1 -W 20 outside")?;
    assert_ne!(outside.try_run("ping -c 1 -W 1 inside")?.end, ProcessEnd::Code(0));
    thread::scope(|scope| -> TestResult {
        let taken = scope.spawn(|| outside.call_with(takes_one_from, &far.v4.to_string()));
        inside.call_with(connects_to, &outside.address().to_string())?;
        taken.join().expect("it does not panic")?;
        Ok(())
    })
}

const PORT: u16 = 7777;

/// Takes one connection, which has to come from this address, and answers it.
fn takes_one_from(address: &str) -> TestResult {
    let (mut stream, from) = TcpListener::bind(("0.0.0.0", PORT))?.accept()?;
    assert_eq!(from.ip().to_string(), address);
    stream.write_all(b"hello")?;
    Ok(())
}

/// Connects, once somebody listens there, and reads the answer.
fn connects_to(address: &str) -> TestResult {
    let mut stream = loop {
        match TcpStream::connect((address, PORT)) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert_eq!(answer, "hello");
    Ok(())
}
