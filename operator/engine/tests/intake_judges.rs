//! Intake from files accepts and refuses what a real API server accepts and refuses: the same table.

#![allow(clippy::unwrap_used)]

#[path = "../../../crds/tests/cases/mod.rs"]
mod cases;

use std::fmt::Write as _;
use std::path::Path;

use bascule_core::name::Namespace;
use bascule_crds::PolicySource;
use bascule_engine::intake::{
    Problem,
    read::{File, Limits, Revision, revision, sources},
    source,
};
use serde_json::Value;

use self::cases::{Case, base, cases};

fn read(files: &[(&str, &str)]) -> Result<Revision, Vec<Problem>> {
    let files: Vec<_> = files.iter().map(|(path, text)| File { path, bytes: text.as_bytes() }).collect();
    revision(&files, &Namespace::try_from("default").unwrap(), &Limits::default())
}

/// What is said about the text of one file, a line each.
fn refusals(text: &str) -> Vec<String> {
    read(&[("a.yaml", text)]).unwrap_err().iter().map(ToString::to_string).collect()
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

#[test]
fn intake_judges_every_object_as_the_api_server_does() {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for case in cases().into_iter().filter(|case| case.base != "source") {
        judged += 1;
        let text = case.object().to_string();
        let answer = read(&[("case.json", &text)]);
        match (case.refused, answer) {
            (None, Ok(_)) => {}
            (None, Err(problems)) => {
                wrong.push(format!("{}: expected acceptance, found: {problems:?}", case.name));
            }
            (Some(words), Ok(_)) => {
                wrong.push(format!("{}: expected '{words}', found acceptance", case.name));
            }
            (Some(words), Err(problems)) => {
                // The reason alone is what the API server says: people are shown it beside its field.
                let said =
                    problems.iter().map(|p| format!("{p}\n  {}", p.reason)).collect::<Vec<_>>().join("\n  ");
                if !said.contains(words) {
                    wrong.push(format!("{}: expected '{words}', found:\n  {said}", case.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {judged}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 90, "{judged}");
}

/// What is said of an object in a file.
fn problems_of(case: &Case) -> Vec<Problem> {
    let text = case.object().to_string();
    if case.base == "source" {
        let file = File { path: "case.json", bytes: text.as_bytes() };
        sources(&[file], &Namespace::try_from("default").unwrap(), &Limits::default()).1.unwrap_err()
    } else {
        read(&[("case.json", &text)]).unwrap_err()
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what was looked at is kept in a file")]
fn what_is_said_of_what_is_wrong_is_what_was_looked_at() {
    let (all, mut text) = (cases(), String::new());
    for case in all.iter().filter(|case| case.refused.is_some()) {
        writeln!(text, "{}", case.name).unwrap();
        for problem in problems_of(case) {
            let field = problem.field.unwrap_or_default();
            assert!(!field.is_empty(), "{}: no field is named: {}", case.name, problem.reason);
            writeln!(text, "  {field}: {}", problem.reason).unwrap();
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wrong.txt");
    if std::env::var_os("BASCULE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    for (number, (kept, found)) in kept.lines().zip(text.lines()).enumerate() {
        let place = format!("{}, line {}", file.display(), number + 1);
        assert_eq!(kept, found, "{place}; if that is meant: BASCULE_GOLDEN=write");
    }
    assert_eq!(kept.lines().count(), text.lines().count(), "{}", file.display());
}

/// What is said of a source: as an object of the API, and as a file that a person checks.
fn said_of_source(object: &Value) -> [Result<(), String>; 2] {
    let as_object = serde_json::from_value::<PolicySource>(object.clone())
        .map_err(|why| why.to_string())
        .and_then(|object| source::convert(&object).map(drop).map_err(|invalid| invalid.to_string()));
    let text = object.to_string();
    let file = File { path: "case.json", bytes: text.as_bytes() };
    let (others, read) = sources(&[file], &Namespace::try_from("default").unwrap(), &Limits::default());
    assert!(others.is_empty(), "it is taken for another file: {text}");
    let as_file = read.map(drop).map_err(|problems| {
        problems.iter().map(|p| format!("{p}\n  {}", p.reason)).collect::<Vec<_>>().join("\n")
    });
    [as_object, as_file]
}

#[test]
fn sources_are_judged_as_the_api_server_does() {
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| case.base == "source") {
        for said in said_of_source(&case.object()) {
            let right = match (case.refused, &said) {
                (None, Ok(())) => true,
                (Some(words), Err(why)) => why.contains(words),
                _ => false,
            };
            if !right {
                wrong.push(format!("{}: expected {:?}, found {said:?}", case.name, case.refused));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_password_in_an_address_is_never_repeated() {
    let mut object = base("source");
    object["spec"]["url"] = "https://me:hunter2@git.example.org/x".into();
    let object: PolicySource = serde_json::from_value(object).unwrap();
    let said = source::convert(&object).unwrap_err().to_string();
    assert!(said.contains("spec.url: expected an address") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_problem_names_file_line_column_field_and_way_out() {
    let text = "\
apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: shop}
spec:
  sites:
    - name: paris
    - name: Lyon
  initialSite: paris
  failover:
    cooldwn: 1h
    promote: {after: 30}
  traffic:
    - name: public
      httpRoute: {name: web, backends: [{site: lyon, service: web, port: 80}]}
";
    assert_eq!(
        refusals(text),
        [
            "a.yaml:10:14: spec.failover.cooldwn: unknown field 'cooldwn', expected one of: cooldown, databaseLost, promote, serveReads, switchoverDeadline",
            "a.yaml:11:22: spec.failover.promote.after: found the number 30, expected text; quote it: \"30\", or give it a unit where the field takes one: 30s, 30Mi",
        ]
    );
    let mended = text.replace("cooldwn", "cooldown").replace("30", "30m");
    assert_eq!(
        refusals(&mended),
        [
            "a.yaml:7:13: spec.sites[1].name: found 'Lyon', expected a name of at most 63 lower-case letters, digits and hyphens that begins and ends with a letter or digit",
            "a.yaml:11:14: spec.failover.promote.maxDataLoss: promote.maxDataLoss is missing: promotion by itself ('after' is not Never) needs both bounds, for example {bytes: 16Mi, time: 30s}",
            "a.yaml:14:40: spec.traffic[0].httpRoute.backends: expected exactly one entry for each site of spec.sites (paris), found lyon",
        ]
    );
}

#[test]
fn one_bad_file_refuses_the_whole_revision_and_all_bad_files_are_named() {
    let good = yaml(&base("policy"));
    let answer =
        read(&[("a.yaml", &good), ("b.yaml", "a: [\n"), ("c.yaml", "kind: ConfigMap\n")]).unwrap_err();
    let files: Vec<_> = answer.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["b.yaml", "c.yaml"]);
}

#[test]
fn a_revision_holds_policies_and_moves_of_one_namespace_and_nothing_else() {
    let both = format!("{}---\n{}", yaml(&base("policy")), yaml(&base("move")));
    let taken = read(&[("both.yaml", &both)]).unwrap();
    assert_eq!(taken.policies["shop"].file, "both.yaml");
    assert_eq!(taken.policies["shop"].line, 1);
    assert!(taken.moves["m"].line > 1);

    let mut without = base("policy");
    without["metadata"].as_object_mut().unwrap().remove("namespace");
    let taken = read(&[("a.yaml", &yaml(&without))]).unwrap();
    assert_eq!(taken.policies["shop"].object.metadata.namespace.as_deref(), Some("default"));

    let mut other = base("policy");
    other["metadata"]["namespace"] = "bank".into();
    let said = refusals(&yaml(&other)).join("\n");
    assert!(
        said.contains("metadata.namespace: found bank, expected default, the namespace of the PolicySource"),
        "{said}"
    );

    let said = refusals(&yaml(&base("source"))).join("\n");
    assert!(said.contains("kind: found PolicySource, expected FailoverPolicy or Move"), "{said}");
    let said = refusals("apiVersion: v1\nkind: Secret\n").join("\n");
    assert!(said.contains("apiVersion: found v1, expected bascule.dev/v1alpha1"), "{said}");
    assert!(refusals("just words\n").join("\n").contains("found no fields"));
}

#[test]
fn what_only_servers_write_is_refused() {
    let mut exported = base("policy");
    exported["status"] = serde_json::json!({ "epoch": 3 });
    exported["metadata"]["resourceVersion"] = "17".into();
    let said = refusals(&yaml(&exported)).join("\n");
    assert!(said.contains("status: is written by Bascule, never by a person: remove it"), "{said}");
    assert!(
        said.contains(
            "unknown field 'resourceVersion', expected one of: annotations, labels, name, namespace"
        ),
        "{said}"
    );
}

#[test]
fn labels_must_be_labels() {
    let mut object = base("policy");
    object["metadata"]["labels"] =
        serde_json::json!({ "tier": "customer", "example.org/a": "", "b c": "x", "d": "e f" });
    let said = refusals(&yaml(&object));
    assert_eq!(said.len(), 2, "{said:#?}");
}

#[test]
fn the_same_name_twice_is_refused_with_both_places() {
    let policy = yaml(&base("policy"));
    let said = read(&[("a.yaml", &policy), ("b.yaml", &policy)]).unwrap_err();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].file, "b.yaml");
    assert!(said[0].reason.contains("already the name of the object in a.yaml at line 1"), "{}", said[0]);
}

#[test]
fn bytes_that_are_not_text_and_files_that_are_too_large_are_refused() {
    let files = [File { path: "a.yaml", bytes: b"a: b\nc: \xff\n" }];
    let said = revision(&files, &Namespace::try_from("default").unwrap(), &Limits::default()).unwrap_err();
    assert_eq!(said[0].to_string(), "a.yaml:2: found bytes that are not UTF-8: save the file as UTF-8");
    let large = "# ".repeat(200_000);
    assert!(refusals(&large).join("\n").contains("found 400000 bytes, expected at most 262144"));
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let list = (0..80).map(|i| format!("  x{i}: 1\n")).collect::<Vec<_>>().concat();
    let text = format!("apiVersion: bascule.dev/v1alpha1\nkind: Move\nmetadata: {{name: m}}\nspec:\n{list}");
    let said = refusals(&text);
    assert_eq!(said.len(), 51);
    assert!(said[50].contains("more problems; mend these first"), "{}", said[50]);
}

#[test]
fn a_revision_without_objects_is_empty_and_not_wrong() {
    assert_eq!(read(&[]).unwrap(), Revision::default());
    assert_eq!(read(&[("a.yaml", "# nothing yet\n")]).unwrap(), Revision::default());
}
