//! The fields of a head, in their order and spelling.
//!
//! Heads are read, judged and passed on; nearly nothing of them is ever changed. So a field stays where it stood, in one
//! piece of text, and a look-up compares a dozen names: less than a table of them costs to be filled. How many fields a
//! head may have is bounded by whoever reads it.

use std::ops::Range;

use crate::router::RequestHeaders;

/// Where one field stands in the text: its line without the line end, and the parts of it.
#[derive(Clone, Copy, Debug)]
struct Span {
    line: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
}

impl Span {
    fn name(self) -> Range<usize> {
        self.line as usize..self.name_end as usize
    }

    fn value(self) -> Range<usize> {
        self.value as usize..self.value_end as usize
    }
}

/// See the module. Names keep their spelling and are compared without case.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    spans: Vec<Span>,
}

impl Fields {
    /// None yet, with room for so many bytes and fields.
    pub fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), spans: Vec::with_capacity(fields) }
    }

    /// The fields that httparse has found in `head`.
    pub fn parsed(head: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let at = |part: &[u8]| (part.as_ptr() as usize - head.as_ptr() as usize) as u32;
        let spans = fields.iter().map(|field| {
            let (line, value) = (at(field.name.as_bytes()), at(field.value));
            let value = if field.value.is_empty() { line + field.name.len() as u32 + 1 } else { value };
            Span {
                line,
                name_end: line + field.name.len() as u32,
                value,
                value_end: value + field.value.len() as u32,
            }
        });
        Self { spans: spans.collect(), text: head.to_vec() }
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let line = self.text.len() as u32;
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        let name_end = line + name.len() as u32;
        self.spans.push(Span { line, name_end, value: name_end + 2, value_end: self.text.len() as u32 });
    }

    /// Appends whole lines of the gateway's own making, each `name: value` and its line end.
    pub fn push_lines(&mut self, lines: &[u8]) {
        let mut line = self.text.len() as u32;
        self.text.extend_from_slice(lines);
        for one in lines.split_inclusive(|byte| *byte == b'\n') {
            let name = memchr::memchr(b':', one).unwrap_or(0) as u32;
            let end = line + one.len() as u32;
            self.spans.push(Span { line, name_end: line + name, value: line + name + 2, value_end: end - 2 });
            line = end;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of the text that holds them.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &[u8])> {
        self.spans.iter().map(|span| (self.name(*span), &self.text[span.value()]))
    }

    fn name(&self, span: Span) -> &str {
        // httparse takes tokens only, and so do the others.
        std::str::from_utf8(&self.text[span.name()]).unwrap_or("")
    }

    /// The values of a field in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let named = move |span: &&Span| self.text[span.name()].eq_ignore_ascii_case(name.as_bytes());
        self.spans.iter().filter(named).map(|span| &self.text[span.value()])
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let named = |span: &&Span| self.text[span.name()].eq_ignore_ascii_case(name.as_bytes());
        self.spans.iter().find(named).map(|span| &self.text[span.value()])
    }

    /// The first value of a field, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a list field as one.
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.get_all(name);
        let mut all = values.next()?.to_vec();
        for value in values {
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(all)
    }

    /// Gives the fields of a name the values that `change` makes of theirs, where it makes one.
    pub fn change(&mut self, name: &str, mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
        for at in 0..self.spans.len() {
            let span = self.spans[at];
            if self.text[span.name()].eq_ignore_ascii_case(name.as_bytes())
                && let Some(value) = change(&self.text[span.value()])
            {
                let own = self.name(span).to_owned();
                self.push(&own, &value);
                self.spans.swap_remove(at);
            }
        }
    }

    /// Leaves those that `keep` says of.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        let text = &self.text;
        self.spans
            .retain(|span| keep(std::str::from_utf8(&text[span.name()]).unwrap_or(""), &text[span.value()]));
    }

    /// Writes them as lines, as they came.
    pub fn write(&self, out: &mut Vec<u8>) {
        for span in &self.spans {
            if span.value == span.name_end + 1 || self.text[span.name_end as usize] != b':' {
                // Nothing, or no blank, behind the colon; or one before it, which goes (RFC 9112 §5.1).
                out.extend_from_slice(&self.text[span.name()]);
                out.extend_from_slice(b": ");
                out.extend_from_slice(&self.text[span.value()]);
            } else {
                out.extend_from_slice(&self.text[span.line as usize..span.value_end as usize]);
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl RequestHeaders for Fields {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.get_all(name).for_each(visit);
    }
}

/// A number of digits alone, blanks around it allowed.
pub fn decimal(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Fields {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        Fields::parsed(head.as_bytes(), request.headers)
    }

    #[test]
    fn fields_keep_their_order_and_spelling() {
        let mut fields = parsed(
            "GET / HTTP/1.1\r\nHOST: a\r\nX-b:1\r\nEmpty:\r\nblank: \r\nX-B:  2 \r\nlast: \t3\r\n\r\n",
        );
        fields.push("Added", b"4");
        fields.push_lines(b"one: 5\r\ntwo: 6\r\n");
        let mut out = Vec::new();
        fields.write(&mut out);
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<(&str, &str)> =
            out.split_terminator("\r\n").map(|line| line.split_once(':').unwrap()).collect();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["HOST", "X-b", "Empty", "blank", "X-B", "last", "Added", "one", "two"]);
        let values: Vec<&str> = lines.iter().map(|(_, value)| value.trim()).collect();
        assert_eq!(values, ["a", "1", "", "", "2", "3", "4", "5", "6"]);
        let known: Vec<(&str, &[u8])> = fields.iter().collect();
        for (i, (name, value)) in known.iter().enumerate() {
            assert_eq!((*name, *value), (names[i], values[i].as_bytes()));
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        let mut fields = parsed("GET / HTTP/1.1\r\nX-b: 1\r\nx-B: 2\r\n\r\n");
        assert_eq!(fields.get("X-B"), Some(&b"1"[..]));
        assert_eq!(fields.get_all("x-b").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.joined("x-b").as_deref(), Some(&b"1, 2"[..]));
        fields.retain(|_, value| value == b"2");
        assert_eq!((fields.len(), fields.get("x-b"), fields.get("x-c")), (1, Some(&b"2"[..]), None));
    }
}
