//! Fetching from real repositories, over files, https and ssh, through the real child process.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests are tests to us, not to the lint.

mod hostile;
mod repository;
mod server;
mod ssh;

use std::time::{Duration, Instant};

use bascule_adapters::git::{Credentials, Fetch, Fetcher, GitError, Limits, Reference, Request, Revision};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::repository::Repository;
use self::server::{Answer, Server, bad_server};

/// Far above what any fetch here needs.
const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_bascule-git-fetch");

fn request(url: impl Into<String>, cache: &TempDir) -> Request {
    Request {
        url: url.into(),
        reference: Reference::Branch("main".to_owned()),
        path: String::new(),
        credentials: Credentials::None,
        ca: None,
        limits: Limits::default(),
        cache: cache.path().join("cache"),
        unless: None,
        last_accepted: None,
        history: None,
        allow_http: false,
    }
}

async fn fetch(request: &Request) -> Result<Fetch, GitError> {
    Fetcher::with_program(PROGRAM, Vec::new()).fetch(request, DEADLINE).await
}

async fn fetched(request: &Request) -> Revision {
    match fetch(request).await {
        Ok(Fetch::Fetched(revision)) => revision,
        other => panic!("{other:?}"),
    }
}

fn paths(revision: &Revision) -> Vec<&str> {
    revision.files.iter().map(|f| f.path.as_str()).collect()
}

#[tokio::test]
async fn a_revision_is_every_yaml_file_below_the_sub_path_and_nothing_else() {
    let repo = Repository::with(&[
        ("sites/b/shop.yaml", "b"),
        ("sites/a.yml", "a: é"),
        ("sites/README.md", "no"),
        ("sites/.hidden.yaml", "no"),
        ("sites/.github/ci.yaml", "no"),
        ("other/x.yaml", "no"),
        ("sites-2/x.yaml", "no"),
    ]);
    let cache = TempDir::new().unwrap();
    let first = Request { path: "sites".to_owned(), ..request(repo.url(), &cache) };
    let revision = fetched(&first).await;
    assert_eq!(paths(&revision), ["sites/a.yml", "sites/b/shop.yaml"]);
    assert_eq!(revision.files[0].bytes, "a: é".as_bytes());
    assert_eq!(revision.commit, repo.git(&["rev-parse", "HEAD"]));
    assert_eq!(revision.tree, repo.git(&["rev-parse", "HEAD:sites"]));
    assert_eq!(revision.reference, "refs/heads/main");
    assert_eq!(revision.author, "Ada <ada@example.org>");
    assert_eq!(revision.summary, "change the shop");
    assert_eq!(revision.descends_from_last, None);

    let again = Request { unless: Some(revision.commit.clone()), ..first.clone() };
    assert_eq!(fetch(&again).await.unwrap(), Fetch::Unchanged);

    let next = repo.commit(&[("sites/c.yaml", "c"), ("sites/a.yml", "a2")]);
    let again = Request { last_accepted: Some(revision.commit.clone()), ..again };
    let revision = fetched(&again).await;
    assert_eq!(revision.commit, next);
    assert_eq!(paths(&revision), ["sites/a.yml", "sites/b/shop.yaml", "sites/c.yaml"]);
    assert_eq!(revision.descends_from_last, Some(true));
}

#[tokio::test]
async fn rewritten_history_is_reported_as_a_fact() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let cache = TempDir::new().unwrap();
    let base = fetched(&request(repo.url(), &cache)).await.commit;
    let accepted = repo.commit(&[("a.yaml", "2")]);
    fetched(&request(repo.url(), &cache)).await;
    repo.git(&["reset", "-q", "--hard", &base]);
    repo.commit(&[("a.yaml", "3")]);
    let asked = Request { last_accepted: Some(accepted), ..request(repo.url(), &cache) };
    assert_eq!(fetched(&asked).await.descends_from_last, Some(false));
    let fresh = TempDir::new().unwrap();
    let asked = Request { cache: fresh.path().join("cache"), ..asked };
    assert_eq!(fetched(&asked).await.descends_from_last, Some(false), "with an empty cache too");
}

