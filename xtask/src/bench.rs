//! `cargo xtask bench net`: how fast networks of guests are, beside a veth of the host in the same run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::parent_id;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use test_in_uml::ctx::Ctx;
use test_in_uml::report::RunReport;
use test_in_uml::test;

/// How often each thing is measured: what is said is the median.
const TIMES: usize = 3;

/// How much goes over the host's veth.
const BULK: u64 = 1 << 30;

const PORT: u16 = 7777;

/// The exit code of a command line that asks for what cannot be.
const WRONG_USAGE: u8 = 2;

/// What the two ends of the host's veth are run as.
const SENDER: &str = "veth-sender";
const TAKER: &str = "veth-taker";

/// The namespaces and interfaces are there by then, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(ctx: &Ctx, arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["net", wanted @ ..] => return net(ctx, wanted),
        [SENDER] => print_line(&sender()?.to_string())?,
        [TAKER] => taker()?,
        _ => {
            ctx.ui.line("error: there is `bench net [KERNEL]… [tap|socket]`, and nothing else");
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn net(ctx: &Ctx, wanted: &[&str]) -> Result<ExitCode> {
    let times = TIMES.to_string();
    let (links, kernels): (Vec<&str>, Vec<&str>) =
        wanted.iter().partition(|word| ["tap", "socket"].contains(word));
    let mut args = vec!["--run-ignored", "only", "--no-fail-fast", "--guests", "1"];
    args.extend(["--repeat", &times]);
    args.extend(kernels.iter().flat_map(|kernel| ["--kernel", kernel]));
    args.extend(links.iter().flat_map(|link| ["--link", link]));
    args.push("throughput ");
    let host = (0..TIMES).map(|_| veth()).collect::<Result<Vec<_>>>();
    let code = test(ctx, &args)?;
    ensure!(code == 0, "a measurement failed");
    let report = RunReport::read(ctx.run()?.path())?;
    let said = table(&report, host.map(median));
    print_line(said.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The rates of a run in MB/s, and what part that is of the host's.
fn table(report: &RunReport, host: Result<f64>) -> String {
    let mut rates: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for case in &report.cases {
        for line in case.last().output.lines() {
            // libtest may have begun the line.
            let Some((_, said)) = line.split_once("throughput ") else { continue };
            let words: Vec<&str> = said.split_whitespace().collect();
            if let [what, bytes, seconds] = words.as_slice()
                && let (Ok(bytes), Ok(seconds)) = (bytes.parse::<f64>(), seconds.parse::<f64>())
            {
                let key = (case.id.kernel.clone(), (*what).to_owned());
                rates.entry(key).or_default().push(bytes / seconds / 1e6);
            }
        }
    }
    let mut table = match &host {
        Ok(rate) => format!("{:<8} {:<16} {rate:>7.0} MB/s\n", "host", "veth"),
        Err(error) => format!("{:<8} {:<16} not measured: {error:#}\n", "host", "veth"),
    };
    for ((kernel, what), rates) in rates {
        let (rate, times) = (median(rates.clone()), rates.len());
        let part =
            host.as_ref().map_or(String::new(), |host| format!("{:>6.2} of veth", rate / host));
        let _ =
            writeln!(table, "{kernel:<8} {what:<16} {rate:>7.0} MB/s {part} (median of {times})");
    }
    table
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_line(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// How many MB/s go from one network namespace of the host to another.
fn veth() -> Result<f64> {
    let output = in_namespaces(&["--user", "--map-root-user", "--net"], SENDER)?
        .output()
        .context("cannot start unshare")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// This program in namespaces of its own.
fn in_namespaces(which: &[&str], role: &str) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(which).args(["--kill-child", "--fork", "--"]);
    command.arg(std::env::current_exe()?).args(["--quiet", "bench", role]).stdin(Stdio::null());
    Ok(command)
}

/// One end: makes the other, and sends to it.
fn sender() -> Result<f64> {
    let mut taker = in_namespaces(&["--net"], TAKER)?.spawn().context("cannot start unshare")?;
    let rate = send_to(taker.id());
    // It ends with its connection; where there was none, it is not to stay.
    if rate.is_err() {
        let _ = taker.kill();
    }
    taker.wait()?;
    rate
}

fn send_to(unshare: u32) -> Result<f64> {
    let began = Instant::now();
    let child = format!("/proc/{unshare}/task/{unshare}/children");
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let taker = loop {
        let text = std::fs::read_to_string(&child)?;
        let pid = text.split_whitespace().next().map(String::from);
        let is_apart = |pid: &String| {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|net| net != own)
        };
        match pid.filter(is_apart) {
            Some(pid) => break pid,
            None => wait(began, "the other network namespace")?,
        }
    };
    ip(&format!("link add near type veth peer name far netns {taker}"))?;
    ip("address add 192.0.2.1/24 dev near")?;
    ip("link set near up")?;
    let mut stream = loop {
        match TcpStream::connect_timeout(&([192, 0, 2, 2], PORT).into(), PATIENCE) {
            Ok(stream) => break stream,
            Err(_) => wait(began, "the other end")?,
        }
    };
    let block = vec![7; 64 << 10];
    let began = Instant::now();
    for _ in 0..BULK / block.len() as u64 {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(BULK as f64 / began.elapsed().as_secs_f64() / 1e6)
}

/// The other end.
fn taker() -> Result<()> {
    let (began, parent) = (Instant::now(), parent_id());
    while ip("link show dev far").is_err() {
        ensure!(parent_id() == parent, "nobody waits for it any more");
        wait(began, "its interface")?;
    }
    ip("address add 192.0.2.2/24 dev far")?;
    ip("link set far up")?;
    let (mut stream, _) = TcpListener::bind(("192.0.2.2", PORT))?.accept()?;
    let count = copy(&mut stream, &mut sink())?;
    ensure!(count == BULK, "{count} bytes arrived");
    stream.write_all(b"!")?;
    Ok(())
}

fn wait(began: Instant, what: &str) -> Result<()> {
    ensure!(began.elapsed() < PATIENCE, "{what} is not there after {PATIENCE:?}");
    std::thread::sleep(Duration::from_millis(20));
    Ok(())
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output().context("cannot start ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {line}: {}", said.trim());
    Ok(())
}
