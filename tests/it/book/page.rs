//! A page of the book: its fenced blocks, and the commands in them.

use std::fs;
use std::path::Path;

/// What marks a block that a test cannot run, and one that the tests of the
/// oracle run.
const NOT_HERE: [&str; 2] = ["by-hand", "oracle"];

pub struct Page {
    /// Its path in the repository.
    pub name: String,
    pub text: String,
    /// All that is outside of blocks.
    pub prose: String,
    pub blocks: Vec<Block>,
}

impl Page {
    pub fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let (mut prose, mut blocks) = (String::new(), Vec::new());
        let mut open: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => block.text.extend([line, "\n"]),
                (None, Some(info)) => open = Some(Block::new(info, number + 1, "")),
                (None, None) => prose.extend([line, "\n"]),
            }
        }
        assert!(open.is_none(), "{name}: a block without its end");
        Self {
            name,
            text,
            prose,
            blocks,
        }
    }
}

/// A fenced block.
pub struct Block {
    /// The words behind the fence.
    info: Vec<String>,
    /// Where it begins.
    pub line: usize,
    pub text: String,
}

impl Block {
    pub fn new(info: &str, line: usize, text: &str) -> Self {
        Self {
            info: info.split_whitespace().map(str::to_owned).collect(),
            line,
            text: text.to_owned(),
        }
    }

    pub fn is_shell(&self) -> bool {
        ["sh", "console"]
            .map(str::to_owned)
            .iter()
            .any(|word| self.info.first() == Some(word))
    }

    pub fn is_by_hand(&self) -> bool {
        self.info.iter().any(|word| NOT_HERE.contains(&word.as_str()))
    }

    /// The file that it is: the second word, with a full stop in it.
    pub fn file(&self) -> Option<&str> {
        self.info
            .get(1)
            .map(String::as_str)
            .filter(|word| word.contains('.'))
    }

    /// Its commands, each with the output that is shown below it.
    pub fn commands(&self) -> Vec<Command> {
        let shows = self.info.first().is_some_and(|word| word == "console");
        let mut commands: Vec<Command> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            let begins = match shows {
                true => line.strip_prefix("$ "),
                false => Some(line).filter(|line| !line.trim().is_empty() && !line.starts_with('#')),
            };
            match (commands.last_mut(), begins) {
                (Some(last), _) if goes_on => last.line.extend(["\n", line]),
                (_, Some(line)) => commands.push(Command {
                    line: line.to_owned(),
                    shown: Vec::new(),
                }),
                (Some(last), None) if shows && !line.trim().is_empty() => last.shown.push(line.to_owned()),
                (_, None) => {}
            }
            goes_on = line.ends_with('\\');
        }
        commands
    }
}

pub struct Command {
    pub line: String,
    /// The lines of its output that the page shows.
    pub shown: Vec<String>,
}

impl Command {
    /// Whether the lines that are shown are there, in this order.
    pub fn is_shown_by(&self, output: &str) -> bool {
        self.first_missing(output).is_none()
    }

    pub fn first_missing(&self, output: &str) -> Option<&str> {
        let mut printed = output.lines();
        let mut shown = self.shown.iter().filter(|line| line.trim() != "…");
        shown
            .find(|shown| !printed.any(|printed| alike(shown, printed)))
            .map(String::as_str)
    }
}

/// Whether a line has the shape that is shown: each number is any number, each
/// unit of time any unit, `…` is anything.
pub fn alike(shown: &str, printed: &str) -> bool {
    // A session id is one of any digits.
    let (shown, printed) = (plain(&shown.replace("9f1c…", "…")), plain(printed));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let mut plain = String::new();
        for c in word.chars() {
            match c {
                '0'..='9' if plain.ends_with('#') => {}
                '0'..='9' => plain.push('#'),
                c => plain.push(c),
            }
        }
        // 0.5 is as much a number as 3.
        let plain = plain.replace("#.#", "#");
        match &*plain {
            "min" | "h" | "ms" => "s".to_owned(),
            _ => plain,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