type Case<'a> = (&'a str, &'a dyn Fn(&Repository), Limits, &'a str);

#[tokio::test]
async fn a_revision_is_refused_whole_for_what_is_never_read() {
    let long = "x".repeat(2000);
    let limits = Limits::default;
    let cases: &[Case<'_>] = &[
        (
            "a symbolic link to a file of the machine",
            &|r| std::os::unix::fs::symlink("/etc/passwd", r.work().join("sites/x.yaml")).unwrap(),
            limits(),
            "sites/x.yaml: is a symbolic link",
        ),
        (
            "a symbolic link to a directory",
            &|r| std::os::unix::fs::symlink("..", r.work().join("sites/up")).unwrap(),
            limits(),
            "sites/up: is a symbolic link",
        ),
        (
            "a submodule",
            &|r| {
                let inner = r.work().join("sites/inner");
                std::fs::create_dir(&inner).unwrap();
                r.git(&["init", "-q", "sites/inner"]);
                r.git(&["-C", "sites/inner", "commit", "-q", "--allow-empty", "-m", "x"]);
            },
            limits(),
            "sites/inner: is a submodule",
        ),
        (
            "a huge file",
            &|r| std::fs::write(r.work().join("sites/big.yaml"), &long).unwrap(),
            Limits { file_bytes: 1999, ..limits() },
            "sites/big.yaml (2000 bytes) exceeds the limit of 1999 bytes",
        ),
        (
            "too much together",
            &|r| std::fs::write(r.work().join("sites/big.yaml"), &long).unwrap(),
            Limits { total_bytes: 2000, ..limits() },
            "all files together exceeds the limit of 2000 bytes",
        ),
        (
            "too many files",
            &|r| {
                for i in 0..10 {
                    std::fs::write(r.work().join(format!("sites/{i}.yaml")), "").unwrap();
                }
            },
            Limits { files: 10, ..limits() },
            "the number of YAML files exceeds the limit of 10",
        ),
        (
            "too many entries",
            &|r| {
                for i in 0..10 {
                    std::fs::write(r.work().join(format!("sites/{i}.txt")), "").unwrap();
                }
            },
            Limits { entries: 10, ..limits() },
            "the number of files and directories exceeds the limit of 10",
        ),
        (
            "too deep",
            &|r| {
                std::fs::create_dir_all(r.work().join("sites/1/2/3")).unwrap();
                std::fs::write(r.work().join("sites/1/2/3/x.yaml"), "").unwrap();
            },
            Limits { depth: 2, ..limits() },
            "the depth of sites/1/2/3 exceeds the limit of 2 directories",
        ),
        (
            "a name with a line break",
            &|r| std::fs::write(r.work().join("sites/a\nb.yaml"), "").unwrap(),
            limits(),
            "sites/a\\nb.yaml: is not a usable name",
        ),
    ];
    for (what, make, limits, expected) in cases {
        let repo = Repository::with(&[("sites/shop.yaml", "shop")]);
        make(&repo);
        repo.commit(&[]);
        let cache = TempDir::new().unwrap();
        let asked =
            Request { path: "sites".to_owned(), limits: limits.clone(), ..request(repo.url(), &cache) };
        let error = fetch(&asked).await.unwrap_err();
        assert!(matches!(error, GitError::Forbidden { .. } | GitError::TooLarge { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_sub_path_through_a_symbolic_link_or_to_nothing_is_refused() {
    let repo = Repository::with(&[("sites/shop.yaml", "shop"), ("file", "x")]);
    std::os::unix::fs::symlink("sites", repo.work().join("link")).unwrap();
    repo.commit(&[]);
    let cache = TempDir::new().unwrap();
    for (path, expected) in [
        ("link", "link: is a symbolic link"),
        ("sites/none", "path sites/none was not found"),
        ("file", "path file was not found; there is a file of that name"),
        ("../x", "path: \"../x\" is not a path below"),
    ] {
        let asked = Request { path: path.to_owned(), ..request(repo.url(), &cache) };
        let error = fetch(&asked).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[tokio::test]
async fn tags_version_ranges_and_commits_are_found() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    repo.git(&["tag", "-a", "-m", "x", "v1.0.0"]);
    let first = repo.git(&["rev-parse", "HEAD"]);
    let second = repo.commit(&[("a.yaml", "2")]);
    repo.git(&["tag", "1.5.0"]);
    repo.commit(&[("a.yaml", "3")]);
    repo.git(&["tag", "v2.0.0"]);
    repo.git(&["push", "-q", "origin", "--tags"]);
    let cache = TempDir::new().unwrap();
    for (reference, commit, name) in [
        (Reference::Tag("v1.0.0".into()), &first, "refs/tags/v1.0.0"),
        (Reference::Semver(">=1.0, <2".into()), &second, "refs/tags/1.5.0"),
        (Reference::Commit(first.clone()), &first, first.as_str()),
    ] {
        let asked = Request { reference: reference.clone(), ..request(repo.url(), &cache) };
        let revision = fetched(&asked).await;
        assert_eq!((&revision.commit, revision.reference.as_str()), (commit, name), "{reference}");
        let again = Request { unless: Some(commit.clone()), ..asked };
        assert_eq!(fetch(&again).await.unwrap(), Fetch::Unchanged, "{reference}");
    }
    for (reference, expected) in [
        (Reference::Branch("prod".into()), "branch prod was not found; there is for example main"),
        (Reference::Semver(">=3".into()), "tag in >=3 was not found; there is for example 1.5.0, v1.0.0"),
        (Reference::Commit("1".repeat(40)), "was not found on any branch or tag"),
        (Reference::Commit(repo.git(&["rev-parse", "HEAD^{tree}"])), "is not a commit"),
    ] {
        let fresh = TempDir::new().unwrap();
        let asked = Request { reference, ..request(repo.url(), &fresh) };
        let error = fetch(&asked).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_cache_is_made_anew_and_another_source_never_sees_it() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let cache = TempDir::new().unwrap();
    let asked = request(repo.url(), &cache);
    let only_here = fetched(&asked).await.commit;
    let objects = asked.cache.join("repository/objects");
    let damage: [&dyn Fn(); 3] = [
        &|| {
            for pack in std::fs::read_dir(objects.join("pack")).unwrap() {
                let path = pack.unwrap().path();
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "rubbish").unwrap();
            }
        },
        &|| std::fs::write(asked.cache.join("repository/HEAD"), "").unwrap(),
        &|| std::fs::write(asked.cache.join("repository/refs/bascule/tip.lock"), "").unwrap(),
    ];
    for (i, damage) in damage.iter().enumerate() {
        damage();
        assert_eq!(fetched(&asked).await.files[0].bytes, b"1", "damage {i}");
    }
    let other = Repository::with(&[("b.yaml", "2")]);
    let asked = Request { reference: Reference::Commit(only_here), ..request(other.url(), &cache) };
    assert!(matches!(fetch(&asked).await, Err(GitError::NotFound { .. })));
}

#[tokio::test]
async fn https_with_the_right_credentials_works_and_fetches_only_when_the_tip_moved() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    // "ada:correct horse"
    let basic = "Basic YWRhOmNvcnJlY3QgaG9yc2U=";
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), Some(basic))).await;
    let cache = TempDir::new().unwrap();
    let password = |p: &str| Credentials::Password { username: "ada".to_owned(), password: p.into() };
    let asked = Request {
        ca: Some(server.ca.clone()),
        credentials: password("correct horse"),
        ..request(server.url("origin.git"), &cache)
    };
    let started = Instant::now();
    let revision = fetched(&asked).await;
    println!("first fetch over https: {:?}", started.elapsed());
    assert_eq!(paths(&revision), ["a.yaml"]);
    let posts = server.posts();
    assert!(posts > 0);
    let started = Instant::now();
    let again = Request { unless: Some(revision.commit.clone()), ..asked.clone() };
    assert_eq!(fetch(&again).await.unwrap(), Fetch::Unchanged);
    println!("nothing new over https: {:?}", started.elapsed());
    assert_eq!(fetched(&asked).await, revision, "read again from the cache");
    assert_eq!(server.posts(), posts, "nothing was downloaded");
    repo.commit(&[("a.yaml", "2")]);
    assert_eq!(fetched(&asked).await.files[0].bytes, b"2");
    assert!(server.posts() > posts);

    let shallow = TempDir::new().unwrap();
    let asked_shallow = Request {
        history: Some(1),
        last_accepted: Some(revision.commit.clone()),
        cache: shallow.path().join("cache"),
        ..asked.clone()
    };
    let tip = fetched(&asked_shallow).await;
    assert_eq!((tip.files[0].bytes.as_slice(), tip.descends_from_last), (b"2".as_slice(), None));

    for wrong in [password("battery staple"), Credentials::None, Credentials::Bearer("staple".into())] {
        let error = fetch(&Request { credentials: wrong, ..asked.clone() }).await.unwrap_err();
        assert!(matches!(error, GitError::AuthFailed { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("localhost"), "{text}");
        assert!(!text.contains("staple") && !text.contains("horse"), "{text}");
    }
    let missing = Request { url: server.url("none.git"), ..asked };
    assert!(matches!(fetch(&missing).await, Err(GitError::NotFound { .. })));
}

#[tokio::test]
async fn a_bearer_token_is_sent_with_every_request() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), Some("Bearer token-1"))).await;
    let cache = TempDir::new().unwrap();
    let asked = Request {
        ca: Some(server.ca.clone()),
        credentials: Credentials::Bearer("token-1".into()),
        ..request(server.url("origin.git"), &cache)
    };
    assert_eq!(paths(&fetched(&asked).await), ["a.yaml"]);
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_of_the_given_authority() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let other = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let cache = TempDir::new().unwrap();
    for ca in [Some(other.ca.clone()), None] {
        let error = fetch(&Request { ca, ..request(server.url("origin.git"), &cache) }).await.unwrap_err();
        assert!(matches!(error, GitError::Tls { .. }), "{error:?}");
    }
    let by_address = server.url("origin.git").replace("localhost", "127.0.0.1");
    let error =
        fetch(&Request { ca: Some(server.ca.clone()), ..request(by_address, &cache) }).await.unwrap_err();
    assert!(matches!(error, GitError::Tls { .. }), "another name than the certificate's: {error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_not_even_to_another_port_of_the_same_host() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let target = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let server = Server::start(Answer::Redirect(target.url("").trim_end_matches('/').to_owned())).await;
    let cache = TempDir::new().unwrap();
    let ca = format!("{}{}", server.ca, target.ca);
    let error =
        fetch(&Request { ca: Some(ca), ..request(server.url("origin.git"), &cache) }).await.unwrap_err();
    assert!(matches!(error, GitError::Redirected { .. }), "{error:?}");
    assert_eq!(target.posts(), 0);
}

#[tokio::test]
async fn a_download_beyond_its_limit_is_stopped() {
    use std::io::Read;
    let mut noise = vec![0; 4 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    let repo = Repository::with(&[("a.yaml", "1")]);
    std::fs::write(repo.work().join("noise"), noise).unwrap();
    repo.commit(&[]);
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let cache = TempDir::new().unwrap();
    let limits = Limits { download_bytes: 1 << 20, ..Limits::default() };
    let asked = Request { ca: Some(server.ca.clone()), limits, ..request(server.url("origin.git"), &cache) };
    let error = fetch(&asked).await.unwrap_err();
    assert!(matches!(&error, GitError::TooLarge { what, .. } if what == "the download"), "{error:?}");
    let asked = Request { limits: Limits::default(), ..asked };
    assert_eq!(paths(&fetched(&asked).await), ["a.yaml"], "the cache survives it");
}

#[tokio::test]
async fn a_server_that_is_silent_or_trickles_is_left_at_the_deadline() {
    for trickle in [false, true] {
        let address = bad_server(trickle).await;
        let cache = TempDir::new().unwrap();
        let asked = Request { allow_http: true, ..request(format!("http://{address}/x.git"), &cache) };
        let started = Instant::now();
        let deadline = Duration::from_secs(2);
        let ended = Fetcher::with_program(PROGRAM, Vec::new()).fetch(&asked, deadline).await;
        assert_eq!(ended, Err(GitError::Timeout { host: address.to_string(), after: deadline }));
        let took = started.elapsed();
        println!("left a bad server (trickling: {trickle}) after {took:?}");
        assert!(took >= deadline && took < deadline + Duration::from_secs(3), "{took:?}");
        // The lock went with the process, so it is gone.
        let repo = Repository::with(&[("a.yaml", "1")]);
        fetched(&request(repo.url(), &cache)).await;
    }
}

#[tokio::test]
async fn the_child_ends_when_the_program_that_started_it_is_gone() {
    let address = bad_server(false).await;
    let cache = TempDir::new().unwrap();
    std::fs::create_dir_all(cache.path().join("cache")).unwrap();
    let asked = Request { allow_http: true, ..request(format!("http://{address}/x.git"), &cache) };
    let mut child = tokio::process::Command::new(PROGRAM)
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut line = serde_json::to_vec(&asked).unwrap();
    line.push(b'\n');
    stdin.write_all(&line).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(500), child.wait()).await.is_err(),
        "it waits for the silent server"
    );
    drop(stdin);
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(3));
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "");
}

