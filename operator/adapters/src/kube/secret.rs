//! Named Secrets of a policy's namespace. Their values are never logged, and no error repeats one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::client::Kube;
use super::failure::{Failure, Subject};

/// The status by which the API server puts a call off without looking at it.
const TOO_MANY_REQUESTS: u16 = 429;

/// Why a Secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("Secret {namespace}/{name} does not exist; create it with {}", keys_wanted(keys))]
    Missing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The keys that are wanted.
        keys: Vec<String>,
    },
    /// It is there, but a key is not.
    #[error("Secret {namespace}/{name} has no key {key:?}; it has {}", keys_found(found))]
    KeyMissing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that is wanted.
        key: String,
        /// The keys that it has.
        found: Vec<String>,
    },
    /// The key is there, with nothing in it.
    #[error("Secret {namespace}/{name}: the key {key:?} is empty; put a value there")]
    Empty {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The value should be text and is not.
    #[error(
        "Secret {namespace}/{name}: the value of {key:?} is not UTF-8 text; store it without another encoding"
    )]
    NotText {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server refused, or could not be asked.
    #[error(transparent)]
    Call(#[from] Box<Failure>),
}

impl SecretError {
    /// Whether nobody has said what is wrong: the API server could not be asked, or has to be asked again.
    pub fn is_unknown(&self) -> bool {
        let Self::Call(failure) = self else { return false };
        match **failure {
            Failure::Refused { code, .. } => code == TOO_MANY_REQUESTS,
            _ => true,
        }
    }
}

fn keys_wanted(keys: &[String]) -> String {
    match keys {
        [] => "the keys that the policy's documentation names".to_owned(),
        keys => format!("the keys {}", keys.join(", ")),
    }
}

fn keys_found(keys: &[String]) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

/// The values of one Secret. Dropping it wipes them.
#[derive(Debug)]
pub struct SecretValues {
    namespace: String,
    name: String,
    /// The object's resource version: it changes whenever the Secret does.
    pub version: String,
    values: BTreeMap<String, SecretSlice<u8>>,
}

impl SecretValues {
    /// The value of a key as bytes; the key must be there and not empty.
    pub fn bytes(&self, key: &str) -> Result<&SecretSlice<u8>, SecretError> {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        let value = self.values.get(key).ok_or_else(|| SecretError::KeyMissing {
            namespace: namespace.clone(),
            name: name.clone(),
            key: key.to_owned(),
            found: self.values.keys().cloned().collect(),
        })?;
        if value.expose_secret().is_empty() {
            return Err(SecretError::Empty { namespace, name, key: key.to_owned() });
        }
        Ok(value)
    }

    /// The value of a key as text, without the line end that `echo` leaves behind it.
    pub fn text(&self, key: &str) -> Result<SecretString, SecretError> {
        let value = self.bytes(key)?;
        let text = std::str::from_utf8(value.expose_secret()).map_err(|_| SecretError::NotText {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            key: key.to_owned(),
        })?;
        Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
    }

    /// The names of its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

/// Reads a Secret and makes sure that the keys in `required` are there and not empty.
pub async fn read(
    kube: &Kube,
    namespace: &str,
    name: &str,
    required: &[&str],
) -> Result<SecretValues, SecretError> {
    let subject = Subject::new("Secret", namespace, name);
    let found = match kube.call(&subject, kube.api::<Secret>(namespace).get(name)).await {
        Ok(found) => found,
        Err(Failure::Missing { .. }) => {
            return Err(SecretError::Missing {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                keys: required.iter().map(|&key| key.to_owned()).collect(),
            });
        }
        Err(failure) => return Err(Box::new(failure).into()),
    };
    let values = SecretValues {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        version: found.metadata.resource_version.unwrap_or_default(),
        values: found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0.into())).collect(),
    };
    for key in required {
        values.bytes(key)?;
    }
    Ok(values)
}
