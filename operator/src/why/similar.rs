//! Which of some names was probably meant.

/// The name nearest to `wanted`, when it is near enough to be a slip.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wanted.chars().count() / 2).clamp(1, 3);
    let near = names.into_iter().map(|name| (distance(wanted, name), name));
    near.filter(|(d, _)| *d <= most).min().map(|(_, name)| name)
}

/// How many letters have to be changed, put in or taken out to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = row[j] + usize::from(x != *y);
            next.push(changed.min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
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
        assert_eq!(nearest("shop", []), None);
        assert_eq!([distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")], [3, 3, 3]);
    }
}
