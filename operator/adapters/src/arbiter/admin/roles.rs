//! Which users the arbiter has, and what each may touch.
//!
//! | user | may read | may write |
//! |---|---|---|
//! | `root` | everything, and change users and members | the same |
//! | `maintenance-<member>` | everything | everything: etcd lets only holders of the role `root` back up and defragment |
//! | `operator-<site>` | all of Bascule's keys | its site's name and lease, and which replica of it acts; every policy's record and facts |
//! | `guard-<site>` | all of Bascule's keys | its site's lease |
//!
//! Records are shared: whoever may take a role must be able to write the record, and compare-and-swap decides between two.
//! Facts carry the site's name at the end of their key, and etcd gives rights to ranges only, which cannot say "every key
//! that ends with my name"; they are information and never authority.

use std::fmt;

use bascule_core::name::SiteName;
use etcd_client::{Permission, PermissionType};

use super::super::key;

/// The user that may do everything, and the role that lets it.
pub const ROOT: &str = "root";

/// The user of a site's operator.
pub fn operator_user(site: &SiteName) -> String {
    format!("operator-{site}")
}

/// The user of a site's guards.
pub fn guard_user(site: &SiteName) -> String {
    format!("guard-{site}")
}

/// The user that backs up and defragments the member of a place.
pub fn maintenance_user(member: &str) -> String {
    format!("maintenance-{member}")
}

/// What a right lets its holder do with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Read them.
    Read,
    /// Write them.
    Write,
    /// Both.
    ReadWrite,
}

/// One right: a deed, on one key or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// What may be done.
    pub deed: Deed,
    /// The key, or the first one.
    pub key: Vec<u8>,
    /// The first key that is no more in the range; empty: `key` alone.
    pub end: Vec<u8>,
}

impl Right {
    fn one(deed: Deed, key: String) -> Self {
        Self { deed, key: key.into_bytes(), end: Vec::new() }
    }

    fn prefix(deed: Deed, key: &str) -> Self {
        Self { deed, key: key.as_bytes().to_vec(), end: after(key.as_bytes()) }
    }

    /// What etcd calls it.
    pub(super) fn permission(&self) -> Permission {
        let kind = match self.deed {
            Deed::Read => PermissionType::Read,
            Deed::Write => PermissionType::Write,
            Deed::ReadWrite => PermissionType::Readwrite,
        };
        Permission::new(kind, self.key.clone()).with_range_end(self.end.clone())
    }

    /// What etcd told.
    pub(super) fn of(permission: &Permission) -> Self {
        let deed = match PermissionType::try_from(permission.get_type()) {
            Ok(PermissionType::Read) => Deed::Read,
            Ok(PermissionType::Write) => Deed::Write,
            // One that is not known is taken for the widest, so that it is not left where it does not belong.
            Ok(PermissionType::Readwrite) | Err(_) => Deed::ReadWrite,
        };
        Self { deed, key: permission.key().to_vec(), end: permission.range_end().to_vec() }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deed = match self.deed {
            Deed::Read => "read",
            Deed::Write => "write",
            Deed::ReadWrite => "read and write",
        };
        let key = String::from_utf8_lossy(&self.key);
        if self.end.is_empty() {
            write!(f, "{deed} {key}")
        } else if self.end == after(&self.key) {
            write!(f, "{deed} {key}*")
        } else if self.end == [0] {
            write!(f, "{deed} {key} and everything after it")
        } else {
            write!(f, "{deed} {key} to {}", String::from_utf8_lossy(&self.end))
        }
    }
}

/// The first key after everything that begins with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing follows: etcd writes it so.
    vec![0]
}

/// A role with what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, which is also that of the one user who has it.
    pub name: String,
    /// What it gives.
    pub rights: Vec<Right>,
}

impl Role {
    /// The role of a site's operator.
    pub fn operator(site: &SiteName) -> Self {
        Self {
            name: operator_user(site),
            rights: vec![
                Right::prefix(Deed::Read, key::PREFIX),
                Right::one(Deed::ReadWrite, key::site(site)),
                Right::one(Deed::ReadWrite, key::lease(site)),
                Right::one(Deed::ReadWrite, key::acting(site)),
                Right::prefix(Deed::ReadWrite, key::RECORDS),
                Right::prefix(Deed::ReadWrite, key::FACTS),
            ],
        }
    }

    /// The role of a site's guards.
    pub fn guard(site: &SiteName) -> Self {
        Self {
            name: guard_user(site),
            rights: vec![
                Right::prefix(Deed::Read, key::PREFIX),
                Right::one(Deed::ReadWrite, key::lease(site)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_writes_no_other_sites_name_or_lease() {
        let (paris, lyon) = (SiteName::try_from("paris").unwrap(), SiteName::try_from("lyon").unwrap());
        for role in [Role::operator(&paris), Role::guard(&paris)] {
            for right in role.rights.iter().filter(|r| r.deed != Deed::Read) {
                for key in [key::lease(&lyon), key::site(&lyon), key::acting(&lyon)].map(String::into_bytes) {
                    let covers = if right.end.is_empty() {
                        right.key == key
                    } else {
                        right.key <= key && key < right.end
                    };
                    assert!(!covers, "{}: {right}", role.name);
                }
            }
        }
    }

    #[test]
    fn a_right_is_told_in_words_and_is_the_same_after_etcd_had_it() {
        let paris = SiteName::try_from("paris").unwrap();
        let rights = Role::guard(&paris).rights;
        let told: Vec<String> = rights.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["read /bascule/v1/*", "read and write /bascule/v1/lease/paris"]);
        for right in rights {
            assert_eq!(Right::of(&right.permission()), right);
        }
        assert_eq!(after(b"a\xff"), b"b");
        assert_eq!(after(b"\xff"), [0]);
    }
}
