//! Whether the volume of the operator's journal would be made.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::check::codes::NO_DEFAULT_STORAGE_CLASS;
use crate::check::live::Asked;
use crate::check::report::Report;

/// What marks the default class.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Looks whether there is a default StorageClass.
pub async fn classes(asked: &Asked, report: &mut Report) {
    let api = Api::<StorageClass>::all(asked.cluster.kube().client());
    let everything = ListParams::default();
    let what = "storageclasses.storage.k8s.io".to_owned();
    let all = match asked.ask("list", what, api.list(&everything)).await {
        Ok(all) => all.items,
        Err(why) => return report.unseen("StorageClass", "", why.to_string()),
    };
    let default = all.iter().find(|c| c.annotations().get(DEFAULT).is_some_and(|v| v == "true"));
    let Some(default) = default else {
        let names: Vec<String> = all.iter().map(kube::ResourceExt::name_any).collect();
        let found = match names.as_slice() {
            [] => "there is no StorageClass at all".to_owned(),
            names => format!("none of {} is the default", names.join(", ")),
        };
        let expected = format!("one with {DEFAULT}: \"true\", for the volume of the operator's journal");
        return report.find(
            NO_DEFAULT_STORAGE_CLASS,
            "StorageClass",
            "metadata.annotations",
            found,
            &expected,
        );
    };
    report.looked(format!("the default StorageClass {}", default.name_any()));
}
