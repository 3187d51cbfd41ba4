//! Who owns a field that Bascule must write, and what would release it.
//!
//! Server-side apply gives every field its managers. Bascule never forces a field away from another manager: it
//! reports who holds it, and the lines that a person can run or write to let it go.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::response::StatusCause;
use serde_json::{Value, json};

use super::failure::{Failure, Subject};

/// One manager of a field, as the object records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The manager's name.
    pub manager: String,
    /// `Apply` for server-side apply, `Update` for everything else.
    pub operation: String,
    /// The subresource it wrote through, for example `scale`.
    pub subresource: Option<String>,
    /// The place of its entry in `metadata.managedFields`.
    pub entry: usize,
}

/// A field that another manager owns with a different value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contention {
    /// The manager.
    pub manager: String,
    /// The subresource it wrote through, for example `scale`.
    pub subresource: Option<String>,
    /// The field, as the API server names it: `.spec.replicas`.
    pub field: String,
    /// What releases the field, line by line: what to change at the manager, then what to run here.
    pub release: Vec<String>,
}

impl fmt::Display for Contention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is owned by {:?}", self.field, self.manager)?;
        if let Some(subresource) = &self.subresource {
            write!(f, " (through the subresource {subresource})")?;
        }
        Ok(())
    }
}

/// What a dry run of a write said. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// The write would be accepted now.
    Possible,
    /// Other managers own what it would change.
    Contended {
        /// Who, which field, and what would release it.
        contentions: Vec<Contention>,
    },
    /// The API server would refuse it for another reason.
    Refused {
        /// Its own words.
        reason: String,
    },
    /// The API server could not be asked.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Rehearsal {
    pub(super) fn of<T>(result: Result<T, Failure>) -> Self {
        match result {
            Ok(_) => Self::Possible,
            Err(Failure::Contended { contentions, .. }) => Self::Contended { contentions },
            // A rehearsal that was not heard says nothing about the write, whether it was sent or not.
            Err(failure @ (Failure::Unknown { .. } | Failure::NotSent { .. })) => {
                Self::Unknown { reason: failure.to_string() }
            }
            Err(failure) => Self::Refused { reason: failure.to_string() },
        }
    }
}

/// One step of a field's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The member of this name.
    Member(&'a str),
    /// The entry of a list that has this `name`.
    Entry(&'a str),
}

/// A field by its path, the one way to write it that is never ambiguous: a ConfigMap's key may contain dots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a>(pub &'a [Part<'a>]);

impl Field<'_> {
    /// Where an entry of `managedFields` says that it owns the field: `/f:spec/f:replicas`.
    fn owned(self) -> String {
        joined(self.0.iter().flat_map(|part| match part {
            Part::Member(name) => ["/f:".to_owned(), escaped(name)],
            Part::Entry(name) => ["/k:".to_owned(), escaped(&json!({ "name": name }).to_string())],
        }))
    }

    /// As the API server writes it in a conflict: `.spec.replicas`.
    pub(super) fn dotted(self) -> String {
        joined(self.0.iter().map(|part| match part {
            Part::Member(name) => format!(".{name}"),
            Part::Entry(name) => format!("[name={name:?}]"),
        }))
    }

    /// As people write it: `spec.template.spec.containers[web]`.
    pub(super) fn words(self) -> String {
        let text = joined(self.0.iter().map(|part| match part {
            Part::Member(name) => format!(".{name}"),
            Part::Entry(name) => format!("[{name}]"),
        }));
        text.trim_start_matches('.').to_owned()
    }

    /// As a JSON pointer: `/spec/replicas`. `None`: it lies in a list, where places are not names.
    pub(super) fn pointer(self) -> Option<String> {
        let members = self.0.iter().map(|part| match part {
            Part::Member(name) => Some(format!("/{}", escaped(name))),
            Part::Entry(_) => None,
        });
        members.collect::<Option<Vec<_>>>().map(|members| members.concat())
    }

    /// As a member of `ignoreDifferences` of an Argo CD Application.
    fn ignored(self) -> String {
        if let Some(pointer) = self.pointer() {
            return format!("jsonPointers: [\"{pointer}\"]");
        }
        let query = joined(self.0.iter().map(|part| match part {
            Part::Member(name) => format!(".{name}"),
            Part::Entry(name) => format!("[] | select(.name == {name:?}) | "),
        }));
        format!("jqPathExpressions: ['{}']", query.trim_end_matches(" | "))
    }

    /// The value of an entry is let go with the entry: a name alone is nothing.
    pub(super) fn whole(self) -> Self {
        match self.0 {
            [entry @ .., Part::Member("value")] if matches!(entry.last(), Some(Part::Entry(_))) => {
                Field(entry)
            }
            _ => self,
        }
    }
}

