//! A share of a long suite: what does not all fit into one run is played in turns.

use std::str::FromStr;

/// Every so-manieth of what is counted, from one on: `2/3` is the second of three shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    which: usize,
    of: usize,
}

impl Share {
    /// Whether what has this place in the order, counted from nought, belongs to it.
    pub fn takes(self, place: usize) -> bool {
        place % self.of == self.which - 1
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/').and_then(|(n, m)| n.parse().ok().zip(m.parse().ok()));
        let share = numbers.filter(|(n, m): &(usize, usize)| (1..=*m).contains(n));
        let (which, of) =
            share.ok_or_else(|| format!("{text:?} is no share; one is n/m with n from 1 to m"))?;
        Ok(Self { which, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_belongs_to_exactly_one_of_the_shares() {
        let shares: Vec<Share> = (1..=3).map(|n| format!("{n}/3").parse().unwrap()).collect();
        for place in 0..10 {
            assert_eq!(shares.iter().filter(|share| share.takes(place)).count(), 1, "{place}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "one/three", "1/3/5"] {
            let why = text.parse::<Share>().unwrap_err();
            assert!(why.contains("is no share"), "{why}");
        }
    }
}
