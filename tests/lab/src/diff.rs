//! Two texts line by line: what went, what came.

/// The lines that differ, `-` in `old` alone, `+` in `new` alone, each under the nearest `# title` above it.
/// Empty: no difference.
pub(crate) fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // A snapshot has over a thousand lines and a test changes a few: the table is made for the middle alone.
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let common = common_lengths(a, b);

    let mut out = Report::default();
    old[..head].iter().for_each(|line| out.same(line));
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.same(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.changed('-', a[i]);
            i += 1;
        } else {
            out.changed('+', b[j]);
            j += 1;
        }
    }
    out.text
}

/// `[i][j]`: the length of the longest common subsequence of `a[i..]` and `b[j..]`.
fn common_lengths(a: &[&str], b: &[&str]) -> Vec<Vec<u32>> {
    let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = match a[i] == b[j] {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    lengths
}

#[derive(Default)]
struct Report {
    text: String,
    title: Option<String>,
}

impl Report {
    fn same(&mut self, line: &str) {
        if line.starts_with("# ") {
            self.title = Some(line.to_owned());
        }
    }

    fn changed(&mut self, sign: char, line: &str) {
        if let Some(title) = self.title.take() {
            self.text += &format!("{title}\n");
        }
        self.text += &format!("{sign} {line}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
    }

    #[test]
    fn a_difference_stands_under_its_title() {
        let old = "# links\na\n# routes\nx\ny\nz\n";
        let new = "# links\na\n# routes\nx\nz\nw\n";
        assert_eq!(diff(old, new), "# routes\n- y\n+ w\n");
    }
}
