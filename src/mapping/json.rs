//! JSON that is put together of parts, comma by comma. The parts are the caller's to see to.

use crate::ledger::canonical::text;

/// Writes one object, comma by comma.
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> ObjectWriter<'o> {
    pub(crate) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(crate) fn member(&mut self, name: &str, json: &[u8]) {
        self.begin(name).extend_from_slice(json);
    }

    /// Where the value of the next member is to be written.
    pub(crate) fn begin(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        text::write_string(name, self.out);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        text::write_string(value, self.begin(name));
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// Appends a list of what `write` makes of each item. `None` where it makes nothing of one; `out` then holds a part of the list.
pub(crate) fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(b']');
    Some(())
}