fn joined<S: AsRef<str>>(parts: impl Iterator<Item = S>) -> String {
    parts.fold(String::new(), |text, part| text + part.as_ref())
}

fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Everyone who owns `field`.
pub(super) fn owners(entries: &[ManagedFieldsEntry], field: Field<'_>) -> Vec<Owner> {
    let owned = field.owned();
    entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| {
            entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&owned).is_some())
        })
        .map(|(place, entry)| Owner {
            manager: entry.manager.clone().unwrap_or_default(),
            operation: entry.operation.clone().unwrap_or_default(),
            subresource: entry.subresource.clone().filter(|s| !s.is_empty()),
            entry: place,
        })
        .collect()
}

/// Reads the conflicts from the API server's answer. `release` is left empty: see [`with_release`].
pub(super) fn contentions(_subject: &Subject, causes: &[StatusCause]) -> Vec<Contention> {
    causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| {
            let said = cause.message.strip_prefix("conflict with ").unwrap_or(&cause.message);
            let (manager, rest) = quoted(said).unwrap_or_else(|| (said.to_owned(), ""));
            let subresource =
                rest.trim_start().strip_prefix("with subresource ").and_then(quoted).map(|(name, _)| name);
            Contention { manager, subresource, field: cause.field.clone(), release: Vec::new() }
        })
        .collect()
}

/// The text in the quotes that `said` starts with, and what follows them.
fn quoted(said: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(said).into_iter::<String>();
    let text = values.next()?.ok()?;
    Some((text, &said[values.byte_offset()..]))
}

/// Adds the lines that would release each contended field.
pub(super) fn with_release(
    failure: Failure,
    group: &str,
    entries: &[ManagedFieldsEntry],
    field: Field<'_>,
) -> Failure {
    let Failure::Contended { subject, mut contentions } = failure else { return failure };
    for contention in &mut contentions {
        // A manager that applied an empty map (`data: {}`) owns that, and no key can be added to it.
        let above = (1..=field.0.len()).map(|n| Field(&field.0[..n]));
        let Some(field) = above.into_iter().find(|above| above.dotted() == contention.field) else {
            continue;
        };
        let owner = owners(entries, field)
            .into_iter()
            .find(|o| o.manager == contention.manager && o.subresource == contention.subresource);
        let applies = owner.as_ref().is_some_and(|owner| owner.operation == "Apply");
        let field = field.whole();
        contention.release = at_the_manager(contention, applies, group, &subject, field);
        contention.release.extend(owner.map(|owner| {
            let fields = entries.get(owner.entry).and_then(|entry| entry.fields_v1.as_ref());
            in_the_cluster(&subject, &owner, let_go(fields.map(|fields| &fields.0), field))
        }));
    }
    Failure::Contended { subject, contentions }
}

