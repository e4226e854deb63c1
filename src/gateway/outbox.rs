//! Bytes on their way to a socket: collected, and written together with a larger piece behind them.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// See the module.
#[derive(Default)]
pub struct Outbox {
    /// Not written yet, from `from` on.
    bytes: Vec<u8>,
    from: usize,
}

impl Outbox {
    /// Nothing yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), from: 0 }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    /// Where more can be put.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        // A slow reader may never take all, so what it has taken goes now and then; each byte is moved once at most.
        if self.from > self.bytes.len() / 2 {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        &mut self.bytes
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.from = 0;
    }

    /// Has `write` take what waits, and then of `piece`; how many bytes of that it took.
    ///
    /// # Errors
    /// Those of `write`, or it takes nothing.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
        write: impl FnOnce(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let own = &self.bytes[self.from..];
        let parts = [IoSlice::new(own), IoSlice::new(piece)];
        let parts = match (own.is_empty(), piece.is_empty()) {
            (true, _) => &parts[1..],
            (_, true) => &parts[..1],
            _ => &parts[..],
        };
        let n = ready!(write(cx, parts))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_own = n.min(own.len());
        self.from += of_own;
        if self.from == self.bytes.len() {
            self.clear();
        }
        Poll::Ready(Ok(n - of_own))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_reader_that_never_takes_all_holds_no_more_than_it_has_not_taken() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut outbox, mut taken, mut sent) = (Outbox::default(), Vec::new(), Vec::new());
        for n in 0..1_000_u32 {
            let piece = n.to_be_bytes().repeat(25);
            outbox.tail().extend_from_slice(&piece);
            sent.extend_from_slice(&piece);
            let written = outbox.poll_write(&mut cx, b"", |_, parts| {
                let n = parts[0].len().min(if n % 10 == 9 { 181 } else { 91 });
                taken.extend_from_slice(&parts[0][..n]);
                Poll::Ready(Ok(n))
            });
            assert!(matches!(written, Poll::Ready(Ok(0))));
            assert!(outbox.bytes.len() < 500, "{}", outbox.bytes.len());
        }
        assert_eq!(taken, sent[..taken.len()]);
        assert_eq!(taken.len() + outbox.len(), sent.len());
    }

    #[test]
    fn a_piece_goes_out_behind_what_waits() {
        let mut cx = Context::from_waker(Waker::noop());
        for most in 1..10 {
            let (mut outbox, mut taken, mut piece) = (Outbox::default(), Vec::new(), &b"piece"[..]);
            outbox.tail().extend_from_slice(b"head");
            while !piece.is_empty() {
                let written = outbox.poll_write(&mut cx, piece, |_, parts| {
                    let all: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
                    let n = all.len().min(most);
                    taken.extend_from_slice(&all[..n]);
                    Poll::Ready(Ok(n))
                });
                let Poll::Ready(Ok(n)) = written else { panic!("{written:?}") };
                piece = &piece[n..];
            }
            assert_eq!((taken, outbox.len()), (b"headpiece".to_vec(), 0));
        }
    }
}
