//! Rows in columns that fit a terminal.

use unicode_width::UnicodeWidthStr;

use super::columns::wrap;
use crate::encoding::plain::visible;

/// Columns between two columns of a table, and the fewest that one of them gets.
const GAP: usize = 2;
const NARROWEST: usize = 8;

/// Rows, and what stands above each column.
pub struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table of these rows. What would steer the screen becomes visible (T43).
    pub fn new(head: [&'static str; N], rows: impl IntoIterator<Item = [String; N]>) -> Self {
        let rows = rows.into_iter().map(|row| row.map(|cell| visible(&cell)));
        Self {
            head,
            rows: rows.collect(),
        }
    }

    /// Rows of a name and what it has, which need no heading.
    #[must_use]
    pub fn of_pairs(rows: impl IntoIterator<Item = [String; N]>) -> Self {
        Self::new([""; N], rows)
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether something stands above its columns.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.head.iter().any(|head| !head.is_empty())
    }

    /// Lines of at most `width` columns under a heading: what is too long for its column goes on below. Where there is no room for
    /// columns, each cell stands beside its heading. A column in which nothing stands is left out.
    pub fn fitted(&self, width: usize) -> Vec<String> {
        let widths = self.widths(width, self.head);
        if whole(&widths) > width {
            return self.rows.iter().flat_map(|row| self.beside(row, width)).collect();
        }
        let head = self.head.map(str::to_owned);
        let rows = self.has_head().then_some(&head).into_iter().chain(&self.rows);
        rows.flat_map(|row| lines(row, &widths)).collect()
    }

    fn beside(&self, row: &[String; N], width: usize) -> Vec<String> {
        let heading = self.head.iter().map(|head| head.width()).max().unwrap_or_default() + GAP;
        let cells = self.head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let lines = cells.flat_map(|(head, cell)| {
            let parts = wrap(cell, width.saturating_sub(heading).max(NARROWEST)).into_iter().enumerate();
            parts.map(move |(at, part)| format!("{:heading$}{part}", if at == 0 { head } else { "" }))
        });
        lines.chain([String::new()]).collect()
    }

    /// A line for each row, without a heading: for a program that reads lines.
    pub fn unfitted(&self) -> impl Iterator<Item = String> + '_ {
        let widths = self.widths(usize::MAX, [""; N]);
        self.rows.iter().flat_map(move |row| lines(row, &widths))
    }

    /// The width of each column; 0 for one that is left out. The widest that can break at a blank gives way first, then the widest.
    fn widths(&self, width: usize, head: [&str; N]) -> [usize; N] {
        let longest = |at: usize, of: &dyn Fn(&str) -> usize| {
            let cell = self.rows.iter().map(|row| of(&row[at])).max().unwrap_or_default();
            if cell == 0 { 0 } else { cell.max(head[at].width()) }
        };
        let mut widths: [usize; N] = std::array::from_fn(|at| longest(at, &|cell| cell.width()));
        let words = |cell: &str| cell.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
        for floor in [std::array::from_fn(|at| longest(at, &words)), [0; N]] {
            let floor: [usize; N] = floor;
            while whole(&widths) > width {
                let columns = widths.iter_mut().zip(floor);
                let Some((widest, _)) = columns.filter(|(at, least)| **at > NARROWEST.max(*least)).max() else {
                    break;
                };
                *widest -= 1;
            }
        }
        widths
    }
}

/// Columns of a whole line.
fn whole(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|width| **width > 0).count();
    widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1)
}

fn lines<const N: usize>(row: &[String; N], widths: &[usize; N]) -> Vec<String> {
    let cells: Vec<(Vec<String>, usize)> = row
        .iter()
        .zip(widths)
        .filter(|(_, width)| **width > 0)
        .map(|(cell, width)| (wrap(cell, *width), *width))
        .collect();
    let height = cells.iter().map(|(lines, _)| lines.len()).max().unwrap_or_default();
    let line = |at: usize| {
        let mut line = String::new();
        for (lines, width) in &cells {
            let text = lines.get(at).map_or("", String::as_str);
            line += text;
            line.extend(std::iter::repeat_n(' ', (width + GAP).saturating_sub(text.width())));
        }
        line.truncate(line.trim_end().len());
        line
    };
    (0..height).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned);
        Table::new(
            ["SECRET", "VERSION", "NOTHING", "LIMITS"],
            [
                row(["prod/TOKEN", "1", "", "at most 10 min, at most 3 uses"]),
                row(["dev/東京", "12", "", ""]),
            ],
        )
    }

    #[test]
    fn columns_stand_under_their_headings_and_empty_ones_are_left_out() {
        let whole = [
            "SECRET      VERSION  LIMITS",
            "prod/TOKEN  1        at most 10 min, at most 3 uses",
            "dev/東京    12",
        ];
        assert_eq!(table().fitted(80), whole);
        let lines = ["prod/TOKEN  1   at most 10 min, at most 3 uses", "dev/東京    12"];
        assert_eq!(table().unfitted().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn what_is_too_long_for_its_column_goes_on_below_and_nothing_is_lost() {
        let fitted = table().fitted(40);
        let expected = [
            "SECRET      VERSION  LIMITS",
            "prod/TOKEN  1        at most 10 min, at",
            "                     most 3 uses",
            "dev/東京    12",
        ];
        assert_eq!(fitted, expected);
        let narrow = [
            "SECRET    VERSION  LIMITS",
            "prod/TOK  1        at most",
            "EN                 10 min,",
            "                   at most",
            "                   3 uses",
            "dev/東京  12",
        ];
        assert_eq!(table().fitted(27), narrow);
    }

    #[test]
    fn without_room_for_columns_each_cell_stands_beside_its_heading() {
        let expected = [
            "SECRET   prod/TOKEN",
            "VERSION  1",
            "LIMITS   at most 10",
            "         min, at most",
            "         3 uses",
            "",
            "SECRET   dev/東京",
            "VERSION  12",
            "",
        ];
        assert_eq!(table().fitted(22), expected);
    }

    #[test]
    fn pairs_stand_in_two_columns_without_a_heading() {
        let pairs = [["PIN", "none set"], ["firmware", "5.7.1"]].map(|pair| pair.map(str::to_owned));
        let table = Table::of_pairs(pairs);
        assert_eq!(table.fitted(80), ["PIN       none set", "firmware  5.7.1"]);
        assert!(!table.has_head() && !table.is_empty());
    }

    #[test]
    fn t43_a_cell_does_not_steer_the_screen() {
        let table = Table::new(["A"], [["\u{1b}[2J".to_owned()]]);
        assert_eq!(table.fitted(80)[1], "<U+001B>[2J");
    }
}
