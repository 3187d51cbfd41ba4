//! Makes users and roles what they must be, and turns authentication on. Doing it again changes nothing.

use bascule_core::name::SiteName;
use etcd_client::UserAddOptions;

use super::roles::{ROOT, Right, Role, maintenance_user};
use super::{Administration, AdministrationError};

/// One thing that was looked at, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What it is.
    pub what: String,
    /// Whether something was changed.
    pub changed: bool,
}

/// What exists, so that only what is missing is made.
struct There {
    users: Vec<String>,
    roles: Vec<String>,
}

impl Administration {
    /// Users, roles and authentication for these sites, and the users that maintain these members. A user or a role that
    /// is not asked for is left alone; a right that a role of Bascule's should not have is taken away.
    pub async fn set_up(
        &self,
        sites: &[SiteName],
        members: &[String],
    ) -> Result<Vec<Done>, AdministrationError> {
        let users = self.call("asking for users", |mut c| async move { c.user_list().await }).await?;
        let roles = self.call("asking for roles", |mut c| async move { c.role_list().await }).await?;
        let there = There { users: users.users().to_vec(), roles: roles.roles().to_vec() };
        let mut done = vec![self.user(&there, ROOT, ROOT).await?];
        for member in members {
            done.push(self.user(&there, &maintenance_user(member), ROOT).await?);
        }
        for site in sites {
            for role in [Role::operator(site), Role::guard(site)] {
                done.extend(self.role(&there, &role).await?);
                done.push(self.user(&there, &role.name, &role.name).await?);
            }
        }
        // Once it is on this is ignored; before, nobody is refused anything.
        self.call("turning authentication on", |mut c| async move { c.auth_enable().await }).await?;
        done.push(Done { what: "authentication is on".to_owned(), changed: false });
        Ok(done)
    }

    /// A user without a password, known by its certificate alone, with one role.
    async fn user(&self, there: &There, user: &str, role: &str) -> Result<Done, AdministrationError> {
        let mut changed = false;
        let roles = if there.users.iter().any(|u| u == user) {
            let what = format!("asking about the user {user}");
            self.call(&what, |mut c| async move { c.user_get(user).await }).await?.roles().to_vec()
        } else {
            let what = format!("adding the user {user}");
            let options = Some(UserAddOptions::new().with_no_pwd());
            self.call(&what, |mut c| async move { c.user_add(user, "", options).await }).await?;
            changed = true;
            Vec::new()
        };
        // `root` has the right to everything by its role, which etcd makes by itself when the first user gets it.
        if !roles.iter().any(|r| r == role) {
            let what = format!("giving the user {user} the role {role}");
            self.call(&what, |mut c| async move { c.user_grant_role(user, role).await }).await?;
            changed = true;
        }
        for other in roles.iter().filter(|r| *r != role) {
            let what = format!("taking the role {other} from the user {user}");
            self.call(&what, |mut c| async move { c.user_revoke_role(user, other.as_str()).await }).await?;
            changed = true;
        }
        Ok(Done { what: format!("user {user} with the role {role}"), changed })
    }

    async fn role(&self, there: &There, role: &Role) -> Result<Vec<Done>, AdministrationError> {
        let name = role.name.as_str();
        let mut done = Vec::new();
        let has: Vec<Right> = if there.roles.iter().any(|r| r == name) {
            let what = format!("asking about the role {name}");
            let answer = self.call(&what, |mut c| async move { c.role_get(name).await }).await?;
            answer.permissions().iter().map(Right::of).collect()
        } else {
            let what = format!("adding the role {name}");
            self.call(&what, |mut c| async move { c.role_add(name).await }).await?;
            Vec::new()
        };
        for right in has.iter().filter(|r| !role.rights.contains(r)) {
            // One on the same keys is replaced below.
            if role.rights.iter().any(|r| r.key == right.key && r.end == right.end) {
                continue;
            }
            let what = format!("role {name}: taking away: {right}");
            let options =
                Some(etcd_client::RoleRevokePermissionOptions::new().with_range_end(right.end.clone()));
            let key = right.key.clone();
            self.call(&what, |mut c| async move { c.role_revoke_permission(name, key, options).await })
                .await?;
            done.push(Done { what: format!("role {name} does not {right} any more"), changed: true });
        }
        for right in &role.rights {
            let changed = !has.contains(right);
            if changed {
                let what = format!("role {name}: giving: {right}");
                let permission = right.permission();
                self.call(&what, |mut c| async move { c.role_grant_permission(name, permission).await })
                    .await?;
            }
            done.push(Done { what: format!("role {name} may {right}"), changed });
        }
        Ok(done)
    }
}
