//! Which of some names was probably meant.

/// The name nearest to `wanted`, when it is near enough to be a slip.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wanted.chars().count() / 3).clamp(1, 3);
    let near = names.into_iter().map(|name| (distance(wanted, name), name));
    near.filter(|(d, _)| *d <= most).min().map(|(_, name)| name)
}

/// How many letters have to be changed, put in, taken out or swapped with their neighbour to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_name_is_not() {
        let names = ["shop", "blog", "shop-eu"];
        for (wanted, found) in [
            ("shpo", Some("shop")),
            ("sho", Some("shop")),
            ("shopp", Some("shop")),
            ("shop-us", Some("shop-eu")),
        ] {
            assert_eq!(nearest(wanted, names), found, "{wanted}");
        }
        assert_eq!(nearest("mail", names), None);
        assert_eq!(nearest("madrid", ["paris", "lyon"]), None, "another town is no slip");
        assert_eq!(nearest("shop", []), None);
        assert_eq!([distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")], [3, 3, 3]);
    }
}