/// What must change at the manager, so that it does not take the field again. `applies`: it does so on the server's side, and
/// owns whatever it sends, changed or not.
fn at_the_manager(
    contention: &Contention,
    applies: bool,
    group: &str,
    subject: &Subject,
    field: Field<'_>,
) -> Vec<String> {
    let (kind, name, words) = (&subject.kind, &subject.name, field.words());
    let ignored = [
        format!(
            "  ignoreDifferences: [{{group: \"{group}\", kind: {kind}, name: {name}, {}}}]",
            field.ignored()
        ),
        "  syncPolicy: {syncOptions: [RespectIgnoreDifferences=true]}".to_owned(),
    ];
    // Whoever lets go of what he alone owns takes its value with him.
    let first = "before that is merged, stop its syncing; when the last line here has run, let it go on";
    match (contention.manager.as_str(), contention.subresource.as_deref()) {
        ("kustomize-controller", _) => {
            let mut lines = vec![
                format!(
                    "in git, leave {words} out of {kind} {name}: Flux owns what git has, also what spec.ignore of its Kustomization names"
                ),
                format!("{first} (flux suspend kustomization, flux resume kustomization)"),
            ];
            if ["ConfigMap", "Secret"].contains(&kind.as_str()) {
                lines.insert(1, format!("or let Flux make {kind} {name} once and then leave all of it alone, under its metadata:"));
                lines.insert(2, "  annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}".to_owned());
            }
            lines
        }
        ("helm-controller", _) => {
            let mut lines = vec![format!("leave {words} out of the chart's {kind} {name}")];
            // Nobody else's entry of a list counts as drift.
            if let Some(pointer) = field.pointer() {
                lines = vec![
                    format!("{}, and in the Flux HelmRelease, under spec:", lines.concat()),
                    format!(
                        "  driftDetection: {{ignore: [{{target: {{kind: {kind}, name: {name}}}, paths: [\"{pointer}\"]}}]}}"
                    ),
                ];
            }
            lines
        }
        (manager, _) if manager.starts_with("argocd") && applies => {
            let mut lines = vec![
                format!(
                    "in git, leave {words} out of {kind} {name}: Argo CD with ServerSideApply=true owns what git has, also what it is told to ignore"
                ),
                format!("{first} (argocd app set --sync-policy none, --sync-policy automated)"),
                format!("or, where git must have it, under metadata of {kind} {name}:"),
                "  annotations: {argocd.argoproj.io/sync-options: ServerSideApply=false}".to_owned(),
                "and in the Argo CD Application that syncs it, under spec (both are needed):".to_owned(),
            ];
            lines.extend(ignored);
            lines
        }
        (manager, _) if manager.starts_with("argocd") => {
            let mut lines =
                vec!["in the Argo CD Application that syncs it, under spec (both are needed):".to_owned()];
            lines.extend(ignored);
            lines
        }
        ("helm", _) => vec![format!("leave {words} out of the chart's {kind} {name}")],
        ("kube-controller-manager", Some("scale")) => {
            vec![format!("delete the HorizontalPodAutoscaler that targets {kind} {name}")]
        }
        (manager, None) if manager.starts_with("kubectl-client-side-apply") || manager == "kubectl" => {
            vec![format!("leave {words} out of the manifest of {kind} {name}")]
        }
        (manager, _) if manager.starts_with("kubectl") => Vec::new(),
        (manager, _) => vec![format!("leave {words} out of what {manager:?} writes to {kind} {name}")],
    }
}

/// What an entry must lose so that it owns this field no more: the field, and whatever would be left empty above it. An empty
/// map in an entry is the map itself, with everything in it. An entry that has nothing at all is gone, and where it was the only
/// one, everything belongs to `before-first-apply`: so much is left of it.
fn let_go<'a>(fields: Option<&Value>, field: Field<'a>) -> Field<'a> {
    let mut kept = field.0;
    let only = fields.is_some_and(is_single);
    while let [above @ .., _] = kept
        && above.len() > usize::from(only)
        && fields.and_then(|fields| fields.pointer(&Field(above).owned())).is_some_and(is_single)
    {
        kept = above;
    }
    Field(kept)
}

fn is_single(fields: &Value) -> bool {
    fields.as_object().is_some_and(|map| map.len() == 1)
}

