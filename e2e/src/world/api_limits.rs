//! An API server that refuses its site's operator with 429 (too many requests): a priority level without a seat.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::OPERATOR_USER;
use super::{Place, World};
use crate::command::{SHORT, finish};
use crate::waiting::until;

/// How long an API server may take until a new level is in force.
const IN_FORCE: Duration = Duration::from_secs(30);
/// How long until it is in force no more.
const TAKEN_BACK: Duration = Duration::from_mins(2);
/// Name of the level, and of what leads to it.
const REFUSED: &str = "bascule-refused";

impl World {
    /// From now on a site's API server refuses every new request of the site's operator; returns when it does. Watches
    /// that are open stay so.
    pub async fn refuse_operator(&self, site: Place) -> Result<()> {
        let yaml = format!(
            "apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {{ name: {REFUSED} }}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 0
    lendablePercent: 0
    borrowingLimitPercent: 0
    limitResponse: {{ type: Reject }}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{ name: {REFUSED} }}
spec:
  matchingPrecedence: 2
  priorityLevelConfiguration: {{ name: {REFUSED} }}
  rules:
    - subjects: [{{ kind: User, user: {{ name: {OPERATOR_USER} }} }}]
      resourceRules:
        - {{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true }}
      nonResourceRules: [{{ verbs: ['*'], nonResourceURLs: ['*'] }}]
"
        );
        self.apply(site, &yaml)?;
        until(&format!("the API server of {site} to refuse its operator"), IN_FORCE, || async {
            let code = self.operator_is_answered(site)?;
            ensure!(code == "429", "it answers {code}");
            Ok(())
        })
        .await
    }

    /// It takes the operator's requests again; returns when it does. Nothing to take back is no error.
    pub async fn accept_operator(&self, site: Place) -> Result<()> {
        let objects = format!("flowschemas/{REFUSED}");
        let level = format!("prioritylevelconfigurations/{REFUSED}");
        let args = ["delete", &objects, &level, "--ignore-not-found", "--request-timeout=5s"];
        self.kubectl(site, &args)?;
        until(&format!("the API server of {site} to take its operator's requests"), TAKEN_BACK, || async {
            let code = self.operator_is_answered(site)?;
            ensure!(code != "429" && code != "000", "it answers {code}");
            Ok(())
        })
        .await
    }

    /// What the site's API server answers to one request of its operator's, as a number.
    fn operator_is_answered(&self, site: Place) -> Result<String> {
        let mut ask = Command::new("curl");
        ask.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3", "--cacert"])
            .arg(self.pki().ca())
            .args(["-H", &format!("Authorization: Bearer {OPERATOR_USER}-token")])
            .arg(format!("{}/api/v1/namespaces/default", site.api()));
        finish(ask, None, SHORT)
    }
}
