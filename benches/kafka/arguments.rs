//! `--name value ..`

use std::collections::BTreeMap;
use std::error::Error;
use std::str::FromStr;

pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut found = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("{word} is no --name"))?;
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            found.insert(name.to_owned(), value);
        }
        Ok(Self(found))
    }

    pub fn text(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        let found = self.0.get(name).ok_or_else(|| format!("--{name} is missing"))?;
        Ok(found)
    }

    pub fn number<N: FromStr<Err: Error + 'static>>(&self, name: &str) -> Result<N, Box<dyn Error>> {
        Ok(self.text(name)?.parse()?)
    }
}
