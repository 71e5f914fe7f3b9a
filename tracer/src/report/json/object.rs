//! Objects of which there are many, written field by field: what is this program's own, the fields'
//! names and the states', is written as it stands, and serde_json writes the rest.

use serde::Serialize;
use serde_json::{Result, Serializer};

use super::Harmless;

/// An object that is being written.
pub(super) struct Object<'a>(&'a mut Vec<u8>);

/// The name of a field as it stands between two fields.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

impl<'a> Object<'a> {
    /// Begins one of this `type`.
    pub(super) fn begin(kind: &'static str, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"type\":");
        let mut object = Self(out);
        object.text(kind);
        object
    }

    /// Begins the object that is the value of field `key`.
    #[inline]
    pub(super) fn within(&mut self, key: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        self.0.extend_from_slice(key.as_bytes());
        let brace = self.0.len();
        let mut within = Object(self.0);
        fields(&mut within);
        // Where the first field has its comma.
        match self.0.get_mut(brace) {
            Some(comma) => *comma = b'{',
            None => self.0.push(b'{'),
        }
        self.0.push(b'}');
    }

    /// A field: [`key!`] and its value.
    ///
    /// # Errors
    /// None for values that are no maps: memory does not fail to be written to.
    #[inline]
    pub(super) fn field(&mut self, key: &'static str, value: &impl Serialize) -> Result<()> {
        self.0.extend_from_slice(key.as_bytes());
        value.serialize(&mut Serializer::with_formatter(&mut *self.0, Harmless))
    }

    /// A number that may not be known.
    #[inline]
    pub(super) fn number(&mut self, key: &'static str, value: Option<impl Into<u64>>) {
        self.0.extend_from_slice(key.as_bytes());
        match value {
            Some(value) => {
                let mut digits = itoa::Buffer::new();
                self.0.extend_from_slice(digits.format(value.into()).as_bytes());
            }
            None => self.null(),
        }
    }

    /// A name out of a list of this program's, or a time: nothing in it has to be escaped.
    #[inline]
    pub(super) fn name(&mut self, key: &'static str, name: Option<&str>) {
        self.0.extend_from_slice(key.as_bytes());
        match name {
            Some(name) => self.text(name),
            None => self.null(),
        }
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.0.push(b'}');
    }

    fn text(&mut self, plain: &str) {
        debug_assert!(plain.bytes().all(|byte| !matches!(byte, b'"' | b'\\' | ..=0x1f | 0x7f..)));
        self.0.push(b'"');
        self.0.extend_from_slice(plain.as_bytes());
        self.0.push(b'"');
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }
}
