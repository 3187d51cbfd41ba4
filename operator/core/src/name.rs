//! Names that cannot be wrong: parsed once, never looked at as raw text again.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {found:?} is not a name: use 1 to {max} characters of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct NameError {
    kind: &'static str,
    found: String,
    max: usize,
}

fn is_label(s: &str, max: usize) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let b = s.as_bytes();
    b.len() <= max && edge(b.first()) && edge(b.last()) && b.iter().all(|c| inner(*c))
}

fn is_subdomain(s: &str) -> bool {
    s.len() <= 253 && s.split('.').all(|part| is_label(part, 63))
}

/// Texts that are kept once, however often they are read: a fleet's records and reports name a few sites and items over and
/// over. Whether two names share their text can be seen by nobody.
struct Shared(Mutex<BTreeSet<Arc<str>>>);

impl Shared {
    /// How many texts are shared at most: names come from outside, and none is ever forgotten.
    const MOST: usize = 1024;

    const fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    fn text(&self, text: String) -> Arc<str> {
        // A panic while the lock was held leaves a set of whole texts behind.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(text.as_str()) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        if known.len() < Self::MOST {
            known.insert(Arc::clone(&text));
        }
        text
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $check:expr, $text:expr) => {
        $(#[$doc])*
        ///
        /// A copy is one count more: names are keys everywhere, and are copied with every event.
        #[derive(Clone, Debug, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        // Most names that are compared are copies of one another.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(value: String) -> Result<Self, NameError> {
                let ok: fn(&str) -> bool = $check;
                if !ok(&value) {
                    return Err(NameError { kind: $kind, found: value, max: $max });
                }
                let text: fn(String) -> Arc<str> = $text;
                Ok(Self(text(value)))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(value: &str) -> Result<Self, NameError> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

static SITES: Shared = Shared::new();
static ITEMS: Shared = Shared::new();
static NAMESPACES: Shared = Shared::new();

name!(
    /// The name of a site, as its operator was installed with.
    SiteName, "site name", 63, |s| is_label(s, 63), |text| SITES.text(text)
);
name!(
    /// The name of one entry of a policy: a database, a workload or a traffic target.
    ItemName, "name", 63, |s| is_label(s, 63), |text| ITEMS.text(text)
);
name!(
    /// A Kubernetes namespace.
    Namespace, "namespace", 63, |s| is_label(s, 63), |text| NAMESPACES.text(text)
);
name!(
    /// A Kubernetes object's name.
    ObjectName, "object name", 253, is_subdomain, Into::into
);

/// Which policy: its namespace and name, the same in every site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyKey {
    /// The namespace it lives in.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
}

impl PolicyKey {
    /// The key of the policy `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, NameError> {
        Ok(Self { namespace: namespace.into().try_into()?, name: name.into().try_into()? })
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_lower_case_label() {
        for good in ["paris", "p", "dc-1", "0"] {
            assert!(SiteName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "Paris", "-a", "a-", "a.b", "ä", &"a".repeat(64)] {
            assert!(SiteName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_kept_once_as_long_as_there_are_not_too_many() {
        let few = Shared::new();
        let text = |n: usize| few.text(format!("name-{n}"));
        let first = text(0);
        assert!(Arc::ptr_eq(&first, &text(0)));
        for n in 1..Shared::MOST {
            text(n);
        }
        assert!(Arc::ptr_eq(&text(1), &text(1)));
        let another = text(Shared::MOST);
        assert_eq!(another, text(Shared::MOST));
        assert!(!Arc::ptr_eq(&another, &text(Shared::MOST)));
        assert!(Arc::ptr_eq(&first, &text(0)), "what is known stays");
    }

    #[test]
    fn a_wrong_name_says_what_was_found_and_what_is_allowed() {
        let e = SiteName::try_from("Paris").unwrap_err().to_string();
        assert!(e.contains("\"Paris\"") && e.contains("a-z"), "{e}");
    }

    #[test]
    fn an_object_s_name_is_labels_with_dots_between() {
        let long = [["a".repeat(63).as_str(); 3].join("."), "a".repeat(61)].join(".");
        for good in ["main", "main.shop", long.as_str()] {
            assert!(ObjectName::try_from(good).is_ok(), "{good}");
        }
        let longer = [["a".repeat(63).as_str(); 3].join("."), "a".repeat(62)].join(".");
        for bad in ["", ".", "main.", "main..shop", "Main", longer.as_str(), &"a".repeat(64)] {
            assert!(ObjectName::try_from(bad).is_err(), "{bad}");
        }
    }
}
