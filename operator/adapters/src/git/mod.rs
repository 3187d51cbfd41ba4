//! Reading policies from git: one sub-path of one commit, as bytes.
//!
//! libgit2 blocks, and a peer that sends one byte now and then defeats all its time limits. So each fetch runs in a
//! **child process**: this same program, started again as `bascule git-fetch`, with an empty environment, limits on
//! memory, processor and file sizes, and a deadline after which it is killed. The child writes the objects into a
//! bare repository that is kept as a cache, reads files from the tree by object id, and passes them back; nothing is
//! ever checked out, no file is named by what the repository says, and redirects, submodules and symbolic links are
//! refused.

mod branch;
mod child;
mod http;
mod local;
mod refs;
mod remote;
mod spawn;
mod tree;
mod url;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use self::branch::Proposal;
pub use self::child::child_main;
pub use self::local::{Commit, Local};
pub use self::spawn::Fetcher;

/// Which commit is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reference {
    /// The tip of a branch, as `main`.
    Branch(String),
    /// A tag, as `v1.2.3`.
    Tag(String),
    /// The highest tag that is a version in this range, as `>=1.2, <2`. A tag may carry a leading `v`.
    Semver(String),
    /// One commit by its full id. Once it is in the cache, the server is not asked any more.
    Commit(String),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Semver(range) => write!(f, "tag in {range}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// Who we are to the server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// A user and a password or access token, for https.
    #[serde(rename_all = "camelCase")]
    Password {
        /// The user.
        username: String,
        /// The password or access token.
        #[serde(serialize_with = "wire::expose")]
        password: SecretString,
    },
    /// A token sent as `Authorization: Bearer …`, for https.
    Bearer(#[serde(serialize_with = "wire::expose")] SecretString),
    /// A private key, for ssh. The user is the one in the URL, `git` if there is none.
    #[serde(rename_all = "camelCase")]
    Ssh {
        /// The private key, PEM or OpenSSH format.
        #[serde(serialize_with = "wire::expose")]
        identity: SecretString,
        /// Lines of a known_hosts file. The server's key must be among them.
        known_hosts: String,
    },
}

/// What a revision may not exceed. Beyond any of these the whole revision is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Files that are read.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Directories below the sub-path.
    pub depth: usize,
    /// Directory entries looked at, read or not: a small repository can describe an endless tree.
    pub entries: usize,
    /// Bytes that one fetch may download.
    pub download_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 1000,
            file_bytes: 1 << 20,
            total_bytes: 16 << 20,
            depth: 16,
            entries: 20_000,
            download_bytes: 256 << 20,
        }
    }
}

/// One fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `https://…`, `ssh://[user@]host[:port]/…` or `file:///…`. A password in it is refused.
    pub url: String,
    /// Which commit.
    pub reference: Reference,
    /// The directory to read, relative to the root; empty for all of it.
    pub path: String,
    /// Who we are.
    pub credentials: Credentials,
    /// Authorities trusted for https, PEM; none: those of the system.
    pub ca: Option<String>,
    /// What the revision may not exceed.
    pub limits: Limits,
    /// A directory for this source alone. It is made, reused, and emptied when it is damaged or belongs to another
    /// URL.
    pub cache: PathBuf,
    /// Answer [`Fetch::Unchanged`] when the reference still stands at this commit.
    pub unless: Option<String>,
    /// The commit accepted last; the answer says whether the new one descends from it.
    pub last_accepted: Option<String>,
    /// Fetch only so many commits of history; none: all of it. With it, descent may stay unknown. Not for `file`.
    pub history: Option<u32>,
    /// Allow `http://`. For tests: such a repository is whatever the network says it is.
    pub allow_http: bool,
}

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The reference stands where [`Request::unless`] says.
    Unchanged,
    /// A complete revision.
    Fetched(Revision),
}

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the repository's root, with `/`.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A revision, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The commit's id.
    pub commit: String,
    /// The id of the directory that was read: equal ids mean equal files, whatever else the commits change.
    pub tree: String,
    /// The reference's full name, as `refs/heads/main`; the commit's id when it was asked for by id.
    pub reference: String,
    /// Whether it descends from (or is) [`Request::last_accepted`]; none when none was given or it cannot be told.
    pub descends_from_last: Option<bool>,
    /// Who wrote the commit, as `name <address>`. Not verified: anybody can write any name.
    pub author: String,
    /// When it was committed by its own account, in seconds since 1970.
    pub committed_at: i64,
    /// The first line of its message, at most 200 characters.
    pub summary: String,
    /// Every `*.yaml` and `*.yml` below the sub-path, sorted by path. Files and directories whose name starts with a
    /// dot are not read.
    #[serde(skip)]
    pub files: Vec<File>,
}

/// Why there is no revision. No message contains a credential, nor the URL's user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "camelCase")]
pub enum GitError {
    /// The request cannot be carried out as written.
    #[error("{field}: {why}")]
    Request {
        /// The field of the request.
        field: String,
        /// What is wrong with it and what is expected.
        why: String,
    },
    /// The server does not accept the credentials, or wants some.
    #[error("{host} refused the credentials: {why}")]
    AuthFailed {
        /// The server.
        host: String,
        /// What it said, or what was missing.
        why: String,
    },
    /// The reference, or the sub-path in it, does not exist.
    #[error("{what} was not found{hint}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// What is there instead, or nothing.
        hint: String,
    },
    /// The ssh server's key is not the expected one.
    #[error("the host key of {host} is not in known_hosts: {why}")]
    HostKey {
        /// The server.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {why}")]
    Tls {
        /// The server.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// The server answered with a redirect; none is followed.
    #[error("{host} redirects to another address, which is not followed: write the final URL")]
    Redirected {
        /// The server.
        host: String,
    },
    /// A limit was exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The revision contains something that is never read.
    #[error("{path}: {why}")]
    Forbidden {
        /// Where.
        path: String,
        /// What it is.
        why: String,
    },
    /// It took too long. Nothing is known of the server but that.
    #[error("no complete answer from {host} within {} ms", after.as_millis())]
    Timeout {
        /// The server.
        host: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The server cannot be reached, or said something that is not git.
    #[error("cannot fetch from {host}: {why}")]
    Remote {
        /// The server.
        host: String,
        /// What happened.
        why: String,
    },
    /// The cache directory cannot be used.
    #[error("git cache {path}: {why}")]
    Cache {
        /// Which.
        path: String,
        /// What happened.
        why: String,
    },
    /// The child process did not do its work.
    #[error("the git-fetch process failed: {why}")]
    Child {
        /// How it ended.
        why: String,
    },
}
