//! Words with colours, as wide as they are on a terminal. What is printed goes
//! through `anstream`, which leaves colours out where nobody sees them.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// As it is.
pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// On its way.
pub(super) const MOVING: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The colour of a state. Its word always stands there too.
pub(super) fn of_state(word: &str) -> Style {
    match word {
        "ready" | "registered" | "running" | "assigned" | "leased" | "resting" | "spare" | "done" => GOOD,
        "silent" | "deaf" | "blocked" | "halted" | "crash_looping" | "lapsed" | "free" | "disconnected" => {
            BAD
        }
        "stopped" => BOLD,
        _ => MOVING,
    }
}

/// Some words in one colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) words: String,
    pub(super) style: Style,
}

impl Text {
    pub(super) fn new(words: impl Into<String>, style: Style) -> Self {
        let words: String = words.into();
        // Nothing that was told to us moves the cursor.
        let words = words.replace(char::is_control, " ");
        Self { words, style }
    }

    /// The columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.words.width()
    }

    /// The same in so many columns at most.
    pub(super) fn clipped(&self, width: usize) -> Self {
        Self {
            words: clip(&self.words, width),
            style: self.style,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{}",
            self.style.render(),
            self.words,
            self.style.render_reset()
        )
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        Self::new(words, PLAIN)
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self::new(words, PLAIN)
    }
}

/// The same in so many columns at most.
pub(super) fn clip(words: &str, width: usize) -> String {
    if words.width() <= width {
        return words.to_owned();
    }
    let mut clipped = String::new();
    let mut columns = 0;
    for character in words.chars() {
        columns += character.width().unwrap_or(0);
        if columns >= width {
            break;
        }
        clipped.push(character);
    }
    if width > 0 {
        clipped.push('…');
    }
    clipped
}

/// One line of several texts, in so many columns at most.
pub(super) fn line(texts: &[Text], width: Option<usize>) -> String {
    let mut left = width.unwrap_or(usize::MAX);
    let mut line = String::new();
    for text in texts {
        if left == 0 {
            break;
        }
        let text = text.clipped(left);
        left -= text.width();
        line.push_str(&text.to_string());
    }
    line.push('\n');
    line
}

/// A text behind its head, that goes on below itself.
pub(super) fn wrap(head: &str, text: &str, width: Option<usize>, style: Style) -> String {
    let width = width.unwrap_or(usize::MAX);
    let indent = head.width();
    let mut lines = vec![head.to_owned()];
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.width();
        if column > indent && column + 1 + length > width {
            lines.push(" ".repeat(indent));
            column = indent;
        } else if column > indent {
            column += 1;
            if let Some(line) = lines.last_mut() {
                line.push(' ');
            }
        }
        let word = clip(word, width.saturating_sub(indent).max(1));
        column += word.width();
        if let Some(line) = lines.last_mut() {
            line.push_str(&word);
        }
    }
    lines
        .into_iter()
        .map(|line| format!("{}\n", Text { words: line, style }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_itself() {
        let wrap = |head, text, width| wrap(head, text, width, PLAIN);
        assert_eq!(
            wrap("ab  ", "one two three", Some(12)),
            "ab  one two\n    three\n"
        );
        assert_eq!(wrap("ab  ", "one", Some(6)), "ab  o…\n");
        assert_eq!(wrap("ab  ", "one two", None), "ab  one two\n");
    }

    #[test]
    fn wide_characters_take_two_columns_and_control_characters_none_of_the_screen() {
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abcd", 3), "ab…");
        assert_eq!(Text::from("a\x1b[2Jb").words, "a [2Jb");
        assert_eq!(line(&["abc".into(), "def".into()], Some(5)), "abcd…\n");
    }
}
