//! Exim, as Debian has it, on a free port of the loopback: it takes mail over TLS from whoever knows the password, knows
//! everybody but `nobody`, and delivers into one file.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The user that the server knows.
pub const USER: &str = "bascule";
/// That user's password.
pub const PASSWORD: &str = "open sesame";

const PROGRAM: &str = "/usr/sbin/exim4";

/// A running server: one process for each connection, as inetd would start it.
pub struct MailServer {
    folder: TempDir,
    address: SocketAddr,
    /// The certificate that it shows, which is its own authority.
    pub certificate: String,
}

impl MailServer {
    pub fn start() -> Self {
        assert!(Path::new(PROGRAM).is_file(), "{PROGRAM} is missing: apt-get install exim4-daemon-light");
        assert!(is_root(), "exim reads a configuration of ours as root only: run this test as root");
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o755);
        for name in ["spool", "log", "mail"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            open(&path, 0o777);
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        for (name, text) in [("tls.crt", &certificate), ("tls.key", &made.signing_key.serialize_pem())] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            open(&path, 0o644);
        }
        let configuration = folder.path().join("configuration");
        fs::write(&configuration, settings(&folder.path().display().to_string())).unwrap();
        open(&configuration, 0o644);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            // Ends with the test's process.
            while let Ok((connection, _)) = listener.accept() {
                let connection = OwnedFd::from(connection);
                let started = Command::new(PROGRAM)
                    .arg("-C")
                    .arg(&configuration)
                    .arg("-bs")
                    .stdin(connection.try_clone().unwrap())
                    .stdout(connection)
                    .stderr(Stdio::null())
                    .spawn();
                let mut child = started.unwrap();
                std::thread::spawn(move || child.wait());
            }
        });
        Self { folder, address, certificate }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All that was delivered, once it holds `words`.
    pub fn mail(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mail = fs::read_to_string(self.folder.path().join("mail/all")).unwrap_or_default();
            if mail.contains(words) {
                return mail;
            }
            let log = || fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default();
            assert!(Instant::now() < until, "{words} is not in the mail:\n{mail}\nlog:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn settings(folder: &str) -> String {
    format!(
        "primary_hostname = mail.example.org\n\
         spool_directory = {folder}/spool\n\
         log_file_path = {folder}/log/%slog\n\
         tls_advertise_hosts = *\n\
         tls_certificate = {folder}/tls.crt\n\
         tls_privatekey = {folder}/tls.key\n\
         auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\n\
         keep_environment =\n\
         acl_smtp_rcpt = rcpt\n\
         deliver_drop_privilege = true\n\
         begin acl\n\
         rcpt:\n  deny local_parts = nobody\n       message = no such person here\n  \
         accept authenticated = *\n  deny message = who are you\n\
         begin routers\n\
         all:\n  driver = accept\n  transport = file\n\
         begin transports\n\
         file:\n  driver = appendfile\n  file = {folder}/mail/all\n  envelope_to_add = true\n\
         begin authenticators\n\
         plain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n  \
         server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}\n  \
         server_set_id = $auth2\n"
    )
}
