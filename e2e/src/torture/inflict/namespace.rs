//! An application whose namespace somebody deletes: everything in it goes but the data, and a person installs it again.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::shop::NAMESPACE;
use crate::torture::ground::Ground;
use crate::waiting::until;
use crate::world::Place;

/// How long a namespace may take to be gone: its pods have the longest of their grace periods. Nothing of Bascule's may
/// hold it up, whatever the other site does.
const GONE: Duration = Duration::from_secs(75);

pub(super) async fn deleted(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let args = ["delete", "namespace", NAMESPACE, "--wait=false", "--request-timeout=5s"];
    on.world().kubectl(at, &args)?;
    on.told().no_namespace.push(at);
    sleep(lasts).await;
    Ok(())
}

/// Once every other fault is over: the namespace ends, and everything in it is installed as at first.
pub(in crate::torture) async fn installed_again(on: &Ground<'_, '_>) -> Result<()> {
    let without = std::mem::take(&mut on.told().no_namespace);
    for at in without {
        let args = ["get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.status}"];
        until(&format!("the namespace {NAMESPACE} of {at} to be gone"), GONE, || async {
            let status = on.world().kubectl(at, &args)?;
            anyhow::ensure!(status.trim().is_empty(), "{status}");
            Ok(())
        })
        .await?;
        on.shop().install_application(at).await.with_context(|| format!("cannot install at {at}"))?;
        on.scene.note(&format!("a person installs the application at {at} again"));
    }
    Ok(())
}
