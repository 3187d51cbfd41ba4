//! Repositories and servers that mean harm, or are broken: each is refused in words or rightly taken, in time and in
//! little memory, and the cache serves the next fetch.

use std::ffi::OsString;

use bascule_core::name::Namespace;
use bascule_engine::intake::read::{self, File};

use super::server::{Damage, endless_server};
use super::*;

/// Address space of a child here, in KiB: a fraction of what it allows itself, so that its own limit is never met.
const SMALL: u32 = 768 << 10;

/// Fetches in a child that has little memory.
async fn fetch_small(request: &Request) -> Result<Fetch, GitError> {
    let script = format!("ulimit -v {SMALL}; exec {PROGRAM}");
    let fetcher = Fetcher::with_program("/bin/sh", vec![OsString::from("-c"), script.into()]);
    let started = Instant::now();
    let ended = fetcher.fetch(request, DEADLINE).await;
    println!(
        "{:?} for {}",
        started.elapsed(),
        match &ended {
            Ok(Fetch::Fetched(revision)) => format!("{} files", revision.files.len()),
            other => format!("{other:?}"),
        }
    );
    ended
}

/// A commit of `main` without a parent that holds these files, as `git fast-import` reads it.
fn commit<'a>(files: impl IntoIterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut stream =
        b"commit refs/heads/main\ncommitter Ada <ada@example.org> 0 +0000\ndata 1\nx\ndeleteall\n".to_vec();
    for (path, content) in files {
        let head = format!("M 100644 inline {path}\ndata {}\n", content.len());
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(content);
        stream.push(b'\n');
    }
    stream
}

fn below(path: &str, request: Request) -> Request {
    Request { path: path.to_owned(), ..request }
}