/// The command that makes the manager's entry let go of just this field, and leaves the value as it is.
fn in_the_cluster(subject: &Subject, owner: &Owner, field: Field<'_>) -> String {
    let entry = format!("/metadata/managedFields/{}", owner.entry);
    let patch: Value = json!([
        { "op": "test", "path": format!("{entry}/manager"), "value": owner.manager },
        { "op": "remove", "path": format!("{entry}/fieldsV1{}", field.owned()) },
    ]);
    format!(
        "kubectl -n {} patch {} {} --type=json -p '{patch}'",
        subject.namespace.as_deref().unwrap_or_default(),
        subject.kind.to_lowercase(),
        subject.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(message: &str) -> StatusCause {
        StatusCause {
            reason: "FieldManagerConflict".to_owned(),
            message: message.to_owned(),
            field: ".spec.replicas".to_owned(),
        }
    }

    #[test]
    fn the_manager_is_read_from_every_form_that_a_conflict_takes() {
        let subject = Subject::new("Deployment", "shop", "web");
        for (said, manager, subresource) in [
            ("conflict with \"argocd-controller\"", "argocd-controller", None),
            ("conflict with \"kubectl-edit\" using apps/v1 at 2026-11-01T00:00:00Z", "kubectl-edit", None),
            (
                "conflict with \"kube-controller-manager\" with subresource \"scale\" using apps/v1",
                "kube-controller-manager",
                Some("scale"),
            ),
            ("conflict with \"a \\\"b\\\"\" using v1", "a \"b\"", None),
        ] {
            let found = contentions(&subject, &[cause(said)]);
            assert_eq!(found[0].manager, manager, "{said}");
            assert_eq!(found[0].subresource.as_deref(), subresource, "{said}");
        }
    }

    #[test]
    fn a_key_with_dots_and_slashes_keeps_its_own_pointer() {
        let field = Field(&[Part::Member("data"), Part::Member("app.conf/a~b")]);
        assert_eq!(field.pointer().as_deref(), Some("/data/app.conf~1a~0b"));
        assert_eq!(field.owned(), "/f:data/f:app.conf~1a~0b");
    }

    #[test]
    fn an_entry_of_a_list_is_named_by_its_name_everywhere() {
        let path = [
            Part::Member("spec"),
            Part::Member("containers"),
            Part::Entry("web"),
            Part::Member("env"),
            Part::Entry("READ_ONLY"),
            Part::Member("value"),
        ];
        let field = Field(&path);
        assert_eq!(field.dotted(), ".spec.containers[name=\"web\"].env[name=\"READ_ONLY\"].value");
        assert_eq!(
            field.owned(),
            "/f:spec/f:containers/k:{\"name\":\"web\"}/f:env/k:{\"name\":\"READ_ONLY\"}/f:value"
        );
        assert_eq!(field.whole().words(), "spec.containers[web].env[READ_ONLY]");
        assert_eq!(field.pointer(), None);
        assert_eq!(
            field.whole().ignored(),
            "jqPathExpressions: ['.spec.containers[] | select(.name == \"web\") | .env[] | select(.name == \"READ_ONLY\")']"
        );
    }

    #[test]
    fn letting_go_of_the_only_key_of_a_map_lets_go_of_the_map() {
        let field = Field(&[Part::Member("data"), Part::Member("READ_ONLY")]);
        let gone = |fields: Value| let_go(Some(&fields), field).owned();
        let label = json!({ "f:labels": { "f:app": {} } });
        assert_eq!(gone(json!({ "f:data": { "f:READ_ONLY": {} }, "f:metadata": label })), "/f:data");
        assert_eq!(
            gone(json!({ "f:data": { "f:READ_ONLY": {} } })),
            "/f:data/f:READ_ONLY",
            "nothing would be left"
        );
        assert_eq!(gone(json!({ "f:data": { "f:READ_ONLY": {}, "f:other": {} } })), "/f:data/f:READ_ONLY");
        assert_eq!(gone(json!({ "f:data": { ".": {}, "f:READ_ONLY": {} } })), "/f:data/f:READ_ONLY");
        assert_eq!(let_go(None, field).owned(), "/f:data/f:READ_ONLY");
        let map = json!({ "f:data": {} });
        assert_eq!(let_go(Some(&map), Field(&[Part::Member("data")])).owned(), "/f:data");
    }

    #[test]
    fn every_known_manager_is_told_its_own_lines() {
        let subject = Subject::new("Deployment", "shop", "web");
        let field = Field(&[Part::Member("spec"), Part::Member("replicas")]);
        let lines = |manager: &str, subresource: Option<&str>| {
            let contention = Contention {
                manager: manager.to_owned(),
                subresource: subresource.map(str::to_owned),
                field: field.dotted(),
                release: Vec::new(),
            };
            let ways = [false, true].into_iter();
            let all: Vec<String> = ways
                .flat_map(|applies| at_the_manager(&contention, applies, "apps", &subject, field))
                .collect();
            all.join("\n")
        };
        assert!(lines("kustomize-controller", None).contains("leave spec.replicas out of Deployment web"));
        assert!(
            !lines("kustomize-controller", None).contains("IfNotPresent"),
            "a Deployment is more than one number"
        );
        assert!(lines("helm-controller", None).contains("driftDetection"));
        assert!(lines("argocd-controller", None).contains("RespectIgnoreDifferences=true"));
        assert!(lines("argocd-application-controller", None).contains("group: \"apps\""));
        let argo = |applies| {
            let contention = Contention {
                manager: "argocd-controller".to_owned(),
                subresource: None,
                field: field.dotted(),
                release: Vec::new(),
            };
            at_the_manager(&contention, applies, "apps", &subject, field).join("\n")
        };
        assert!(
            argo(false).starts_with("in the Argo CD Application") && !argo(false).contains("ServerSideApply")
        );
        assert!(argo(true).starts_with("in git, leave spec.replicas out of Deployment web"));
        assert!(argo(true).contains("ServerSideApply=false") && argo(true).contains("jsonPointers"));
        assert!(lines("helm", None).contains("chart"));
        assert!(lines("kube-controller-manager", Some("scale")).contains("HorizontalPodAutoscaler"));
        assert!(lines("kubectl-client-side-apply", None).contains("manifest"));
        assert!(lines("kubectl-edit", None).is_empty());
        assert!(lines("some-operator", None).contains("\"some-operator\""));
    }
}
