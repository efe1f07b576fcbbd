//! A guest's kernel log by its two ways to us: the agent reads it whole and knows what is missing; the
//! console has what the agent could not tell any more.

use std::collections::VecDeque;

use uml_protocol::wire::Log;

use crate::guest::kernel_line::{LogLine, records, syslog_lines};

/// More lines than this are not kept of a console that the agent does not keep up with.
const MOST_WAITING: usize = 1 << 14;

/// What came by the agent and by the console so far.
#[derive(Debug, Default)]
pub(super) struct TwoWays {
    /// The number of the record that comes next.
    next: Option<u64>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Lines that the console had and the agent did not, in order.
    console_only: VecDeque<LogLine>,
    /// Lines that the agent had and the console did not, of the last stamp alone.
    agent_only: Vec<LogLine>,
    /// A line of the agent's that the console has still to show.
    passed: Option<LogLine>,
    /// When the agent's last line was written.
    agent_stamp: u64,
    /// The number of lines of the console there was no room for, and the stamp of the last of them.
    dropped: u64,
    dropped_stamp: u64,
    /// What the console had since we asked the kernel for traces; nothing while we have not.
    traces: Option<Vec<String>>,
}

/// What a piece of the log brought.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub lines: Vec<LogLine>,
    /// The number of records the kernel had no room for before the agent could read them, at least.
    pub lost: u64,
}

impl TwoWays {
    /// Takes what the agent read.
    pub fn agent(&mut self, log: &Log) -> Piece {
        let piece = match log {
            Log::Boot { text, records } => {
                let lines = syslog_lines(text, *records);
                // `linux_banner` is the first that a kernel says (init/main.c); ours says more before it.
                let is_first = |line: &LogLine| line.text.starts_with("Linux version ");
                let lost = u64::from(!lines.iter().any(is_first));
                Piece { lines, lost }
            }
            Log::Records(bytes) => self.records(bytes),
            Log::Text { text, lost } => {
                self.partial.extend(text);
                let end =
                    self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let whole: Vec<u8> = self.partial.drain(..end).collect();
                Piece { lines: syslog_lines(&whole, false), lost: u64::from(*lost) }
            }
        };
        for line in &piece.lines {
            self.cover(line);
        }
        piece
    }

    fn records(&mut self, bytes: &[u8]) -> Piece {
        let mut piece = Piece::default();
        for record in records(bytes) {
            let missing = self.next.map_or(0, |next| record.sequence.saturating_sub(next));
            piece.lost += missing;
            self.next = record.sequence.checked_add(1);
            piece.lines.extend(record.lines);
        }
        piece
    }

    /// The agent has this line, and so all before it: the console's are not needed.
    fn cover(&mut self, line: &LogLine) {
        let stamp = line.stamp.unwrap_or(0);
        if stamp > self.agent_stamp {
            self.agent_stamp = stamp;
            self.agent_only.clear();
        }
        if stamp > self.dropped_stamp {
            self.dropped = 0;
        }
        while self.console_only.front().is_some_and(|first| first.stamp < Some(stamp)) {
            self.console_only.pop_front();
        }
        let at = self.console_only.iter().position(|waiting| is_same(waiting, line));
        match at {
            // Of what the console had before it the agent has all that is the kernel's.
            Some(at) => drop(self.console_only.drain(..=at)),
            None if self.agent_only.len() < MOST_WAITING => self.agent_only.push(line.clone()),
            None => {}
        }
    }

    /// No program runs when this line is written: what the console has before it is the agent's business, and
    /// what else is there a program wrote.
    pub fn pass(&mut self, line: &LogLine) {
        let is_to_come = self.agent_only.iter().any(|known| is_same(known, line));
        self.passed = is_to_come.then(|| line.clone());
    }

    /// Takes a line of the console, if it is one of the kernel's log.
    pub fn console_line(&mut self, line: &str) {
        if let Some(traces) = &mut self.traces {
            if traces.len() < MOST_WAITING {
                traces.push(LogLine::of_boot(line).to_string());
            }
        } else if let Some(line) = LogLine::of_console(line) {
            self.console(line);
        }
    }

    fn console(&mut self, line: LogLine) {
        if self.passed.take_if(|passed| is_same(passed, &line)).is_some() {
            self.console_only.clear();
            return;
        }
        let stamp = line.stamp.unwrap_or(0);
        if stamp < self.agent_stamp {
            return;
        }
        if stamp == self.agent_stamp
            && let Some(at) = self.agent_only.iter().position(|known| is_same(known, &line))
        {
            self.agent_only.swap_remove(at);
            return;
        }
        if self.console_only.len() == MOST_WAITING {
            let first = self.console_only.pop_front();
            self.dropped_stamp = first.and_then(|line| line.stamp).unwrap_or(0);
            self.dropped += 1;
        }
        self.console_only.push_back(line);
    }

