//! The way out of a guest that does not let one out: Ctrl-] and a letter.

/// Ctrl-], as telnet(1) and virsh(1) have it.
const ESCAPE: u8 = 0x1d;

/// What to do with what was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Typed {
    /// This is for the guest.
    pub pass: Vec<u8>,
    /// The person wants to leave.
    pub quit: bool,
}

/// Finds the escape in what is typed, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(in super::super) struct Escape {
    begun: bool,
}

impl Escape {
    /// Takes a piece. What follows `Ctrl-] q` is dropped; `Ctrl-] Ctrl-]` is one Ctrl-]; before any
    /// other key the Ctrl-] is the guest's too.
    pub fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for &byte in bytes {
            match (std::mem::take(&mut self.begun), byte) {
                (true, b'q' | b'Q' | b'.') => {
                    typed.quit = true;
                    break;
                }
                (true, ESCAPE) => typed.pass.push(ESCAPE),
                (false, ESCAPE) => self.begun = true,
                (true, other) => typed.pass.extend([ESCAPE, other]),
                (false, other) => typed.pass.push(other),
            }
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut escape = Escape::default();
        let (mut pass, mut quit) = (Vec::new(), false);
        for piece in pieces {
            let typed = escape.take(piece);
            pass.extend(typed.pass);
            quit |= typed.quit;
        }
        (pass, quit)
    }

    #[test]
    fn the_escape_leaves_in_one_piece_or_in_two() {
        assert_eq!(typed(&[b"ab\x1dqc"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"ab\x1d", b"q"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"quit\x03\x1a\x04"]), (b"quit\x03\x1a\x04".to_vec(), false));
    }

    #[test]
    fn every_key_can_be_sent_to_the_guest() {
        assert_eq!(typed(&[b"\x1d\x1dq"]), (b"\x1dq".to_vec(), false));
        assert_eq!(typed(&[b"\x1d", b"x\x1d"]), (b"\x1dx".to_vec(), false));
        let all: Vec<u8> = (0..=255).filter(|&byte| byte != ESCAPE).collect();
        assert_eq!(typed(&[&all]), (all, false));
    }
}
