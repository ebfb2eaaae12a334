//! Standard output: colours where they are seen, and no complaint when nobody
//! reads any more.

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints a text. Colours are left out where `NO_COLOR` or a pipe wants that,
/// and `CLICOLOR_FORCE` does not. False when nobody reads any more.
pub(super) fn print(text: &str) -> io::Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Prints one line: for scripts the value, for people the words.
pub(super) fn say(json: bool, value: &impl Serialize, words: &str) -> anyhow::Result<()> {
    let text = match json {
        true => serde_json::to_string(value)?,
        false => words.to_owned(),
    };
    print(&format!("{text}\n"))?;
    Ok(())
}
