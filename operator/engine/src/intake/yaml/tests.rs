use serde_json::json;

use super::*;

fn read(text: &str) -> Result<Vec<Value>, Vec<String>> {
    documents(text, &Limits::default())
        .map(|documents| documents.into_iter().map(|d| d.value).collect())
        .map_err(|objections| {
            objections
                .into_iter()
                .map(|o| {
                    let place = o.place.map_or(String::new(), |p| format!("{}:{} ", p.line, p.column));
                    format!("{place}{}: {}", o.field, o.reason)
                })
                .collect()
        })
}

#[test]
fn plain_words_and_numbers_that_readers_of_yaml_disagree_about_are_refused() {
    for text in [
        "on",
        "Off",
        "YES",
        "no",
        "y",
        "N",
        "True",
        "FALSE",
        "Null",
        "010",
        "0o10",
        "0x1F",
        "0b11",
        "1_000",
        "+1",
        "-0",
        "1:30",
        "1:30:00",
        "-1:30.5",
        ".5",
        "1e3",
        "1.",
        "1.5",
        "0_1",
        "1__0",
        ".inf",
        "-.Inf",
        ".NaN",
        "=",
        "99999999999999999999",
        "~",
        "",
    ] {
        let refused = read(&format!("a: {text}\n")).unwrap_err();
        assert_eq!(refused.len(), 1, "{text}: {refused:?}");
        assert!(refused[0].contains(" a: found"), "{text}: {refused:?}");
    }
}

#[test]
fn the_same_words_in_quotes_are_text() {
    for text in ["on", "No", "010", "1:30", "1e3", "true", "null", "1", ""] {
        assert_eq!(read(&format!("a: \"{text}\"\nb: '{text}'\n")), Ok(vec![json!({ "a": text, "b": text })]));
    }
}

#[test]
fn what_is_plain_to_everybody_is_accepted_plain() {
    let table = [
        ("true", json!(true)),
        ("false", json!(false)),
        ("0", json!(0)),
        ("-7", json!(-7)),
        ("5432", json!(5432)),
        ("10s", json!("10s")),
        ("16Mi", json!("16Mi")),
        ("192.0.2.53:53", json!("192.0.2.53:53")),
        ("2001:db8::10", json!("2001:db8::10")),
        ("www.shop.example.", json!("www.shop.example.")),
        ("2026-11-28T12:00:00Z", json!("2026-11-28T12:00:00Z")),
        ("only", json!("only")),
    ];
    for (text, expected) in table {
        assert_eq!(read(&format!("a: {text}\n")), Ok(vec![json!({ "a": expected })]), "{text}");
    }
}

#[test]
fn keys_are_held_to_the_same_rules() {
    let refused = read("labels:\n  on: x\n  y: x\n  1: x\n  true: x\n  null: x\n").unwrap_err();
    assert_eq!(refused.len(), 5, "{refused:#?}");
    assert!(refused[0].starts_with("2:3 labels.on: found the key on"), "{refused:?}");
    assert!(read("a: {\"on\": x}\n").is_ok());
}

#[test]
fn a_key_that_stands_twice_is_refused_at_its_second_place() {
    assert_eq!(
        read("a: x\nb: x\na: x\n"),
        Err(vec!["3:1 a: found this key twice in one object: remove one of the two".to_owned()])
    );
}

#[test]
fn anchors_are_followed_within_bounds_and_their_text_is_judged_where_it_stands() {
    assert_eq!(read("a: &x {k: v}\nb: *x\n"), Ok(vec![json!({ "a": { "k": "v" }, "b": { "k": "v" } })]));
    assert_eq!(read("a: &x \"on\"\nb: *x\n"), Ok(vec![json!({ "a": "on", "b": "on" })]));
    assert_eq!(read("a: &x on\nb: *x\n").unwrap_err().len(), 2);
    let bomb: String = (0..12).fold("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let all = vec![format!("*a{i}"); 8].join(", ");
        format!("{text}a{}: &a{} [{all}]\n", i + 1, i + 1)
    });
    assert!(read(&bomb).is_err());
    assert!(read("a: &a [*a]\n").is_err());
    assert!(read("a: &a {k: v}\nb:\n  <<: *a\n").unwrap_err()[0].contains("merge keys"));
}

#[test]
fn characters_that_end_a_line_to_some_readers_only_are_refused_even_in_comments() {
    assert_eq!(
        read("a: x # harmless\u{2028}b: y\n").unwrap_err(),
        [
            "1:16 : found the character U+2028, which ends a line to some readers of YAML: write it as \"\\u2028\" in double quotes, or remove it"
        ]
    );
    assert_eq!(read("a: \"\\u2028\"\n"), Ok(vec![json!({ "a": "\u{2028}" })]));
}

#[test]
fn tags_depth_and_documents_are_bounded() {
    assert!(read("a: !custom x\n").is_err());
    assert!(read("a: !!int \"3\"\n").is_err());
    assert!(read(&format!("{}{}\n", "[".repeat(200), "]".repeat(200))).is_err());
    assert!(read(&"---\na: x\n".repeat(1000)).is_err());
}

#[test]
fn documents_are_told_apart_and_empty_ones_left_out() {
    assert_eq!(
        read("---\na: x\n---\n# nothing\n---\nb: x\n...\n"),
        Ok(vec![json!({ "a": "x" }), json!({ "b": "x" })])
    );
    assert_eq!(read(""), Ok(vec![]));
}

#[test]
fn a_field_is_found_by_its_path_and_a_missing_one_by_what_is_around_it() {
    let text = "---\nspec:\n  sites:\n    - name: paris\n    - {name: lyon}\n";
    let document = documents(text, &Limits::default()).unwrap().remove(0);
    let at = |field: &str| {
        let place = document.place_of(field);
        (place.line, place.column)
    };
    assert_eq!(at("spec.sites[1].name"), (5, 14));
    assert_eq!(at("spec.sites[1].other"), (5, 7));
    assert_eq!(at("spec.sites[7]"), (4, 5));
    assert_eq!(at("metadata.name"), (2, 1));
}

#[test]
fn a_long_key_above_a_long_list_is_refused_before_its_path_is_kept_for_each_entry() {
    let text = format!("? {}\n: [{}]\n", "k".repeat(2000), ["x"; 1000].join(","));
    let wrong = read(&text).unwrap_err();
    assert_eq!(
        wrong,
        ["1:3 : found a key whose path has 2000 bytes, expected at most 1024: use shorter keys"]
    );
}
