//! The mark on a traffic target, beside a name's addresses or on an HTTPRoute: which transition wrote it.

use std::fmt;
use std::str::FromStr;

use bascule_core::name::SiteName;

/// Which transition wrote where a traffic target points. Marks are ordered by epoch, then serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The record's epoch.
    pub epoch: u64,
    /// The record's serial.
    pub serial: u64,
    /// The site that the target points at.
    pub site: SiteName,
}

impl Mark {
    /// Whether this mark belongs to a later state of the record than `other`.
    pub fn newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.serial) > (other.epoch, other.serial)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=1 epoch={} serial={} site={}", self.epoch, self.serial, self.site)
    }
}

/// Why a text is not a mark.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a mark: expected text like \"v=1 epoch=5 serial=12 site=lyon\"")]
pub struct MarkError(String);

impl FromStr for Mark {
    type Err = MarkError;

    /// Reads a mark. Unknown words after the known ones are allowed, so that a newer writer can add some; each known
    /// word must be there exactly once.
    fn from_str(s: &str) -> Result<Self, MarkError> {
        let wrong = || MarkError(s.to_owned());
        let (mut version, mut epoch, mut serial, mut site) = (None, None, None, None);
        for word in s.split(' ') {
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            let slot = match key {
                "v" => &mut version,
                "epoch" => &mut epoch,
                "serial" => &mut serial,
                "site" => &mut site,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(wrong());
            }
        }
        let number = |v: Option<&str>| {
            v.filter(|v| v.bytes().all(|c| c.is_ascii_digit())).and_then(|v| v.parse().ok()).ok_or_else(wrong)
        };
        if version != Some("1") {
            return Err(wrong());
        }
        Ok(Self {
            epoch: number(epoch)?,
            serial: number(serial)?,
            site: site.and_then(|s| SiteName::try_from(s).ok()).ok_or_else(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(epoch: u64, serial: u64) -> Mark {
        Mark { epoch, serial, site: SiteName::try_from("lyon").unwrap() }
    }

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let text = mark(5, 12).to_string();
        assert_eq!(text, "v=1 epoch=5 serial=12 site=lyon");
        assert_eq!(text.parse::<Mark>().unwrap(), mark(5, 12));
        assert_eq!("v=1 epoch=5 serial=12 site=lyon why=later".parse::<Mark>().unwrap(), mark(5, 12));
    }

    #[test]
    fn a_text_that_is_not_exactly_a_mark_is_refused() {
        for bad in [
            "",
            "v=spf1 -all",
            "v=2 epoch=5 serial=12 site=lyon",
            "v=1 epoch=5 site=lyon",
            "v=1 epoch=5 epoch=6 serial=12 site=lyon",
            "v=1 epoch=+5 serial=12 site=lyon",
            "v=1 epoch=5 serial=12 site=Lyon",
            "v=1 epoch=5  serial=12 site=lyon",
        ] {
            assert!(bad.parse::<Mark>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_epoch_decides_before_the_serial() {
        assert!(mark(6, 1).newer_than(&mark(5, 9)));
        assert!(mark(5, 10).newer_than(&mark(5, 9)));
        assert!(!mark(5, 9).newer_than(&mark(5, 9)));
    }
}
