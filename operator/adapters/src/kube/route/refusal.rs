//! The rules by which a route has its writes answered by the responder, and how they are found again.
//!
//! A gateway takes of all matches the most specific one: first by the path, then one with a method before one without,
//! then by how many headers and query parameters it has; of two that are equal, the one that stands first. So every match
//! that leads to a backend is repeated with each writing method. With the same path, headers and query parameters it has a
//! method besides, and wins over its original wherever it stands: whatever the policy's own rules match, reads still match
//! them and writes do not. Only a match that has a writing method of its own cannot be made more specific; the route is left
//! as it is.
//!
//! These rules stand behind all others. Gateways call what they make of a rule by its place (Envoy Gateway its clusters):
//! with a rule in front every other one would change its place, and for the moment in which a proxy has the new clusters
//! and the old routes, a read would be sent to the responder.

use bascule_core::name::PolicyKey;
use bascule_core::policy::RefuseWrites;
use serde_json::{Map, Value, json};

use super::seen::{Route, Rule, Weighed};

/// The methods of requests that may change something.
pub const WRITING: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// The header by which the responder is told whose request it answers: `NAMESPACE/POLICY`.
pub const POLICY_HEADER: &str = "x-bascule-policy";

/// The header by which the responder is told when the client shall try again, in seconds.
pub const RETRY_HEADER: &str = "x-bascule-retry-after";

/// How the rules are called that are Bascule's; a second one has a number behind it. It is for people: older definitions of
/// routes have no names for rules and drop them, so that the header tells whose a rule is.
pub const RULE: &str = "bascule-refuses-writes";

/// How many rules a route may have, by the definition of its kind.
const MOST_RULES: usize = 16;

/// How many matches a rule may have.
const MOST_MATCHES: usize = 64;

/// How many matches all rules of a route may have together.
const MOST_TOGETHER: usize = 128;

/// Where the responder of this installation is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    /// The namespace of its Service.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub port: u16,
}

impl std::fmt::Display for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service {}/{}:{}", self.namespace, self.service, self.port)
    }
}

impl Rule {
    /// Whether it is one of those that only Bascule makes: it tells the responder of a policy.
    pub(super) fn is_own(&self) -> bool {
        let set = self.filters.iter().filter_map(|f| f.pointer("/requestHeaderModifier/set")?.as_array());
        let name = |header: &Value| header.get("name").and_then(Value::as_str).map(str::to_lowercase);
        set.flatten().any(|header| name(header).as_deref() == Some(POLICY_HEADER))
    }

    /// What it matches, as the API server fills it in.
    fn all_matches(&self) -> Vec<Value> {
        let all = self.matches.clone().unwrap_or_default();
        if all.is_empty() { vec![json!({ "path": { "type": "PathPrefix", "value": "/" } })] } else { all }
    }
}

/// Whether Bascule calls rules of its own so.
fn is_reserved(name: &str) -> bool {
    let rest = name.strip_prefix(RULE);
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
    })
}