#[tokio::test]
async fn a_hundred_thousand_files_are_refused_where_they_are_read_and_ignored_elsewhere() {
    let repo = Repository::with(&[("a.yaml", "a")]);
    // One directory takes git itself a time that grows with the square of its files.
    let flat = (0..5_000).map(|i| (format!("flat/{i}.yaml"), &b"x"[..]));
    let nested = (0..100_000).map(|i| (format!("nested/{}/{i}.txt", i / 100), &b"x"[..]));
    let own = [("sites/shop.yaml".to_owned(), &b"shop"[..])];
    repo.import(&commit(flat.chain(nested).chain(own)));
    let cache = TempDir::new().unwrap();
    let asked = below("sites", request(repo.url(), &cache));
    let Ok(Fetch::Fetched(revision)) = fetch_small(&asked).await else {
        panic!("they are nobody's business")
    };
    assert_eq!(paths(&revision), ["sites/shop.yaml"]);
    for (path, expected) in [
        ("flat", "the number of YAML files exceeds the limit of 1000"),
        ("nested", "the number of files and directories exceeds the limit of 20000"),
        ("", "the number of"),
    ] {
        let error = fetch_small(&below(path, asked.clone())).await.unwrap_err();
        assert!(
            matches!(error, GitError::TooLarge { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_larger_than_directories_are_is_refused_by_its_name() {
    let repo = Repository::with(&[("a.yaml", "a")]);
    let name = "n".repeat(200);
    repo.import(&commit((0..30_000).map(|i| (format!("wide/{name}{i}.txt"), &b"x"[..]))));
    let cache = TempDir::new().unwrap();
    let error = fetch_small(&below("wide", request(repo.url(), &cache))).await.unwrap_err();
    assert!(error.to_string().contains("at \"wide\" exceeds the limit of 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn eight_megabytes_of_noise_and_thirty_of_nothing_are_refused_by_name_and_ignored_elsewhere() {
    use std::io::Read;
    let mut noise = vec![0; 8 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    // Compressed by hundreds: what is downloaded says nothing about what it becomes.
    let zeros = vec![0; 30 << 20];
    let repo = Repository::with(&[("a.yaml", "a")]);
    repo.import(&commit([
        ("noise/big.yaml".to_owned(), noise.as_slice()),
        ("zeros/big.yaml".to_owned(), zeros.as_slice()),
        ("other/big.bin".to_owned(), noise.as_slice()),
        ("other/shop.yaml".to_owned(), b"shop"),
    ]));
    drop((noise, zeros));
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let cache = TempDir::new().unwrap();
    let asked = Request { ca: Some(server.ca.clone()), ..request(server.url("origin.git"), &cache) };
    let Ok(Fetch::Fetched(revision)) = fetch_small(&below("other", asked.clone())).await else {
        panic!("what is not read may have any size")
    };
    assert_eq!(paths(&revision), ["other/shop.yaml"]);
    for (path, bytes) in [("noise", 8 << 20), ("zeros", 30 << 20)] {
        let error = fetch_small(&below(path, asked.clone())).await.unwrap_err().to_string();
        let expected =
            format!("the size of {path}/big.yaml ({bytes} bytes) exceeds the limit of 1048576 bytes");
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn links_are_refused_wherever_they_lead() {
    for (name, to) in [
        ("in-tree.yaml", "shop.yaml"),
        ("loop.yaml", "loop.yaml"),
        ("nowhere.yaml", "none"),
        ("up.yaml", "../../../../../../etc/passwd"),
        ("link.txt", "shop.yaml"),
    ] {
        let repo = Repository::with(&[("sites/shop.yaml", "shop")]);
        std::os::unix::fs::symlink(to, repo.work().join("sites").join(name)).unwrap();
        repo.commit(&[]);
        let cache = TempDir::new().unwrap();
        let error = fetch(&request(repo.url(), &cache)).await.unwrap_err().to_string();
        assert_eq!(error, format!("sites/{name}: is a symbolic link, which is not followed"));
    }
}

#[tokio::test]
async fn names_that_are_no_text_or_could_lead_elsewhere_are_refused_and_shown_legibly() {
    for (name, expected) in [
        ("\"sites/\\377.yaml\"", "sites/\u{fffd}.yaml: is not a usable name"),
        ("\"sites/a\\033[31m.yaml\"", "sites/a\\u{1b}[31m.yaml: is not a usable name"),
        ("\"sites/a\\\\b.yaml\"", "sites/a\\\\b.yaml: is not a usable name"),
    ] {
        let repo = Repository::with(&[("a.yaml", "a")]);
        repo.import(&commit([(name.to_owned(), &b"x"[..])]));
        let cache = TempDir::new().unwrap();
        let error = fetch(&request(repo.url(), &cache)).await.unwrap_err();
        assert!(matches!(error, GitError::Forbidden { .. }), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

/// What became of a file: how many Moves were read, or what is said.
fn taken(revision: &Revision) -> Result<usize, String> {
    let files: Vec<File<'_>> =
        revision.files.iter().map(|f| File { path: &f.path, bytes: &f.bytes }).collect();
    let namespace = Namespace::try_from("shop").unwrap();
    match read::revision(&files, &namespace, &read::Limits::default()) {
        Ok(revision) => Ok(revision.moves.len()),
        Err(problems) => Err(problems[0].to_string()),
    }
}

#[tokio::test]
async fn whatever_a_file_holds_it_is_taken_whole_or_refused_with_its_name_and_place() {
    let mv = |name: &str| {
        format!(
            "apiVersion: bascule.dev/v1alpha1\nkind: Move\nmetadata:\n  name: {name}\nspec:\n  policyRef:\n    name: shop\n  type: Resume\n  epoch: 1\n  reason: the works are done\n"
        )
    };
    let level = |up: char, own: char| format!("{own}: &{own} [{}]\n", vec![format!("*{up}"); 9].join(", "));
    let bomb = format!(
        "a: &a [x, x, x]\n{}{}{}{}",
        level('a', 'b'),
        level('b', 'c'),
        level('c', 'd'),
        level('d', 'e')
    );
    let tall = format!("? {}\n: [{}]\n", "k".repeat(120_000), vec!["x"; 40_000].join(","));
    let cases: [(&str, Vec<u8>, Result<usize, &str>); 13] = [
        ("plain", mv("a").into(), Ok(1)),
        ("line ends of another system", mv("a").replace('\n', "\r\n").into(), Ok(1)),
        ("a byte order mark", format!("\u{feff}{}", mv("a")).into(), Ok(1)),
        ("several documents", format!("---\n{}---\n---\n{}...\n", mv("a"), mv("b")).into(), Ok(2)),
        ("nothing", Vec::new(), Ok(0)),
        (
            "one name twice",
            format!("{}---\n{}", mv("a"), mv("a")).into(),
            Err("x.yaml:15:9: metadata.name: 'a' is already"),
        ),
        (
            "a key twice",
            format!("{}kind: Move\n", mv("a")).into(),
            Err("x.yaml:11:1: kind: found this key twice"),
        ),
        ("no UTF-8", b"kind: M\xe9\n".to_vec(), Err("x.yaml:1: found bytes that are not UTF-8")),
        ("UTF-16", b"\xff\xfek\0i\0".to_vec(), Err("x.yaml:1: found bytes that are not UTF-8")),
        ("aliases of aliases", bomb.into(), Err("x.yaml:")),
        ("deep nesting", "[".repeat(100_000).into(), Err("x.yaml:")),
        (
            "a long key above a long list",
            tall.into(),
            Err("x.yaml:1:3: found a key whose path has 120000 bytes"),
        ),
        (
            "a large file",
            vec![b'#'; 300 << 10],
            Err("x.yaml: found 307200 bytes, expected at most 262144: split"),
        ),
    ];
    let repo = Repository::with(&[("x.yaml", "a")]);
    let cache = TempDir::new().unwrap();
    for (what, content, expected) in cases {
        repo.import(&commit([("x.yaml".to_owned(), content.as_slice())]));
        let revision = fetched(&request(repo.url(), &cache)).await;
        let started = Instant::now();
        match (taken(&revision), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{what}"),
            (Err(why), Err(start)) => {
                assert!(why.starts_with(start), "{what}: {why}");
                assert!(why.len() < 2500, "{what}: {} bytes", why.len());
            }
            (found, _) => panic!("{what}: {found:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn another_history_is_taken_and_reported_as_one_that_does_not_descend() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let cache = TempDir::new().unwrap();
    let accepted = fetched(&request(repo.url(), &cache)).await.commit;
    repo.import(&commit([("a.yaml".to_owned(), &b"2"[..])]));
    let asked = Request { last_accepted: Some(accepted), ..request(repo.url(), &cache) };
    let revision = fetched(&asked).await;
    assert_eq!((revision.files[0].bytes.as_slice(), revision.descends_from_last), (&b"2"[..], Some(false)));
}

#[tokio::test]
async fn a_branch_that_is_deleted_is_not_found_and_found_again_when_it_is_back() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    repo.git(&["push", "-q", "origin", "main:other"]);
    repo.git(&["tag", "release"]);
    repo.git(&["push", "-q", "origin", "release"]);
    let cache = TempDir::new().unwrap();
    let asked = request(repo.url(), &cache);
    let first = fetched(&asked).await;
    let origin = repo.root().join("origin.git");
    repo.git(&["-C", origin.to_str().unwrap(), "config", "receive.denyDeleteCurrent", "ignore"]);
    repo.git(&["push", "-q", "origin", ":main"]);
    let again = Request { unless: Some(first.commit.clone()), last_accepted: Some(first.commit), ..asked };
    let error = fetch(&again).await.unwrap_err();
    assert_eq!(error.to_string(), "branch main was not found; there is for example other");
    let next = repo.commit(&[("a.yaml", "2")]);
    let revision = fetched(&again).await;
    assert_eq!((revision.commit, revision.descends_from_last), (next, Some(true)));
    // A tag is no branch, whatever git itself would make of the bare name.
    let tag = Request { reference: Reference::Branch("release".to_owned()), ..again.clone() };
    assert!(matches!(fetch(&tag).await, Err(GitError::NotFound { .. })));
    let branch = Request { reference: Reference::Tag("main".to_owned()), ..again };
    assert!(matches!(fetch(&branch).await, Err(GitError::NotFound { .. })));
}

#[tokio::test]
async fn a_tag_of_something_that_is_no_commit_is_refused() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    for (tag, of) in [("tree", "HEAD^{tree}"), ("blob", "HEAD:a.yaml")] {
        repo.git(&["tag", tag, of]);
        repo.git(&["push", "-q", "origin", tag]);
        let cache = TempDir::new().unwrap();
        let asked = Request { reference: Reference::Tag(tag.to_owned()), ..request(repo.url(), &cache) };
        let error = fetch(&asked).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("tag {tag} was not found: the object of that name is not a commit")
        );
    }
}

#[tokio::test]
async fn a_repository_that_has_only_the_end_of_its_history_is_refused_with_the_way_out() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    repo.commit(&[("a.yaml", "2")]);
    let url = repo.url();
    let into = repo.root().join("shallow.git");
    repo.git(&["clone", "-q", "--bare", "--depth", "1", &url, into.to_str().unwrap()]);
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let cache = TempDir::new().unwrap();
    let asked = Request { ca: Some(server.ca.clone()), ..request(server.url("shallow.git"), &cache) };
    let error = fetch(&asked).await.unwrap_err();
    assert!(error.to_string().contains("git fetch --unshallow"), "{error}");
}

#[tokio::test]
async fn a_pack_that_is_damaged_on_the_way_is_refused_and_leaves_the_cache_as_it_was() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let damages: [(&str, Damage); 3] = [
        ("torn", |answer| answer.truncate(answer.len() - 40)),
        ("a flipped bit", |answer| {
            // Behind the pack's head: version and number of objects.
            let pack = answer.windows(4).position(|w| w == b"PACK").unwrap();
            answer[pack + 20] ^= 0x10;
        }),
        ("nothing but the head", |answer| {
            let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            answer.truncate(end);
        }),
    ];
    let cache = TempDir::new().unwrap();
    let good = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let mut accepted = None;
    for (what, damage) in damages {
        let bad = Server::start(Answer::Damaged(repo.root().to_owned(), damage)).await;
        let through = |server: &Server| Request {
            ca: Some(server.ca.clone()),
            unless: accepted.clone(),
            ..request(server.url("origin.git"), &cache)
        };
        let error = fetch(&through(&bad)).await.unwrap_err();
        println!("{what}: {error}");
        let told =
            matches!(&error, GitError::Remote { .. } | GitError::Cache { .. } | GitError::Timeout { .. });
        assert!(told, "{what}: {error:?}");
        let revision = fetched(&through(&good)).await;
        accepted = Some(revision.commit);
        repo.commit(&[("a.yaml", what)]);
    }
}

#[tokio::test]
async fn a_repository_whose_own_pack_is_damaged_is_refused_and_named() {
    let repo = Repository::with(&[("a.yaml", "1")]);
    let origin = repo.root().join("origin.git");
    repo.git(&["-C", origin.to_str().unwrap(), "repack", "-q", "-a", "-d"]);
    for entry in std::fs::read_dir(origin.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "pack") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let server = Server::start(Answer::Repositories(repo.root().to_owned(), None)).await;
    let cache = TempDir::new().unwrap();
    let over_https = Request { ca: Some(server.ca.clone()), ..request(server.url("origin.git"), &cache) };
    for asked in [request(repo.url(), &cache), over_https] {
        let error = fetch(&asked).await.unwrap_err();
        println!("{error}");
        assert!(!matches!(error, GitError::Child { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_stops_talking_is_left_at_the_limit() {
    for (references, what) in [(true, "the list of references"), (false, "the download")] {
        let address = endless_server(references).await;
        let cache = TempDir::new().unwrap();
        let limits = Limits { download_bytes: 4 << 20, ..Limits::default() };
        let asked =
            Request { allow_http: true, limits, ..request(format!("http://{address}/x.git"), &cache) };
        let error = fetch_small(&asked).await.unwrap_err();
        assert!(matches!(&error, GitError::TooLarge { what: w, .. } if w == what), "{what}: {error:?}");
    }
}
