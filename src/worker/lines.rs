//! Lines of a child's output, whatever it writes: not UTF-8, without an end, too long.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end; bytes that are not UTF-8 are replaced.
    Text(String),
    /// So many bytes, which are gone.
    TooLong(usize),
}

/// Reads line by line and keeps at most `max` bytes of one.
pub struct Lines<R> {
    from: BufReader<R>,
    max: usize,
    line: Vec<u8>,
    /// Bytes of the line so far, kept or not.
    length: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(from: R, max: usize) -> Self {
        Self { from: BufReader::new(from), max, line: Vec::new(), length: 0 }
    }

    /// The next line, or `None` at the end. Nothing is lost when the future is dropped half-way.
    ///
    /// # Errors
    /// What the system says when reading fails.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let bytes = self.from.fill_buf().await?;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (part, used) = match end {
                Some(at) => (&bytes[..at], at + 1),
                None => (bytes, bytes.len()),
            };
            self.length += part.len();
            if self.length <= self.max {
                self.line.extend_from_slice(part);
            }
            self.from.consume(used);
            if end.is_some() || (used == 0 && self.length > 0) {
                return Ok(Some(self.take()));
            }
            if used == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Line {
        let (line, length) = (std::mem::take(&mut self.line), std::mem::take(&mut self.length));
        if length > self.max {
            return Line::TooLong(length);
        }
        Line::Text(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bad_long_and_unfinished_lines() {
        let mut lines = Lines::new(&b"one\n\xff\xfe two\n\n0123456789\nlast"[..], 9);
        let text = |text: &str| Some(Line::Text(text.to_owned()));
        assert_eq!(lines.next().await.unwrap(), text("one"));
        assert_eq!(lines.next().await.unwrap(), text("\u{fffd}\u{fffd} two"));
        assert_eq!(lines.next().await.unwrap(), text(""));
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong(10)));
        assert_eq!(lines.next().await.unwrap(), text("last"));
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