impl Route {
    /// The places of the rules that are Bascule's, the first one first.
    pub(super) fn own(&self) -> Vec<usize> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.is_own()).map(|(place, _)| place).collect()
    }

    /// What has to match for every write to be refused, or why they cannot be.
    pub(super) fn refusable(&self, refuse: &RefuseWrites, weighed: &[Weighed]) -> Result<Vec<Value>, String> {
        let taken = |rule: &&Rule| !rule.is_own() && rule.name.as_deref().is_some_and(is_reserved);
        if let Some(rule) = self.rules.iter().find(taken) {
            let name = rule.name.as_deref().unwrap_or_default();
            return Err(format!("a rule is called {name} and is none of Bascule's: give it another name"));
        }
        let named = |name: &String| self.rules.iter().any(|rule| rule.name.as_ref() == Some(name));
        if let Some(missing) = refuse.except_rules.iter().find(|name| !named(name)) {
            return Err(format!("exceptRules names {missing}, and no rule of the route is called so"));
        }
        let excepted =
            |rule: &Rule| rule.name.as_ref().is_some_and(|name| refuse.except_rules.contains(name));
        let refused: Vec<usize> = weighed
            .iter()
            .map(|w| w.rule)
            .filter(|place| self.rules.get(*place).is_some_and(|rule| !excepted(rule)))
            .collect();
        let mut wanted: Vec<Value> = Vec::new();
        for (place, rule) in self.rules.iter().enumerate() {
            if !refused.contains(&place) {
                continue;
            }
            for matched in rule.all_matches() {
                if let Some(method) = own_method(&matched) {
                    let name = self.called(place);
                    return Err(format!(
                        "the rule {name} matches the method {method} itself, and no rule behind it can win over that: leave the method out of its matches, or name the rule in exceptRules"
                    ));
                }
                for written in writing(&matched) {
                    if let Some(other) = self.taken_from(&matched, place, &written, &refused) {
                        return Err(other);
                    }
                    if !wanted.contains(&written) {
                        wanted.push(written);
                    }
                }
            }
        }
        if wanted.is_empty() {
            return Err("no rule lets a writing method pass".to_owned());
        }
        let theirs: Vec<&Rule> = self.rules.iter().filter(|rule| !rule.is_own()).collect();
        let (rules, more) = (theirs.len(), wanted.len().div_ceil(MOST_MATCHES));
        if rules + more > MOST_RULES {
            return Err(format!(
                "the route has {rules} rules and needs {more} more: a route may have {MOST_RULES}"
            ));
        }
        let matches: usize = theirs.iter().map(|rule| rule.all_matches().len()).sum();
        if matches + wanted.len() > MOST_TOGETHER {
            return Err(format!(
                "the route has {matches} matches and needs {} more, one for each writing method: a route may have {MOST_TOGETHER}",
                wanted.len()
            ));
        }
        Ok(wanted)
    }

    /// How people call the rule at `place`.
    fn called(&self, place: usize) -> String {
        let name = self.rules.get(place).and_then(|rule| rule.name.clone());
        name.unwrap_or_else(|| format!("number {}", self.number(place)))
    }

    /// Which other rule's writes the match `written`, made of `matched` of the rule at `place`, would take: one that is
    /// not to be refused, that gets a request which both match now, and that would not get it then.
    fn taken_from(
        &self,
        matched: &Value,
        place: usize,
        written: &Value,
        refused: &[usize],
    ) -> Option<String> {
        for (other, rule) in self.rules.iter().enumerate() {
            if rule.is_own() || refused.contains(&other) {
                continue;
            }
            for theirs in rule.all_matches() {
                let method = theirs.get("method");
                let common = path(&theirs) == path(matched)
                    && method.is_none_or(|method| Some(method) == written.get("method"));
                // Of two that are equal the first one counts: a lower place is more.
                let now = (weight(&theirs), place) > (weight(matched), other);
                // It stands before all of Bascule's.
                let then = weight(&theirs) >= weight(written);
                if common && now && !then {
                    return Some(format!(
                        "writes of the rule {}, which the policy leaves alone, would be refused too: it has the same path {}",
                        self.called(other),
                        path(matched).1
                    ));
                }
            }
        }
        None
    }

    /// Whether the rules that are Bascule's refuse exactly these, behind all others and at the responder. Earlier versions
    /// put them in front: those are written anew.
    pub(super) fn refuses_exactly(&self, wanted: &[Value], responder: Option<&Responder>) -> bool {
        let own = self.own();
        let last = own.iter().copied().eq(self.rules.len() - own.len()..self.rules.len());
        let rules = || own.iter().filter_map(|place| self.rules.get(*place));
        let matches: Vec<Value> = rules().flat_map(Rule::all_matches).collect();
        let leads = |rule: &Rule| {
            responder.is_none_or(|r| matches!(rule.backend_refs.as_slice(), [only] if only.is_responder(r)))
        };
        last && matches == wanted && rules().all(leads)
    }

    /// The operations of a JSON patch that take away the rules that are Bascule's, and put these behind the others.
    pub(super) fn replace_own(&self, rules: Vec<Value>) -> Vec<Value> {
        // The last one first: taking one away moves those behind it.
        let gone = self.own().into_iter().rev();
        let mut all: Vec<Value> =
            gone.map(|place| json!({ "op": "remove", "path": format!("/spec/rules/{place}") })).collect();
        all.extend(
            rules.into_iter().map(|rule| json!({ "op": "add", "path": "/spec/rules/-", "value": rule })),
        );
        all
    }
}

