//! What is claimed, what was measured, and whether it holds.

use std::fmt;

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The claim, as a sentence.
    pub text: String,
    /// What was measured.
    pub measured: String,
    /// Whether it holds.
    pub holds: bool,
}

/// All claims, in the order in which they were judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    list: Vec<Claim>,
}

impl Claims {
    /// Adds one.
    pub fn judge(&mut self, text: &str, measured: impl Into<String>, holds: bool) {
        self.list.push(Claim { text: text.to_owned(), measured: measured.into(), holds });
    }

    /// Whether all of them hold; with none at all nothing was proved.
    pub fn all_hold(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|c| c.holds)
    }

    /// The claims.
    pub fn list(&self) -> &[Claim] {
        &self.list
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |heading: &str, text: fn(&Claim) -> &str| {
            let widths = self.list.iter().map(|c| text(c).chars().count());
            widths.fold(heading.len(), usize::max)
        };
        let claim = width("CLAIM", |c| &c.text);
        let measured = width("MEASURED", |c| &c.measured);
        writeln!(f, "{:claim$}  {:measured$}  RESULT", "CLAIM", "MEASURED")?;
        for c in &self.list {
            let result = if c.holds { "pass" } else { "FAIL" };
            writeln!(f, "{:claim$}  {:measured$}  {result}", c.text, c.measured)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_claimed_is_nothing_proved_and_one_failure_fails_all() {
        let mut claims = Claims::default();
        assert!(!claims.all_hold());
        claims.judge("a", "1", true);
        assert!(claims.all_hold());
        claims.judge("longer", "2 ms", false);
        assert!(!claims.all_hold());
        let table = claims.to_string();
        assert_eq!(table, "CLAIM   MEASURED  RESULT\na       1         pass\nlonger  2 ms      FAIL\n");
    }
}
