//! Fetching over ssh from Debian's own sshd: whose key is trusted, and whose is not.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bascule_adapters::git::{Credentials, Fetch, GitError, Request};
use tempfile::TempDir;

use super::repository::Repository;
use super::{fetch, fetched, paths, request};

/// How long sshd may take to say something.
const SAYS: Duration = Duration::from_secs(30);

/// An sshd on the loopback address that lets one key in, as the user that runs this test.
struct Sshd {
    port: u16,
    user: String,
    dir: TempDir,
    log: Receiver<String>,
    child: Child,
}

impl Sshd {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["host", "user"] {
            make_key(&dir.path().join(name));
        }
        std::fs::copy(dir.path().join("user.pub"), dir.path().join("authorized_keys")).unwrap();
        if rustix::process::geteuid().is_root() {
            // Where sshd separates privileges; its own service makes it, too.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let d = dir.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {d}/host\nPidFile none\nLogLevel VERBOSE\n\
             AuthorizedKeysFile {d}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("sshd of the package openssh-server is needed for this test: {e}"));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, log) = channel();
        // The log is read to its end, so that the server never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().to_owned();
        // From here on the server ends with the value, also when the test fails below.
        let sshd = Self { port, user, dir, log, child };
        sshd.says("Server listening");
        sshd
    }

    /// Waits until the server has logged this; answers what it has logged since the last such wait.
    fn says(&self, words: &str) -> String {
        let (mut said, deadline) = (String::new(), Instant::now() + SAYS);
        while !said.lines().last().is_some_and(|line| line.contains(words)) {
            let line = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let Ok(line) = line else { panic!("sshd does not say {words:?}:\n{said}") };
            said.push_str(&line);
            said.push('\n');
        }
        said
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The line of known_hosts for the key in a file, as this server's.
    fn known_by(&self, public: &str) -> String {
        format!("[127.0.0.1]:{} {public}", self.port)
    }

    /// What a person with the right Secret asks.
    fn request(&self, repo: &Repository, cache: &TempDir) -> Request {
        let path = repo.root().join("origin.git");
        let credentials = self.credentials(&self.file("user"), &self.known_by(&self.file("host.pub")));
        let url = format!("ssh://{}@{}{}", self.user, self.address(), path.display());
        Request { credentials, ..request(url, cache) }
    }

    #[allow(clippy::unused_self, reason = "reads as what this server is shown")]
    fn credentials(&self, identity: &str, known_hosts: &str) -> Credentials {
        Credentials::Ssh { identity: identity.into(), known_hosts: known_hosts.to_owned() }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes `path` and `path.pub`.
fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success(), "ssh-keygen makes {}", path.display());
}

/// A key that the server does not know: the file, `.pub` beside it.
fn another_key(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("another");
    make_key(&path);
    path
}

#[tokio::test]
async fn over_ssh_the_right_key_reads_from_the_server_that_is_known() {
    let (sshd, cache) = (Sshd::start(), TempDir::new().unwrap());
    let repo = Repository::with(&[("sites/shop.yaml", "a")]);
    let asked = sshd.request(&repo, &cache);
    let revision = fetched(&asked).await;
    assert_eq!(paths(&revision), ["sites/shop.yaml"]);
    assert_eq!(revision.commit, repo.git(&["rev-parse", "HEAD"]));
    let again = Request { unless: Some(revision.commit.clone()), ..asked };
    assert_eq!(fetch(&again).await.unwrap(), Fetch::Unchanged);
    let next = repo.commit(&[("sites/shop.yaml", "b")]);
    let again = Request { last_accepted: Some(revision.commit), ..again };
    let revision = fetched(&again).await;
    assert_eq!((revision.commit, revision.descends_from_last), (next, Some(true)));
    sshd.says("Accepted publickey");
}

#[tokio::test]
async fn over_ssh_a_server_whose_key_is_not_known_is_refused_before_any_key_is_shown() {
    let (sshd, cache) = (Sshd::start(), TempDir::new().unwrap());
    let repo = Repository::with(&[("shop.yaml", "a")]);
    let right = sshd.request(&repo, &cache);
    let other = std::fs::read_to_string(another_key(&cache).with_extension("pub")).unwrap();
    let elsewhere = format!("git.example.org {}", sshd.file("host.pub"));
    for known_hosts in [sshd.known_by(&other), elsewhere] {
        let asked =
            Request { credentials: sshd.credentials(&sshd.file("user"), &known_hosts), ..right.clone() };
        let error = fetch(&asked).await.unwrap_err();
        assert!(matches!(&error, GitError::HostKey { host, .. } if *host == sshd.address()), "{error:?}");
    }
    // Known by its own key, the same server lets the same Secret in: nothing else was wrong, and nothing was shown to it
    // before.
    fetched(&right).await;
    let log = sshd.says("Accepted publickey");
    let visits: Vec<&str> = log.split("Connection from ").skip(1).collect();
    let shown: Vec<bool> = visits.iter().map(|visit| visit.contains("publickey")).collect();
    assert_eq!(shown, [false, false, true], "{log}");
}

#[tokio::test]
async fn over_ssh_a_key_that_the_server_does_not_let_in_is_named() {
    let (sshd, cache) = (Sshd::start(), TempDir::new().unwrap());
    let repo = Repository::with(&[("shop.yaml", "a")]);
    let right = sshd.request(&repo, &cache);
    let known = sshd.known_by(&sshd.file("host.pub"));
    let other = std::fs::read_to_string(another_key(&cache)).unwrap();
    for (identity, why) in [(other.as_str(), ""), ("staple", "private key")] {
        let asked = Request { credentials: sshd.credentials(identity, &known), ..right.clone() };
        let error = fetch(&asked).await.unwrap_err();
        let told = error.to_string();
        assert!(matches!(&error, GitError::AuthFailed { host, .. } if *host == sshd.address()), "{error:?}");
        assert!(told.contains(why) && !told.contains(identity), "{told}");
    }
    fetched(&right).await;
}
