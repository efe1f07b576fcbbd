use super::*;

const OF_6_12: &str = r#"unreferenced object 0x61a3f0c0 (size 64):
  comm "matrix::leak", pid 43, jiffies 4294937350
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
    6b 6b 6b 6b 6b 6b 6b 6b 2b 30 78 6b 6b 6b 6b 6b  kkkkkkkk+0xkkkkk
  backtrace (crc 0):
    save_stack_trace+0x2e/0x30
    kmemleak_alloc+0x30/0x40
    __kmalloc_cache_noprof+0x1a4/0x260
    0x64001234
    trigger+0x5a/0x80 [fault]
unreferenced object (percpu) 0x0000000061a3f100 (size 8):
  comm "softirq", pid 0, jiffies 4294937360
  hex dump (first 8 bytes on cpu 0):
    00 00 00 00 00 00 00 00                          ........
  backtrace (crc 1):
"#;

const OF_3_0: &str = r#"unreferenced object 0x7c0a1e40 (size 60):
  comm "a", pid 7", pid 31, jiffies 4294937500 (age 7.240s)
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace:
    [<000000006009f5b4>] kmemleak_alloc+0x24/0x50
    [<0000000064001060>] do_leak+0x20/0x60 [fault]
"#;

#[test]
fn what_the_kernel_found_is_read_on_old_and_new_ones() {
    let leaks = Leak::parse(OF_6_12);
    assert_eq!(leaks.len(), 2);
    let first = &leaks[0];
    assert_eq!((first.address, first.size, first.pid), (0x61a3_f0c0, 64, 43));
    assert_eq!((first.command.as_str(), first.jiffies), ("matrix::leak", 4_294_937_350));
    let summary = "64 bytes, allocated by matrix::leak (43) in trigger+0x5a/0x80 [fault]";
    assert_eq!(first.summary(), summary);
    let both = [first.clone(), first.clone(), leaks[1].clone()];
    let summaries = [format!("2 times {summary}"), "8 bytes, allocated by softirq (0)".into()];
    assert_eq!(Leak::summaries(&both), summaries);
    assert_eq!((leaks[1].size, leaks[1].pid, leaks[1].backtrace.len()), (8, 0, 0));
    let old = &Leak::parse(OF_3_0)[0];
    assert_eq!((old.command.as_str(), old.pid, old.jiffies), ("a\", pid 7", 31, 4_294_937_500));
    assert_eq!(old.backtrace[1], "do_leak+0x20/0x60 [fault]");
}

#[test]
fn text_that_is_none_of_the_kernels_is_no_leak() {
    for text in
        ["", "unreferenced object", "unreferenced object 0xzz (size 4):", "  comm \"\", pid"]
    {
        assert_eq!(Leak::parse(text), []);
    }
}

fn life(sequence: u32, pid: i32, from: u64, to: u64) -> Life {
    Life { sequence, pid, from, to }
}

fn leak(pid: i32, jiffies: u64) -> Leak {
    let Leak { address, size, .. } = Leak::parse(OF_3_0)[0];
    Leak { address, size, command: "x".into(), pid, jiffies, backtrace: Vec::new() }
}

#[test]
fn a_leak_is_that_of_the_case_that_ran_when_it_was_allocated() {
    let mut lives = Lives::default();
    assert_eq!(lives.whose(&leak(40, 100)), Owner::Nobody);
    lives.push(life(1, 40, 100, 200));
    lives.push(life(2, 50, 210, 300));
    lives.push(life(3, 60, 400, 500));
    assert_eq!(lives.whose(&leak(41, 150)), Owner::Case(1));
    // By whatever thread of the kernel's that happened.
    assert_eq!(lives.whose(&leak(0, 250)), Owner::Case(2));
    assert_eq!(lives.whose(&leak(900, 450)), Owner::Case(3));
    assert_eq!(lives.whose(&leak(5, 50)), Owner::Nobody);
    // A timer of a module that was left behind.
    assert_eq!(lives.whose(&leak(0, 350)), Owner::After(2));
    assert_eq!(lives.whose(&leak(0, 900)), Owner::After(3));
}

#[test]
fn cases_within_one_tick_are_told_apart_by_their_processes() {
    let mut lives = Lives::default();
    for (sequence, pid) in [(1, 40), (2, 43), (3, 44)] {
        lives.push(life(sequence, pid, 100, 100));
    }
    assert_eq!(lives.whose(&leak(40, 100)), Owner::Case(1));
    assert_eq!(lives.whose(&leak(42, 100)), Owner::Case(1));
    assert_eq!(lives.whose(&leak(43, 100)), Owner::Case(2));
    assert_eq!(lives.whose(&leak(99, 101)), Owner::Case(3));
    // The numbers began anew: the last of them, rather than nobody.
    assert_eq!(lives.whose(&leak(7, 100)), Owner::Case(3));
}

#[test]
fn the_oldest_cases_are_forgotten() {
    let mut lives = Lives::default();
    for sequence in 0..=u32::try_from(MOST_LIVES).unwrap() {
        let at = u64::from(sequence) * 10;
        lives.push(life(sequence, 40, at, at + 5));
    }
    assert_eq!(lives.whose(&leak(40, 2)), Owner::Nobody);
    assert_eq!(lives.whose(&leak(40, 12)), Owner::Case(1));
}