#[tokio::test]
async fn two_fetches_do_not_share_a_cache() {
    let address = bad_server(false).await;
    let cache = TempDir::new().unwrap();
    let hanging = Request { allow_http: true, ..request(format!("http://{address}/x.git"), &cache) };
    let fetcher = Fetcher::with_program(PROGRAM, Vec::new());
    let first = fetcher.fetch(&hanging, Duration::from_secs(4));
    let second = async {
        while !cache.path().join("cache/repository/source").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fetcher.fetch(&hanging, Duration::from_secs(4)).await
    };
    let (_, second) = tokio::join!(first, second);
    let error = second.unwrap_err();
    assert!(error.to_string().contains("another fetch is using it"), "{error}");
}

#[tokio::test]
async fn addresses_that_are_never_used_are_refused_without_showing_their_secrets() {
    let cache = TempDir::new().unwrap();
    let with = |url: &str| request(url, &cache);
    let key = Credentials::Ssh { identity: "x".into(), known_hosts: "x".to_owned() };
    let cases = [
        (with("http://h/x.git"), "scheme http is not allowed"),
        (with("git://h/x.git"), "scheme git is not allowed"),
        (with("ext::sh -c x"), "scheme ext is not allowed"),
        (with("git@h:x.git"), "is not a URL"),
        (with("/srv/x.git"), "is not a URL"),
        (with("https://ada:staple@h/x.git"), "put credentials into the Secret"),
        (with("https://staple@h/x.git"), "put credentials into the Secret"),
        (with("https://h/x.git?a=staple"), "query or fragment"),
        (with("file://h/x.git"), "takes no host"),
        (with("ssh://git@h/x.git"), "ssh needs a private key"),
        (Request { credentials: key.clone(), ..with("ssh://git@h/x';staple;'.git") }, "only letters"),
        (Request { credentials: key.clone(), ..with("https://h/x.git") }, "do not fit https"),
        (Request { credentials: Credentials::Bearer("x".into()), ..with("ssh://h/x.git") }, "do not fit ssh"),
        (Request { history: Some(1), ..with("file:///x.git") }, "history: file: always"),
        (
            Request {
                credentials: Credentials::Ssh { identity: "staple".into(), known_hosts: "# none".to_owned() },
                ..with("ssh://git@127.0.0.1:1/x.git")
            },
            "known_hosts: is empty",
        ),
    ];
    for (asked, expected) in cases {
        let error = fetch(&asked).await.unwrap_err();
        assert!(matches!(error, GitError::Request { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("staple"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let cache = TempDir::new().unwrap();
    let error = fetch(&request("https://localhost:1/x.git", &cache)).await.unwrap_err();
    assert!(matches!(&error, GitError::Remote { host, .. } if host == "localhost:1"), "{error:?}");
    let error = fetch(&request("file:///nonexistent/x.git", &cache)).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
}
