//! Why there is no answer, for the person who asked: what was asked of whom, and what to do.

use std::time::Duration;

use bascule_adapters::kube::failure::chain;
use bascule_core::name::NameError;
use bascule_core::similar::nearest;

use super::place::Place;

/// How many names a message lists.
const LISTED: usize = 10;

/// How the words for a question end that is about all namespaces.
pub const EVERYWHERE: &str = "in all namespaces";
/// How the client library begins when it could not connect.
const CONNECT: &str = "ServiceError: client error (Connect)";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What was asked for is not a name.
    #[error("POLICY is NAME or NAMESPACE/NAME: {0}")]
    Name(NameError),
    /// What was asked for is a file.
    #[error(
        "POLICY is NAME or NAMESPACE/NAME, found the file {0}; `bascule why` asks a cluster: what a file would do there is answered by bascule simulate {0} --why TIME"
    )]
    File(String),
    /// Two namespaces were named.
    #[error("the policy was said to be in namespace {said} and, with -n, in {option}: name one of them")]
    TwoNamespaces {
        /// Before the name.
        said: String,
        /// As an option.
        option: String,
    },
    /// The kubeconfig cannot be used.
    #[error("{from} cannot be used: {why}; name a kubeconfig with --kubeconfig FILE or in KUBECONFIG")]
    Kubeconfig {
        /// Where it was looked for.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// No context is the current one.
    #[error("{from} has no current context; choose one with --context NAME{}", listed("it has", contexts))]
    NoContext {
        /// The kubeconfig.
        from: String,
        /// Its contexts.
        contexts: Vec<String>,
    },
    /// The context does not exist.
    #[error("{from} has no context {context}{}{}", meant(context, contexts), listed("it has", contexts))]
    UnknownContext {
        /// The kubeconfig.
        from: String,
        /// What was asked for.
        context: String,
        /// Its contexts.
        contexts: Vec<String>,
    },
    /// Bascule's definitions are not there.
    #[error(
        "{place}: this cluster knows no FailoverPolicy (bascule.dev/v1alpha1); install the definitions (kubectl apply --server-side -f crds/generated/), or choose the cluster of a site with --context"
    )]
    NotInstalled {
        /// Who was asked.
        place: Place,
    },
    /// The API server does not allow it.
    #[error(
        "{}: you may not {} {}: {reason}; ask for a role that allows it{}",
        asked.place, asked.verb, asked.what, asked.elsewhere()
    )]
    Forbidden {
        /// What was asked of whom.
        asked: Box<Asked>,
        /// The API server's words.
        reason: String,
    },
    /// The API server does not know who asks.
    #[error(
        "{place}: the credentials are not accepted: {reason}; log in again, or choose others with --context"
    )]
    Credentials {
        /// Who was asked.
        place: Place,
        /// What is wrong with them.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "{}: no answer when asked to {} {}: {reason}; is it the right address, and does that site live? What another site knows is asked with its own --context",
        asked.place, asked.verb, asked.what
    )]
    Unreachable {
        /// What was asked of whom.
        asked: Box<Asked>,
        /// What went wrong.
        reason: String,
    },
    /// The API server answered with something else.
    #[error("{}: asked to {} {}, it answered {code}: {reason}{}", asked.place, asked.verb, asked.what, later(*code))]
    Refused {
        /// What was asked of whom.
        asked: Box<Asked>,
        /// The HTTP status.
        code: u16,
        /// Its words.
        reason: String,
    },
    /// There is no such policy.
    #[error(
        "{place}: there is no FailoverPolicy {wanted}{}{}",
        meant(wanted, others),
        listed("there is", others)
    )]
    NoSuchPolicy {
        /// Who was asked.
        place: Place,
        /// What was asked for.
        wanted: String,
        /// What there is, as `namespace/name`.
        others: Vec<String>,
    },
    /// There is no such namespace.
    #[error("{place}: there is no namespace {namespace}; leave -n out to look in all of them")]
    NoSuchNamespace {
        /// Who was asked.
        place: Place,
        /// What was asked for.
        namespace: String,
    },
    /// The name alone does not tell which.
    #[error("{place}: {name} is the name of several policies; say which{}", listed("there is", found))]
    Several {
        /// Who was asked.
        place: Place,
        /// What was asked for.
        name: String,
        /// As `namespace/name`.
        found: Vec<String>,
    },
}

