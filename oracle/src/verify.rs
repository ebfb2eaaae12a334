//! Which tokens of a draft are those that follow anyway.

use crate::engine::Token;

/// What a row of the model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This token follows.
    Token(Token),
    /// This token follows, and the answer ends with it; or none does.
    End(Option<Token>),
}

/// Walks the rows of [last certain token, d1 .. dg] from left to right, and
/// returns how many of the draft's tokens are those that follow.
///
/// `next` is asked for the token of each row whose tokens before it are all
/// certain, at most g + 1 times, and keeps what it answers: the accepted tokens
/// and then one more, which the draft did not have or had wrong. It may end the
/// answer at any of them.
pub fn verify(draft: &[Token], mut next: impl FnMut(usize) -> Next) -> usize {
    for (row, &guess) in draft.iter().enumerate() {
        match next(row) {
            Next::Token(token) if token == guess => {}
            Next::Token(_) => return row,
            Next::End(token) => return row + usize::from(token == Some(guess)),
        }
    }
    next(draft.len());
    draft.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(draft: &[Token], rows: &[Next], accepted: usize, asked: usize) {
        let mut seen = 0;
        let count = verify(draft, |row| {
            assert_eq!(row, seen, "rows are asked in order, once");
            seen += 1;
            rows[row]
        });
        assert_eq!((count, seen), (accepted, asked), "{draft:?} against {rows:?}");
    }

    #[test]
    fn a_draft_counts_up_to_the_first_token_that_does_not_follow() {
        let rows = [Next::Token(1), Next::Token(2), Next::Token(3)];
        check(&[], &rows, 0, 1);
        check(&[1, 2], &rows, 2, 3);
        check(&[1, 9], &rows, 1, 2);
        check(&[9, 2], &rows, 0, 1);
    }

    #[test]
    fn nothing_is_asked_after_the_end() {
        check(&[1, 2, 3], &[Next::Token(1), Next::End(Some(2))], 2, 2);
        check(&[1, 9, 3], &[Next::Token(1), Next::End(Some(2))], 1, 2);
        check(&[1, 2], &[Next::End(None)], 0, 1);
    }
}