/// The rules that refuse what is matched.
pub(super) fn rules(
    wanted: &[Value],
    refuse: &RefuseWrites,
    responder: &Responder,
    policy: &PolicyKey,
) -> Vec<Value> {
    let rule = |(i, matches): (usize, &[Value])| {
        let name = if i == 0 { RULE.to_owned() } else { format!("{RULE}-{}", i + 1) };
        let headers = json!([
            { "name": POLICY_HEADER, "value": policy.to_string() },
            { "name": RETRY_HEADER, "value": refuse.retry_after.as_secs().to_string() },
        ]);
        json!({
            "name": name,
            "matches": matches,
            // Whatever the client says of itself is overwritten.
            "filters": [{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": headers } }],
            "backendRefs": [{
                "group": "", "kind": "Service", "namespace": responder.namespace, "name": responder.service,
                "port": responder.port, "weight": 1,
            }],
        })
    };
    wanted.chunks(MOST_MATCHES).enumerate().map(rule).collect()
}

/// The writing method that a match asks for itself.
fn own_method(matched: &Value) -> Option<&str> {
    matched.get("method").and_then(Value::as_str).filter(|method| WRITING.contains(method))
}

/// The same match with each writing method; none if it asks for a method itself.
fn writing(matched: &Value) -> Vec<Value> {
    let of = |method: &str| {
        let mut matched: Map<String, Value> = matched.as_object().cloned().unwrap_or_default();
        matched.insert("method".to_owned(), json!(method));
        Value::Object(matched)
    };
    if matched.get("method").is_some() { Vec::new() } else { WRITING.into_iter().map(of).collect() }
}

/// The kind of path that is matched, and the path.
fn path(matched: &Value) -> (&str, &str) {
    let of = |field: &str| matched.get("path").and_then(|path| path.get(field)).and_then(Value::as_str);
    (of("type").unwrap_or("PathPrefix"), of("value").unwrap_or("/"))
}

/// How specific a match is beside its path: more is more.
fn weight(matched: &Value) -> (bool, usize, usize) {
    let many = |field: &str| matched.get(field).and_then(Value::as_array).map_or(0, Vec::len);
    (matched.get("method").is_some(), many("headers"), many("queryParams"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use bascule_core::name::SiteName;
    use bascule_core::policy::{Backend, HttpRoute};

    use super::*;

    fn policy(except: &[&str]) -> HttpRoute {
        let backend = |name: &str| {
            let service = format!("web-{name}");
            let site = SiteName::try_from(name).unwrap();
            (site, Backend { service: service.as_str().try_into().unwrap(), port: 80 })
        };
        HttpRoute {
            name: "web".try_into().unwrap(),
            rules: BTreeSet::new(),
            backends: [backend("paris"), backend("lyon")].into(),
            refuse_writes: Some(RefuseWrites {
                retry_after: Duration::from_secs(30),
                except_rules: except.iter().map(|name| (*name).to_owned()).collect(),
            }),
        }
    }

    fn route(rules: &[Value]) -> Route {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7" },
            "spec": { "rules": rules }
        });
        Route::read(serde_json::from_value(object).unwrap()).unwrap()
    }

    /// A rule of the policy's own with these matches.
    fn ours(name: &str, matches: &[Value]) -> Value {
        json!({ "name": name, "matches": matches, "backendRefs": [
            { "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 80, "weight": 0 } ] })
    }

    /// A rule that leads elsewhere.
    fn theirs(name: &str, matches: &[Value]) -> Value {
        json!({ "name": name, "matches": matches, "backendRefs": [{ "name": "pictures", "port": 80 }] })
    }

    fn prefix(path: &str) -> Value {
        json!({ "path": { "type": "PathPrefix", "value": path } })
    }

    fn with(mut matched: Value, field: &str, value: Value) -> Value {
        matched[field] = value;
        matched
    }

    fn without_method(mut matched: Value) -> Value {
        matched.as_object_mut().unwrap().remove("method");
        matched
    }

    fn refusable(rules: &[Value], except: &[&str]) -> Result<Vec<Value>, String> {
        let (route, policy) = (route(rules), policy(except));
        let weighed = route.weighed(&policy).unwrap();
        route.refusable(policy.refuse_writes.as_ref().unwrap(), &weighed)
    }

    fn responder() -> Responder {
        Responder { namespace: "bascule".to_owned(), service: "responder".to_owned(), port: 80 }
    }

    fn made(wanted: &[Value]) -> Vec<Value> {
        let policy_key = PolicyKey::new("shop", "orders").unwrap();
        rules(wanted, policy(&[]).refuse_writes.as_ref().unwrap(), &responder(), &policy_key)
    }

    #[test]
    fn every_match_of_a_weighed_rule_is_repeated_with_each_writing_method_and_keeps_all_else() {
        let api = with(prefix("/api"), "headers", json!([{ "name": "v", "value": "2", "type": "Exact" }]));
        let found = refusable(&[ours("pages", &[prefix("/"), api.clone()])], &[]).unwrap();
        let wanted: Vec<Value> = [prefix("/"), api]
            .into_iter()
            .flat_map(|m| WRITING.map(|method| with(m.clone(), "method", json!(method))))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_rule_without_matches_is_one_for_every_path() {
        let mut rule = ours("pages", &[]);
        rule.as_object_mut().unwrap().remove("matches");
        let found = refusable(&[rule], &[]).unwrap();
        assert_eq!(found, WRITING.map(|method| with(prefix("/"), "method", json!(method))));
    }

    #[test]
    fn a_rule_that_matches_a_writing_method_itself_cannot_be_refused_from_behind() {
        let post = with(prefix("/cart"), "method", json!("POST"));
        let get = with(prefix("/list"), "method", json!("GET"));
        let forms = || ours("forms", &[get.clone(), post.clone()]);
        let pages = || ours("pages", &[prefix("/")]);
        let why = refusable(&[pages(), forms()], &[]).unwrap_err();
        assert!(why.contains("the rule forms matches the method POST itself") && why.contains("exceptRules"));
        // What it is told to do.
        assert_eq!(refusable(&[pages(), forms()], &["forms"]).unwrap(), writing(&prefix("/")));
        let without = ours("forms", &[get.clone(), prefix("/cart")]);
        assert_eq!(refusable(&[without], &[]).unwrap(), writing(&prefix("/cart")));
        let why = refusable(&[ours("pages", &[get])], &[]).unwrap_err();
        assert!(why.contains("no rule lets a writing method pass"), "{why}");
        let mut nameless = ours("forms", &[post]);
        nameless.as_object_mut().unwrap().remove("name");
        let why = refusable(&[pages(), nameless], &[]).unwrap_err();
        assert!(why.contains("the rule number 2 matches the method POST"), "{why}");
    }

    #[test]
    fn rules_that_lead_elsewhere_and_rules_that_are_excepted_keep_their_writes() {
        let all = [
            theirs("pictures", &[prefix("/pictures")]),
            ours("search", &[prefix("/search")]),
            ours("pages", &[prefix("/")]),
        ];
        let found = refusable(&all, &["search"]).unwrap();
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|m| path(m) == ("PathPrefix", "/")), "{found:?}");
        let why = refusable(&all, &["serach"]).unwrap_err();
        assert!(why.contains("exceptRules names serach"), "{why}");
    }

    #[test]
    fn a_rule_whose_writes_would_be_taken_stands_in_the_way_and_one_that_keeps_them_does_not() {
        let header = |m: Value| with(m, "headers", json!([{ "name": "canary", "value": "1" }]));
        let post = |m: Value| with(m, "method", json!("POST"));
        let pages = || ours("pages", &[prefix("/")]);
        // By its header it gets the request now, and a method counts more.
        let why = refusable(&[pages(), theirs("canary", &[header(prefix("/"))])], &[]).unwrap_err();
        assert!(why.contains("writes of the rule canary") && why.contains("the same path /"), "{why}");
        for harmless in [
            // It matches the method itself, and stands before what would be put behind.
            theirs("forms", &[post(prefix("/"))]),
            // More specific by method and header: it gets the request then, too.
            theirs("forms", &[post(header(prefix("/")))]),
            theirs("pictures", &[prefix("/pictures")]),
            theirs("exact", &[json!({ "path": { "type": "Exact", "value": "/" } })]),
            theirs("reads", &[with(header(prefix("/")), "method", json!("GET"))]),
            // It never gets one: the other stands before it.
            theirs("idle", &[prefix("/")]),
        ] {
            assert!(refusable(&[pages(), harmless.clone()], &[]).is_ok(), "{harmless}");
        }
        let before = refusable(&[theirs("front", &[prefix("/")]), pages()], &[]);
        assert!(before.unwrap_err().contains("writes of the rule front"));
    }

    #[test]
    fn a_route_that_would_become_too_large_is_left_as_it_is() {
        let paths = |n: usize| (0..n).map(|i| prefix(&format!("/{i}"))).collect::<Vec<_>>();
        assert_eq!(refusable(&[ours("pages", &paths(25))], &[]).map(|all| all.len()), Ok(100));
        let why = refusable(&[ours("pages", &paths(26))], &[]).unwrap_err();
        assert!(why.contains("26 matches and needs 104 more") && why.contains("128"), "{why}");
        let many: Vec<Value> = (0..16).map(|i| ours(&format!("r{i}"), &[prefix(&format!("/{i}"))])).collect();
        assert_eq!(refusable(&many[..15], &[]).map(|all| all.len()), Ok(60));
        let why = refusable(&many, &[]).unwrap_err();
        assert!(why.contains("16 rules and needs 1 more"), "{why}");
    }

    #[test]
    fn more_matches_than_a_rule_may_have_make_a_second_rule() {
        let all: Vec<Value> =
            (0..70).map(|i| with(prefix(&format!("/{i}")), "method", json!("PUT"))).collect();
        let made = made(&all);
        let sizes: Vec<(&str, usize)> = made
            .iter()
            .map(|r| (r["name"].as_str().unwrap(), r["matches"].as_array().unwrap().len()))
            .collect();
        assert_eq!(sizes, [("bascule-refuses-writes", 64), ("bascule-refuses-writes-2", 6)]);
    }

    #[test]
    fn what_was_put_behind_is_found_again_and_taken_away_the_last_one_first() {
        let pages = ours("pages", &[prefix("/")]);
        let wanted = refusable(std::slice::from_ref(&pages), &[]).unwrap();
        let mut all = vec![pages.clone()];
        all.extend(made(&wanted));
        let there = route(&all);
        assert_eq!(there.own(), [1]);
        assert!(there.refuses_exactly(&wanted, Some(&responder())));
        // With them behind the policy's rules and what is wanted of them are the same, and stand where they stood.
        assert_eq!(refusable(&all, &[]).unwrap(), wanted);
        assert_eq!(there.weighed(&policy(&[])).unwrap()[0].rule, 0);

        let elsewhere = Responder { port: 8081, ..responder() };
        assert!(!there.refuses_exactly(&wanted, Some(&elsewhere)), "it leads to another port");
        assert!(!there.refuses_exactly(&wanted[..3], Some(&responder())), "it refuses more");
        all.rotate_left(1);
        let left = route(&all);
        assert_eq!(left.own(), [0], "as an earlier version has left it");
        assert!(!left.refuses_exactly(&wanted, Some(&responder())), "it does not stand last");
        assert_eq!(refusable(&all, &[]).unwrap(), wanted);

        let twice = route(&[made(&wanted)[0].clone(), pages.clone(), made(&wanted)[0].clone()]);
        assert!(!twice.refuses_exactly(&wanted, Some(&responder())), "it stands there twice");
        let paths: Vec<Value> = twice.replace_own(vec![pages]).iter().map(|op| op["path"].clone()).collect();
        assert_eq!(paths, ["/spec/rules/2", "/spec/rules/0", "/spec/rules/-"]);
    }

    #[test]
    fn every_kind_of_match_without_a_method_has_a_copy_behind_it_that_is_more_specific() {
        let query = json!([{ "name": "q", "value": "1" }, { "name": "r", "value": "2" }]);
        let header = json!([{ "name": "v", "value": "[0-9]+", "type": "RegularExpression" }]);
        for path in [
            json!({}),
            prefix("/cart"),
            json!({ "path": { "type": "Exact", "value": "/cart" } }),
            json!({ "path": { "type": "RegularExpression", "value": "/cart/[0-9]+" } }),
        ] {
            for (headers, params) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut matched = path.clone();
                if headers {
                    matched["headers"] = header.clone();
                }
                if params {
                    matched["queryParams"] = query.clone();
                }
                let found = refusable(&[ours("pages", std::slice::from_ref(&matched))], &[]).unwrap();
                assert_eq!(found.len(), WRITING.len());
                for copy in found {
                    assert_eq!(super::path(&copy), super::path(&matched));
                    assert!(weight(&copy) > weight(&matched), "{copy} does not win over {matched}");
                    assert_eq!(without_method(copy), matched);
                }
            }
        }
    }

    #[test]
    fn a_rule_is_bascules_by_what_it_tells_the_responder_and_not_by_its_name() {
        let pages = ours("pages", &[prefix("/")]);
        let wanted = refusable(std::slice::from_ref(&pages), &[]).unwrap();
        // Older definitions drop the name.
        let mut nameless = made(&wanted).remove(0);
        nameless.as_object_mut().unwrap().remove("name");
        let there = route(&[pages.clone(), nameless]);
        assert_eq!(there.own(), [1]);
        assert!(there.refuses_exactly(&wanted, Some(&responder())));

        for taken in [RULE, "bascule-refuses-writes-2", "bascule-refuses-writes-14"] {
            let all = [pages.clone(), theirs(taken, &[prefix("/pictures")])];
            assert!(route(&all).own().is_empty());
            let why = refusable(&all, &[]).unwrap_err();
            assert!(why.contains(taken) && why.contains("give it another name"), "{why}");
        }
        for other in ["bascule-refuses-writes-x", "my-bascule-refuses-writes"] {
            assert!(
                refusable(&[pages.clone(), theirs(other, &[prefix("/pictures")])], &[]).is_ok(),
                "{other}"
            );
        }
    }
}