/// Not as its source: the reason is said once.
impl From<NameError> for Trouble {
    fn from(wrong: NameError) -> Self {
        Self::Name(wrong)
    }
}

/// What says that the API server is starting, busy, or without its store, and may answer in a moment.
fn later(code: u16) -> &'static str {
    if code == 429 || code >= 500 { "; ask again in a moment" } else { "" }
}

fn listed(what: &str, names: &[String]) -> String {
    match names {
        [] => "; there is none at all".to_owned(),
        names => {
            let first: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
            let more = names.len().checked_sub(LISTED).filter(|n| *n > 0);
            let more = more.map(|n| format!(" and {n} more")).unwrap_or_default();
            format!("; {what} {}{more}", first.join(", "))
        }
    }
}

/// A guess at the name that was meant, by the last part of each.
fn meant(wanted: &str, names: &[String]) -> String {
    let last = |name: &str| name.rsplit('/').next().map(ToOwned::to_owned).unwrap_or_default();
    let wanted = last(wanted);
    let lasts: Vec<String> = names.iter().map(|n| last(n)).collect();
    let found = nearest(&wanted, lasts.iter().map(String::as_str));
    let full = found.and_then(|near| names.iter().find(|name| last(name) == near));
    full.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// What was asked for, to say so when it fails.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whom.
    pub place: Place,
    /// The verb.
    pub verb: &'static str,
    /// The resource, and where.
    pub what: String,
}

impl Asked {
    /// No answer came in time.
    pub fn silence(&self, deadline: Duration) -> Trouble {
        self.unreachable(format!("nothing came within {} s", deadline.as_secs()))
    }

    fn unreachable(&self, reason: String) -> Trouble {
        Trouble::Unreachable { asked: Box::new(self.clone()), reason }
    }

    /// What else can be asked by somebody with fewer rights.
    fn elsewhere(&self) -> &'static str {
        if self.what.ends_with(EVERYWHERE) { ", or name a namespace that you may read with -n" } else { "" }
    }

    /// What the call's error means.
    pub fn failed(&self, error: &kube::Error) -> Trouble {
        let (place, asked) = (self.place.clone(), Box::new(self.clone()));
        match error {
            kube::Error::Api(status) => match (status.code, status.message.clone()) {
                (401, reason) => Trouble::Credentials { place, reason },
                (403, reason) => Trouble::Forbidden { asked, reason },
                // A missing object is told by its caller, who knows what else there is.
                (404, _) => Trouble::NotInstalled { place },
                (code, reason) => Trouble::Refused { asked, code, reason },
            },
            kube::Error::Auth(why) => Trouble::Credentials { place, reason: chain(why) },
            // What the client library calls it helps nobody.
            other => self.unreachable(chain(other).replacen(CONNECT, "no connection", 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let names: Vec<String> = (0..12).map(|n| format!("ns/p{n}")).collect();
        assert_eq!(listed("there is", &names[..2]), "; there is ns/p0, ns/p1");
        assert!(listed("there is", &names).ends_with("ns/p9 and 2 more"), "{}", listed("there is", &names));
        assert_eq!(listed("there is", &[]), "; there is none at all");
    }

    #[test]
    fn a_guess_is_by_the_name_and_not_by_the_namespace() {
        let names = ["shop/shop".to_owned(), "blog/blog".to_owned()];
        assert_eq!(meant("shpo", &names), "; did you mean shop/shop?");
        assert_eq!(meant("shop/blgo", &names), "; did you mean blog/blog?");
        assert_eq!(meant("mail", &names), "");
    }
}
