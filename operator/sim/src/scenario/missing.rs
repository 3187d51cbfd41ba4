//! What a policy says that is not simulated: named, never left out silently.

use bascule_core::policy::{AnnotationOf, FenceClass, FlagPlace, Policy, Traffic};

/// Everything in this policy that the simulated world does not have.
pub(super) fn of(policy: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    if policy.databases.is_empty() {
        all.push(
            "clients: the policy has no database, so nothing is written and nothing can be lost".to_owned(),
        );
    } else {
        all.push(
            "readers: clients only write; that reads are served is told by the record's phase".to_owned(),
        );
    }
    let names: Vec<&str> = policy.databases.keys().map(bascule_core::name::ItemName::as_str).collect();
    if let [first, others @ ..] = names.as_slice() {
        let parts = "hosts and ports, the content of secretRef and replicationSecretRef, PostgreSQL's settings, the size of the data";
        all.push(format!("databases {}: {parts}", names.join(", ")));
        if !others.is_empty() {
            all.push(format!("writes into {}: clients write into {first}", others.join(", ")));
        }
    }
    for (name, database) in policy.databases.iter().filter(|(_, d)| d.fence != FenceClass::Guard) {
        all.push(format!("the fence {:?} of {name}: it is treated like Guard", database.fence));
    }
    for (name, workload) in &policy.workloads {
        let mut parts = vec!["room on the nodes, images".to_owned()];
        if workload.replicas.active.is_none() {
            parts.push("the number of replicas while active (2 are assumed)".to_owned());
        }
        if let Some(flag) = &workload.read_only {
            let probe = if flag.verify.is_some() { "; verify.httpGet: pods obey within 30 ms" } else { "" };
            parts.push(match &flag.place {
                FlagPlace::Key(key) => format!("the {:?} {}{probe}", key.store, key.name),
                FlagPlace::Variable(variable) => {
                    format!("how long its pods take to be replaced for the variable {}{probe}", variable.name)
                }
                FlagPlace::Calls(_) => format!("what its pods make of the calls{probe}"),
                FlagPlace::Annotation(annotation) => match annotation.of {
                    AnnotationOf::Workload => {
                        format!("who reads the annotation {}{probe}", annotation.key)
                    }
                    AnnotationOf::PodTemplate => format!(
                        "how long its pods take to be replaced for the annotation {}{probe}",
                        annotation.key
                    ),
                },
            });
        }
        all.push(format!("workload {name}: {}", parts.join("; ")));
    }
    for (name, traffic) in &policy.traffic {
        all.push(match traffic {
            Traffic::Dns(dns) => format!(
                "traffic {name}: updateServers, verifyServers and the TSIG key of {}; a primary in the third place and a secondary in each site are assumed",
                dns.zone
            ),
            Traffic::HttpRoute(route) => format!(
                "traffic {name}: the gateways that serve HTTPRoute {}, and how a site reaches the backends of another; a gateway in each site that obeys at once{} is assumed",
                route.name,
                if route.refuse_writes.is_some() { ", with a responder for the writes that it refuses," } else { "" }
            ),
        });
    }
    if policy.suspend {
        all.push("suspend: how the policy came to be suspended".to_owned());
    }
    all
}
