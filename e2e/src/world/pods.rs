//! Pods as a scenario sees them: applied, asked, frozen, killed.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::Api;
use rustix::process::Signal;

use super::World;
use super::cgroup::Cgroups;
use super::place::Place;
use crate::command::finish;
use crate::process::Recorded;
use crate::waiting::until;

/// How long one kubectl call may take.
const KUBECTL: Duration = Duration::from_mins(1);

/// One pod, by what it was when it was looked up: a pod of the same name that replaced it is another one.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its site.
    pub site: Place,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its address; empty until it has one.
    pub ip: String,
    /// How often its containers were started again, summed.
    pub restarts: i32,
}

/// A process inside a pod.
#[derive(Clone, Debug)]
pub struct Process {
    /// Identity on the host.
    pub recorded: Recorded,
    /// Its command line, words separated by spaces.
    pub command: String,
}

impl World {
    /// `kubectl` of a site as its administrator; answers what it wrote.
    pub fn kubectl(&self, site: Place, args: &[&str]) -> Result<String> {
        finish(self.kubectl_command(site, args), None, KUBECTL)
    }

    fn kubectl_command(&self, site: Place, args: &[&str]) -> Command {
        let mut command = Command::new(self.tools().server("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig(site)).args(args);
        command
    }

    /// Applies YAML to a site (server-side).
    pub fn apply(&self, site: Place, yaml: &str) -> Result<String> {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        finish(self.kubectl_command(site, &args), Some(yaml.as_bytes()), KUBECTL)
    }

    /// Applies YAML to a site (server-side) in the name of a field manager, which takes what others own.
    pub fn apply_as(&self, site: Place, manager: &str, yaml: &str) -> Result<String> {
        let manager = format!("--field-manager={manager}");
        let args = ["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"];
        finish(self.kubectl_command(site, &args), Some(yaml.as_bytes()), KUBECTL)
    }

    /// Runs a line of shell in which `kubectl` is a site's, as its administrator.
    pub fn shell(&self, site: Place, line: &str) -> Result<String> {
        let kubectl = self.tools().server("kubectl");
        let folder = kubectl.parent().context("kubectl is in no folder")?;
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-euc", line]).env("PATH", path).env("KUBECONFIG", self.kubeconfig(site));
        finish(command, None, KUBECTL)
    }

    /// The machine under a site's pods dies: its kubelet and every pod are gone at once, and nothing starts them
    /// again. The cluster's own servers and the operator, which run elsewhere, go on.
    pub fn kill_node(&self, site: Place) -> Result<()> {
        self.kill_part(site, "kubelet")?;
        let pods = format!("{}/kubepods", site.link());
        // Containers that are on their way while the list is read are in the next one.
        loop {
            let numbers = Cgroups::detect()?.processes(&pods)?;
            let alive: Vec<_> = numbers.into_iter().filter_map(|n| Recorded::of(n).ok()).collect();
            if alive.is_empty() {
                return Ok(());
            }
            for process in alive {
                process.kill(Duration::from_secs(10))?;
            }
        }
    }

    /// Starts the machine of [`World::kill_node`] again; returns when it takes pods.
    pub async fn boot_node(&self, site: Place) -> Result<()> {
        let cluster = self.cluster(site)?;
        cluster.start_kubelet()?;
        cluster.node_ready().await
    }

    /// Looks a pod up.
    pub async fn pod(&self, site: Place, namespace: &str, name: &str) -> Result<Pod> {
        let pods: Api<KubePod> = Api::namespaced(self.kube(site).await?, namespace);
        let pod = pods.get(name).await.with_context(|| format!("pod {namespace}/{name} of {site}"))?;
        Pod::new(site, pod)
    }

    /// Pods of a label selector, for example `app=web`.
    pub async fn pods(&self, site: Place, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
        let pods: Api<KubePod> = Api::namespaced(self.kube(site).await?, namespace);
        let found = pods.list(&kube::api::ListParams::default().labels(selector)).await?;
        found.items.into_iter().map(|pod| Pod::new(site, pod)).collect()
    }

    /// Waits until a pod is Ready and answers it.
    pub async fn pod_ready(
        &self,
        site: Place,
        namespace: &str,
        name: &str,
        deadline: Duration,
    ) -> Result<Pod> {
        let pods: Api<KubePod> = Api::namespaced(self.kube(site).await?, namespace);
        until(&format!("pod {namespace}/{name} of {site}"), deadline, || async {
            let pod = pods.get(name).await?;
            let status = pod.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            ensure!(ready, "{}", why_not_ready(&status));
            Pod::new(site, pod)
        })
        .await
    }

    /// Runs a program in a pod's container and answers what it wrote.
    pub fn exec(&self, pod: &Pod, container: &str, argv: &[&str]) -> Result<String> {
        let head = ["exec", "-n", &pod.namespace, &pod.name, "-c", container, "--"];
        finish(self.kubectl_command(pod.site, &[&head, argv].concat()), None, KUBECTL)
    }

    /// What a pod's container wrote.
    pub fn pod_log(&self, pod: &Pod, container: &str) -> Result<String> {
        self.kubectl(pod.site, &["logs", "-n", &pod.namespace, &pod.name, "-c", container])
    }

    /// Stops every process of a pod in mid-air.
    pub fn freeze_pod(&self, pod: &Pod) -> Result<()> {
        Cgroups::detect()?.freeze(&pod.cgroup()?)
    }

    /// Lets them go on.
    pub fn thaw_pod(&self, pod: &Pod) -> Result<()> {
        Cgroups::detect()?.thaw(&pod.cgroup()?)
    }

    /// Every process of a pod, as the host sees them.
    pub fn processes(&self, pod: &Pod) -> Result<Vec<Process>> {
        let numbers = Cgroups::detect()?.processes(&pod.cgroup()?)?;
        // What ends while it is looked at is left out.
        Ok(numbers.into_iter().filter_map(Process::read).collect())
    }

    /// Every process in any pod of a site, found without the site's API server.
    pub fn processes_of_pods(&self, site: Place) -> Result<Vec<Process>> {
        let numbers = Cgroups::detect()?.processes(&format!("{}/kubepods", site.link()))?;
        Ok(numbers.into_iter().filter_map(Process::read).collect())
    }

    /// Stops every process in a process's container in mid-air.
    pub fn freeze_container_of(&self, process: &Process) -> Result<()> {
        Cgroups::detect()?.freeze(&process.freezer()?)
    }

    /// Lets them go on; no error when the container is gone.
    pub fn thaw_container_of(&self, process: &Process) -> Result<()> {
        match process.freezer() {
            Ok(path) => Cgroups::detect()?.thaw(&path),
            Err(_) if !process.recorded.alive() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Kills every process of a pod at once, as when its containers were shot. The kubelet will start it again.
    pub fn kill_pod(&self, pod: &Pod) -> Result<()> {
        for process in self.processes(pod)? {
            process.recorded.kill(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Kills the first process of a pod whose command line holds this text; answers its command line.
    pub fn kill_process(&self, pod: &Pod, text: &str) -> Result<String> {
        let found = self.processes(pod)?.into_iter().find(|p| p.command.contains(text));
        let found = found.with_context(|| format!("no process with `{text}` in pod {}", pod.name))?;
        ensure!(found.recorded.signal(Signal::KILL)?, "the process ended by itself meanwhile");
        Ok(found.command)
    }
}

impl Pod {
    fn new(site: Place, pod: KubePod) -> Result<Self> {
        let status = pod.status.unwrap_or_default();
        let restarts = status.container_statuses.iter().flatten().map(|c| c.restart_count).sum();
        Ok(Self {
            site,
            namespace: pod.metadata.namespace.unwrap_or_default(),
            name: pod.metadata.name.unwrap_or_default(),
            uid: pod.metadata.uid.context("a pod without UID")?,
            ip: status.pod_ip.unwrap_or_default(),
            restarts,
        })
    }

    fn cgroup(&self) -> Result<String> {
        let name = format!("pod{}", self.uid);
        Cgroups::detect()?
            .find(&format!("{}/kubepods", self.site.link()), &name)
            .with_context(|| format!("pod {} has no processes in {}", self.name, self.site))
    }
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let recorded = Recorded::of(pid).ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
        Some(Self { recorded, command })
    }

    /// The cgroup that freezes its container.
    fn freezer(&self) -> Result<String> {
        self.cgroup("freezer").context("it is in no cgroup that can be frozen")
    }

    /// Its cgroup in the hierarchy of a controller (in the only one, where there is one), as a path below the root.
    pub fn cgroup(&self, controller: &str) -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.recorded.pid)).ok()?;
        let of = |wanted: &str| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                (parts.next() == Some(wanted)).then(|| parts.next()).flatten()
            })
        };
        Some(of(controller).or_else(|| of(""))?.trim_start_matches('/').to_owned())
    }
}

fn why_not_ready(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    let waiting = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten())
        .filter_map(|c| {
            let state = c.state.as_ref()?;
            if let Some(waiting) = &state.waiting {
                return Some(format!(
                    "{}: {} {}",
                    c.name,
                    waiting.reason.as_deref().unwrap_or_default(),
                    waiting.message.as_deref().unwrap_or_default()
                ));
            }
            (!c.ready).then(|| format!("{} is not ready", c.name))
        })
        .collect::<Vec<_>>();
    if waiting.is_empty() {
        format!("phase {}", status.phase.as_deref().unwrap_or("unknown"))
    } else {
        waiting.join("; ")
    }
}
