//! A unit file's `[Service]` section, with its drop-ins.

use std::collections::BTreeSet;

/// Keys and values in their order.
pub(super) struct Unit(Vec<(String, String)>);

impl Unit {
    /// Reads a unit and the drop-ins behind it.
    #[track_caller]
    pub(super) fn read(paths: &[&str]) -> Self {
        let mut entries = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            let mut section = "";
            for line in text.lines().map(str::trim) {
                if line.starts_with('[') {
                    section = line;
                } else if section == "[Service]"
                    && !line.starts_with('#')
                    && let Some((key, value)) = line.split_once('=')
                {
                    entries.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        Self(entries)
    }

    /// Every value of a key.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// The value that counts, of a key with one.
    pub(super) fn last<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).last()
    }

    /// The words of a key whose values add up.
    pub(super) fn set<'a>(&'a self, key: &'a str) -> BTreeSet<String> {
        self.all(key).flat_map(str::split_whitespace).map(str::to_owned).collect()
    }

    /// `ExecStart=` as systemd would run it with these variables beside the unit's own: `${NAME}`
    /// is one word, `$NAME` is split at blanks.
    pub(super) fn command(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let own = self.all("Environment").filter_map(|line| line.split_once('='));
        let known: Vec<_> = own.chain(variables.iter().copied()).collect();
        let value = |name: &str| known.iter().rfind(|(key, _)| *key == name).map_or("", |(_, v)| v);
        let mut words = Vec::new();
        for word in self.last("ExecStart").expect("ExecStart=").split_whitespace() {
            if let Some(name) = word.strip_prefix("${").and_then(|word| word.strip_suffix('}')) {
                words.push(value(name).to_owned());
            } else if let Some(name) = word.strip_prefix('$') {
                words.extend(value(name).split_whitespace().map(str::to_owned));
            } else {
                words.push(word.to_owned());
            }
        }
        words
    }
}