    /// What the console has from now on is what we asked for, or not.
    pub fn expect_traces(&mut self, asked: bool) {
        self.traces = asked.then(Vec::new);
    }

    /// The traces that we asked for.
    pub fn take_traces(&mut self) -> Vec<String> {
        self.traces.take().unwrap_or_default()
    }

    /// What the agent did not tell, and now cannot any more.
    pub fn rest(&mut self) -> Piece {
        let lost = std::mem::take(&mut self.dropped);
        Piece { lines: std::mem::take(&mut self.console_only).into(), lost }
    }
}

/// Returns true if two lines are one: a console drops blanks at the end.
fn is_same(a: &LogLine, b: &LogLine) -> bool {
    a.stamp == b.stamp && a.text.trim_end() == b.text.trim_end()
}

/// Lines of the log that nobody has.
pub fn lost_lines(count: u64) -> String {
    format!("at least {count} lines of the kernel's log were lost before they could be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, stamp: u64, text: &str) -> Log {
        Log::Records(format!("6,{sequence},{stamp},-;{text}\n").into_bytes())
    }

    fn console(stamp: u64, text: &str) -> LogLine {
        LogLine::of_console(&format!("[{:5}.{:06}] {text}", 0, stamp)).unwrap()
    }

    fn rest(ways: &mut TwoWays) -> Vec<String> {
        ways.rest().lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_line_counts_once_whichever_way_it_comes_first() {
        let mut ways = TwoWays::default();
        ways.console(console(10, "a"));
        assert_eq!(ways.agent(&record(1, 10, "a")).lines.len(), 1);
        ways.agent(&record(2, 10, "b"));
        ways.agent(&record(3, 10, "b"));
        ways.console(console(10, "b"));
        ways.console(console(10, "b"));
        ways.console(console(10, "b"));
        ways.console(console(20, "dying words"));
        assert_eq!(rest(&mut ways), ["b", "dying words"]);
    }

    #[test]
    fn the_console_is_not_needed_for_what_the_agent_has_passed() {
        let mut ways = TwoWays::default();
        ways.console(console(10, "before"));
        ways.agent(&record(1, 30, "now"));
        ways.console(console(20, "late"));
        ways.console(console(30, "now"));
        assert_eq!(rest(&mut ways), [""; 0]);
    }

    #[test]
    fn what_a_program_writes_to_the_console_does_not_outlive_its_case() {
        for console_first in [true, false] {
            let mut ways = TwoWays::default();
            ways.console(console(900_000, "BUG: forged"));
            let end = console(20, "the end of a case");
            let by_agent = |ways: &mut TwoWays| {
                let lines = ways.agent(&record(1, 20, "the end of a case")).lines;
                ways.pass(&lines[0]);
                ways.agent(&record(2, 30, "and on"));
            };
            if console_first {
                ways.console(end);
                by_agent(&mut ways);
            } else {
                by_agent(&mut ways);
                ways.console(end);
            }
            ways.console(console(40, "dying words"));
            assert_eq!(rest(&mut ways), ["dying words"], "{console_first}");
        }
    }

    #[test]
    fn a_gap_between_records_is_a_loss() {
        let mut ways = TwoWays::default();
        assert_eq!(ways.agent(&record(7, 10, "the first that we ask for")).lost, 0);
        assert_eq!(ways.agent(&record(8, 10, "x")).lost, 0);
        assert_eq!(ways.agent(&record(12, 10, "x")).lost, 3);
        assert_eq!(ways.agent(&Log::Text { text: Vec::new(), lost: true }).lost, 1);
    }

    #[test]
    fn a_text_may_be_cut_anywhere() {
        let mut ways = TwoWays::default();
        let text = |text: &str| Log::Text { text: text.as_bytes().to_vec(), lost: false };
        assert!(ways.agent(&text("<6>[    0.0200")).lines.is_empty());
        let lines = ways.agent(&text("00] one\n<6>[    0.030000] two\n<6>")).lines;
        let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        assert_eq!(texts, ["one", "two"]);
    }

    #[test]
    fn a_console_that_the_agent_does_not_keep_up_with_is_bounded_and_says_so() {
        let mut ways = TwoWays::default();
        for _ in 0..MOST_WAITING + 5 {
            ways.console(console(10, "flood"));
        }
        let rest = ways.rest();
        assert_eq!((rest.lines.len(), rest.lost), (MOST_WAITING, 5));
        for _ in 0..MOST_WAITING + 5 {
            ways.console(console(20, "flood"));
        }
        ways.agent(&record(1, 30, "the agent has read on"));
        let rest = ways.rest();
        assert_eq!((rest.lines.len(), rest.lost), (0, 0));
    }
}
