//! Lines of the gateway's own in a head that actix-http has encoded.

use std::io::IoSlice;

/// Lines on their way out, and how much of what actix writes comes before them.
#[derive(Debug)]
pub struct Insert {
    before: usize,
    lines: Vec<u8>,
    /// Of `lines`.
    out: usize,
}

impl Insert {
    /// `lines`, each with its line end, behind the first line of `head`.
    pub fn behind_first_line(head: &[u8], lines: Vec<u8>) -> Self {
        let before = memchr::memchr(b'\n', head).map_or(0, |at| at + 1);
        Self { before, lines, out: 0 }
    }

    /// What is to be written where actix has `bytes` to write.
    pub fn around<'a>(&'a self, bytes: &'a [u8]) -> [IoSlice<'a>; 3] {
        let (before, behind) = bytes.split_at(self.before.min(bytes.len()));
        [before, &self.lines[self.out..], behind].map(IoSlice::new)
    }

    /// Notes that so many bytes of that are out. Answers how many of them are actix's.
    pub fn wrote(&mut self, written: usize) -> usize {
        let before = written.min(self.before);
        let lines = (written - before).min(self.lines.len() - self.out);
        self.before -= before;
        self.out += lines;
        written - lines
    }

    /// Nothing of the lines is left.
    pub fn is_out(&self) -> bool {
        self.out == self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\na: 1\r\n\r\nbody\n";
    const LINES: &[u8] = b"x: 1\r\ny: 2\r\n";
    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\na: 1\r\n\r\nbody\n";

    #[test]
    fn lines_stand_behind_the_first_one_however_little_a_write_takes() {
        for most in 1..=WHOLE.len() {
            let mut insert = Insert::behind_first_line(HEAD, LINES.to_vec());
            let (mut left, mut out) = (HEAD, Vec::new());
            while !insert.is_out() {
                let bytes = insert.around(left).concat_up_to(most);
                left = &left[insert.wrote(bytes.len())..];
                out.extend(bytes);
            }
            out.extend(left);
            assert_eq!(out, WHOLE, "{most} bytes a write");
        }
    }

    trait ConcatUpTo {
        fn concat_up_to(&self, most: usize) -> Vec<u8>;
    }

    impl ConcatUpTo for [IoSlice<'_>; 3] {
        fn concat_up_to(&self, most: usize) -> Vec<u8> {
            self.iter().flat_map(|part| part.iter().copied()).take(most).collect()
        }
    }
}
