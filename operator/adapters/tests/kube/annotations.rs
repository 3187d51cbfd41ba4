//! Read-only flags in annotations of a workload, and of its pods' template.

use bascule_adapters::kube::Rehearsal;
use bascule_adapters::kube::flag::{FlagValue, Position};
use bascule_adapters::kube::port::Workloads;
use bascule_adapters::kube::read_only::{observe, rehearse, set};
use bascule_adapters::kube::workload::WorkloadRef;
use bascule_core::observation::{Fact, FlagValue as Seen};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::{AnnotationOf, FlagAnnotation, FlagPlace, FlagValues, ReadOnlyFlag, WorkloadKind};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::engine_port::{web, with_flag};
use crate::place;
use crate::workloads::{applied_by, manifest};

const KEY: &str = "shop.example/read-only";

fn annotation(of: AnnotationOf, key: &str) -> FlagPlace {
    let values = FlagValues { read_only: "true".to_owned(), read_write: "false".to_owned() };
    FlagPlace::Annotation(FlagAnnotation { of, key: key.to_owned(), values })
}

async fn deployment(client: &Client, ns: &str) -> Deployment {
    Api::namespaced(client.clone(), ns).get("web").await.unwrap()
}

#[tokio::test]
async fn an_annotation_is_set_and_undone_on_the_workload_or_on_its_template_and_nothing_else_changes() {
    for (ns, of) in
        [("annotation-own", AnnotationOf::Workload), ("annotation-pods", AnnotationOf::PodTemplate)]
    {
        let (kube, client, _) = place(ns).await;
        let mut git = manifest("Deployment", ns, "web", None);
        git["metadata"]["annotations"] = json!({ "owner": "team" });
        git["spec"]["template"]["metadata"]["annotations"] = json!({ "owner": "team" });
        applied_by(&client, "team", ns, &git).await;
        let (target, flag) = (WorkloadRef::new(ns, WorkloadKind::Deployment, "web"), annotation(of, KEY));
        let before = deployment(&client, ns).await;
        for position in [Position::ReadOnly, Position::ReadWrite] {
            assert_eq!(rehearse(&kube, &target, &flag, position).await, Rehearsal::Possible);
        }
        assert_eq!(observe(&kube, &target, &flag).await.unwrap().value, FlagValue::Absent);

        for (position, value) in [(Position::ReadOnly, "true"), (Position::ReadWrite, "false")] {
            assert_eq!(set(&kube, &target, &flag, position).await, Outcome::Done);
            let seen = observe(&kube, &target, &flag).await.unwrap();
            assert_eq!(seen.value, FlagValue::At(position));
            assert!(seen.owners[0].manager.starts_with("bascule-read-only:"), "{seen:?}");
            // What git applies afterwards without it leaves it.
            applied_by(&client, "team", ns, &git).await;
            let now = deployment(&client, ns).await;
            let template = now.spec.clone().unwrap().template.metadata.unwrap().annotations.unwrap();
            let (with, without) = match of {
                AnnotationOf::Workload => (now.annotations().clone(), template),
                AnnotationOf::PodTemplate => (template, now.annotations().clone()),
            };
            assert_eq!((with[KEY].as_str(), with["owner"].as_str()), (value, "team"));
            assert!(!without.contains_key(KEY), "{without:?}");
        }
        let after = deployment(&client, ns).await;
        let replaced = after.spec.unwrap().template != before.spec.unwrap().template;
        assert_eq!(replaced, of == AnnotationOf::PodTemplate, "whether the pods are replaced");
    }
}

#[tokio::test]
async fn flags_in_annotations_leave_each_other_alone() {
    let ns = "annotation-two";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let target = WorkloadRef::new(ns, WorkloadKind::Deployment, "web");
    let flags = [
        annotation(AnnotationOf::Workload, KEY),
        annotation(AnnotationOf::Workload, "refuse"),
        annotation(AnnotationOf::PodTemplate, KEY),
        crate::environment::variable(None, "READ_ONLY"),
    ];
    for flag in &flags {
        assert_eq!(set(&kube, &target, flag, Position::ReadOnly).await, Outcome::Done);
    }
    assert_eq!(set(&kube, &target, &flags[0], Position::ReadWrite).await, Outcome::Done);
    for (flag, position) in flags.iter().zip([Position::ReadWrite].into_iter().chain([Position::ReadOnly; 3]))
    {
        let seen = observe(&kube, &target, flag).await.unwrap();
        assert_eq!(seen.value, FlagValue::At(position), "{flag:?}");
    }
}

#[tokio::test]
async fn an_annotation_that_git_owns_is_contended_until_its_line_has_run() {
    for (ns, of, words, pointer) in [
        (
            "annotation-own-git",
            AnnotationOf::Workload,
            "metadata.annotations.shop.example/read-only",
            "/metadata/annotations/shop.example~1read-only",
        ),
        (
            "annotation-pods-git",
            AnnotationOf::PodTemplate,
            "spec.template.metadata.annotations.shop.example/read-only",
            "/spec/template/metadata/annotations/shop.example~1read-only",
        ),
    ] {
        let (kube, client, server) = place(ns).await;
        let mut git = manifest("Deployment", ns, "web", None);
        let at = if of == AnnotationOf::Workload { &mut git } else { &mut git["spec"]["template"] };
        at["metadata"]["annotations"] = json!({ KEY: "false" });
        applied_by(&client, "argocd-controller", ns, &git).await;
        let (target, flag) = (WorkloadRef::new(ns, WorkloadKind::Deployment, "web"), annotation(of, KEY));
        let Rehearsal::Contended { contentions } = rehearse(&kube, &target, &flag, Position::ReadOnly).await
        else {
            panic!()
        };
        let lines = contentions[0].release.join("\n");
        assert!(lines.contains(&format!("leave {words} out of Deployment web")), "{lines}");
        assert!(lines.contains(&format!("jsonPointers: [\"{pointer}\"]")), "{lines}");
        server.shell(contentions[0].release.last().unwrap());
        assert_eq!(set(&kube, &target, &flag, Position::ReadOnly).await, Outcome::Done);
    }
}

#[tokio::test]
async fn an_annotation_of_the_template_is_in_effect_when_every_pod_has_it_and_one_of_the_workload_is_not_known()
 {
    let ns = "annotation-effect";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let site = Workloads::new(kube);
    let policy = |of| with_flag(ns, ReadOnlyFlag { place: annotation(of, KEY), verify: None });
    let pods: Api<Pod> = Api::namespaced(client, ns);
    for (name, value) in [("old", "false"), ("new", "true")] {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": "web" }, "annotations": { KEY: value } },
            "spec": { "containers": [{ "name": "c", "image": "none" }] },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
    let step = Step::SetReadOnly { workload: web(), on: true };
    let template = policy(AnnotationOf::PodTemplate);
    assert_eq!(site.perform(&template, &step).await, Some(Outcome::Done));
    let seen = site.look(&template, &web()).await;
    assert_eq!(seen.flag.value(), Some(&Seen::ReadOnly));
    let asked = seen.effective.value().unwrap();
    assert_eq!((asked.read_only, asked.pods), (1, 2));

    let own = policy(AnnotationOf::Workload);
    assert_eq!(site.perform(&own, &step).await, Some(Outcome::Done));
    let seen = site.look(&own, &web()).await;
    assert_eq!(seen.flag.value(), Some(&Seen::ReadOnly));
    assert!(matches!(&seen.effective, Fact::Unknown { reason } if reason.contains("verify")), "{seen:?}");
}
