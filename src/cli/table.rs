//! Tables that fit the width they have: columns are shortened, then left out,
//! the least important ones first, and no line is ever wrapped.

use super::text::{DIM, Text};

/// Between two columns.
const GAP: usize = 2;

/// One column: its head, and what may be done to it where there is no room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    head: &'static str,
    /// Left out before those with a lower number; 0 stays.
    rank: u8,
    /// The fewest columns of the terminal that it is of use in; `None` where a
    /// part of it says nothing.
    least: Option<usize>,
}

impl Column {
    pub(super) const fn new(head: &'static str, rank: u8) -> Self {
        Self {
            head,
            rank,
            least: None,
        }
    }

    /// It may be shortened to `least`.
    pub(super) const fn at_least(self, least: usize) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }
}

/// Rows under their heads.
#[derive(Clone, Debug)]
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Text; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: [Text; N]) {
        self.rows.push(cells);
    }

    /// The table in so many columns; without a bound, as wide as it is.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let widest = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.max().unwrap_or(0).max(self.columns[column].head.len())
        };
        let natural: [usize; N] = std::array::from_fn(widest);
        let widths = fit(&self.columns, &natural, width.unwrap_or(usize::MAX));
        let heads = std::array::from_fn(|column| Text::new(self.columns[column].head, DIM));
        let rows = std::iter::once(&heads).chain(&self.rows);
        rows.map(|row| render_row(row, &widths)).collect()
    }
}

fn render_row<const N: usize>(row: &[Text; N], widths: &[Option<usize>; N]) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, width) in row.iter().zip(widths) {
        let Some(width) = width else { continue };
        let cell = cell.clipped(*width);
        // No blanks at the end of a line.
        if !cell.words.is_empty() {
            line.push_str(&" ".repeat(owed));
            line.push_str(&cell.to_string());
            owed = 0;
        }
        owed += width - cell.width() + GAP;
    }
    line.push('\n');
    line
}

/// How wide each column is; `None` for one that is left out.
fn fit<const N: usize>(columns: &[Column; N], natural: &[usize; N], width: usize) -> [Option<usize>; N] {
    let mut widths = natural.map(Some);
    loop {
        let shown = widths.iter().flatten();
        let total: usize = shown.clone().map(|width| width + GAP).sum();
        let excess = total.saturating_sub(GAP).saturating_sub(width);
        if excess == 0 {
            return widths;
        }
        let spare = |column: usize| {
            let least = columns[column].least?.max(columns[column].head.len());
            Some(widths[column]?.saturating_sub(least))
        };
        let all: usize = (0..N).filter_map(spare).sum();
        if all >= excess {
            let roomiest = (0..N).max_by_key(|column| spare(*column).unwrap_or(0));
            if let Some(width) = roomiest.and_then(|column| widths[column].as_mut()) {
                *width -= 1;
            }
            continue;
        }
        let shown = |column: &usize| widths[*column].is_some() && columns[*column].rank > 0;
        let Some(least_wanted) = (0..N).filter(shown).max_by_key(|column| columns[*column].rank) else {
            return narrow(widths, width);
        };
        widths[least_wanted] = None;
    }
}

/// Nothing more may be left out: the last columns give way.
fn narrow<const N: usize>(mut widths: [Option<usize>; N], width: usize) -> [Option<usize>; N] {
    let mut left = width;
    for column in &mut widths {
        let Some(natural) = *column else { continue };
        *column = Some(natural.min(left)).filter(|width| *width > 0);
        left = left.saturating_sub(natural + GAP);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let mut table = Table::new([
            Column::new("SHARD", 0),
            Column::new("STATE", 0).at_least(6),
            Column::new("EPOCH", 2),
            Column::new("LAST EXIT", 3).at_least(9),
        ]);
        table.row(["0/4", "identifying (3 s)", "7", "killed by signal 9"].map(Text::from));
        table.row(["1/4", "ready", "8", ""].map(Text::from));
        table
    }

    fn shown(width: Option<usize>) -> String {
        anstream::adapter::strip_str(&table().render(width)).to_string()
    }

    #[test]
    fn a_table_is_as_wide_as_it_is_or_as_the_terminal() {
        assert_eq!(
            shown(None),
            "SHARD  STATE              EPOCH  LAST EXIT\n\
             0/4    identifying (3 s)  7      killed by signal 9\n\
             1/4    ready              8\n"
        );
        assert_eq!(
            shown(Some(40)),
            "SHARD  STATE        EPOCH  LAST EXIT\n\
             0/4    identifyin…  7      killed by si…\n\
             1/4    ready        8\n"
        );
        assert_eq!(
            shown(Some(20)),
            "SHARD  STATE   EPOCH\n0/4    ident…  7\n1/4    ready   8\n"
        );
        for width in 1..60 {
            let widest = shown(Some(width)).lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {widest:?}");
        }
    }
}
