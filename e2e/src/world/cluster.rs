//! A real one-node Kubernetes cluster: its configuration files, and its parts in the order of their start.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;

use super::control;
use super::parts::{Group, Part};
use super::pki::Pki;
use super::place::{CLUSTER_DNS, GIT_PORT, HOST_ADDRESS, Place};
use super::run_folder::RunFolder;
use crate::tools::Tools;
use crate::waiting::until;

/// How long an API server may take to answer for the first time. Two cores may be busy with much else.
const API_READY: Duration = Duration::from_secs(90);
/// How long a node may take from then on.
const NODE_READY: Duration = Duration::from_secs(90);

/// Users of a site's API server, with the token that each shows: `<name>-token`.
const USERS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", "system:masters"),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("kubelet", "system:node:", "system:nodes"),
    ("bascule", OPERATOR_USER, "bascule:operators"),
];

/// The user that a site's operator is as a process.
pub(super) const OPERATOR_USER: &str = "bascule";
/// Gives the operator every right, not by the group of those whom no API server ever refuses.
pub(super) const OPERATOR_RIGHTS: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: bascule-operators }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'bascule:operators' }]
";

/// One site's cluster.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Where it stands.
    pub site: Place,
    /// The run it belongs to.
    pub run: &'a RunFolder,
    /// The programs it is made of.
    pub tools: &'a Tools,
}

impl Cluster<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.run.place(self.site).join(name)
    }

    /// Writes every file that the parts read. Done once per run: a boot after a power loss finds them on disk.
    pub fn write_files(&self, pki: &Pki) -> Result<()> {
        let (site, number) = (self.site, self.site.number());
        for folder in ["cni", "etcd", "root/var/lib/kubelet", "root/var/lib/containerd", "root/var/lib/cni"] {
            fs::create_dir_all(self.file(folder))?;
        }
        let names = [
            site.address().to_string(),
            format!("10.96.{number}.1"),
            "127.0.0.1".to_owned(),
            "localhost".to_owned(),
            site.name().to_owned(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            "kubernetes.default.svc.cluster.local".to_owned(),
        ];
        pki.issue(&format!("api-{site}"), &names)?;
        pki.issue(&format!("kubelet-{site}"), &[site.address().to_string(), site.name().to_owned()])?;
        let tokens_key = KeyPair::generate()?;
        fs::write(self.file("sa.key"), tokens_key.serialize_pem())?;
        fs::write(self.file("sa.pub"), tokens_key.public_key_pem())?;
        let mut tokens = String::new();
        for (id, (short, user, group)) in USERS.iter().enumerate() {
            let user = if user.ends_with(':') { format!("{user}{site}") } else { (*user).to_owned() };
            tokens += &format!("{short}-token,{user},{id},{group}\n");
            fs::write(self.run.kubeconfig(site, short), self.kubeconfig(pki, short))?;
        }
        fs::write(self.file("tokens.csv"), tokens)?;
        fs::write(self.file("empty-resolv.conf"), "")?;
        fs::write(
            self.file("resolv.conf"),
            format!(
                "nameserver {CLUSTER_DNS}\nsearch svc.cluster.local cluster.local\n\
                 options ndots:5 timeout:1 attempts:2\n"
            ),
        )?;
        fs::write(self.file("containerd.toml"), self.containerd())?;
        fs::write(self.file("cni/10-pods.conflist"), self.cni())?;
        fs::write(self.file("kubelet.yaml"), self.kubelet(pki))?;
        fs::write(self.file("kube-proxy.yaml"), self.kube_proxy())?;
        fs::write(self.file("Corefile"), self.corefile())?;
        Ok(())
    }

    fn kubeconfig(&self, pki: &Pki, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: {site}, cluster: {{server: '{api}', certificate-authority: '{ca}'}}}}]\n\
             users: [{{name: {user}, user: {{token: {user}-token}}}}]\n\
             contexts: [{{name: {site}, context: {{cluster: {site}, user: {user}}}}}]\n\
             current-context: {site}\n",
            site = self.site,
            api = self.site.api(),
            ca = pki.ca().display(),
        )
    }

    fn containerd(&self) -> String {
        // restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower the score and fails with an EOF.
        format!(
            r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
            pause = crate::image::PAUSE,
            cni = self.file("cni").display(),
        )
    }

    fn cni(&self) -> String {
        format!(
            r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{"type": "bridge", "bridge": "cni0", "isGateway": true,
  "hairpinMode": true, "ipMasq": false, "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{}"}}]],
  "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#,
            self.site.pods()
        )
    }

    fn kubelet(&self, pki: &Pki) -> String {
        let identity = pki.identity(&format!("kubelet-{}", self.site));
        // Images are imported and there is no registry to get them back from: image collection must never run. The
        // back-off counts crashes over ten minutes: one scenario would wait for those of the scenarios before it.
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
tlsCertFile: '{cert}'
tlsPrivateKeyFile: '{key}'
clusterDomain: cluster.local
clusterDNS: [{CLUSTER_DNS}]
resolvConf: '{resolv}'
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 4s
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
volumePluginDir: /var/lib/kubelet/volumeplugins
featureGates: {{KubeletCrashLoopBackOffMax: true}}
crashLoopBackOff: {{maxContainerRestartPeriod: 2s}}
",
            cgroup = self.site.link(),
            cert = identity.cert.display(),
            key = identity.key.display(),
            resolv = self.file("empty-resolv.conf").display(),
        )
    }

    fn kube_proxy(&self) -> String {
        // Zeros leave the host's conntrack settings alone.
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: '{}'}}
hostnameOverride: {}
clusterCIDR: {}
nftables: {{minSyncPeriod: 20ms}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
            self.run.kubeconfig(self.site, "proxy").display(),
            self.site,
            self.site.pods(),
        )
    }

    fn corefile(&self) -> String {
        // Names of the published zone come from the site's own DNS server, as they would from any resolver.
        format!(
            "cluster.local in-addr.arpa {{
  bind {CLUSTER_DNS}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {}
    ttl 1
  }}
}}
{zone} {{
  bind {CLUSTER_DNS}
  forward . {}
}}
bascule.test {{
  bind {CLUSTER_DNS}
  hosts {{
    {HOST_ADDRESS} git.bascule.test
  }}
}}
# git.bascule.test serves on port {GIT_PORT}.
",
            self.run.kubeconfig(self.site, "admin").display(),
            self.site.address(),
            zone = super::dns::ZONE.trim_end_matches('.'),
        )
    }

    /// Starts etcd, containerd and the API server.
    pub fn start_control_plane(&self, pki: &Pki) -> Result<()> {
        let (run, site, tools) = (self.run, self.site, self.tools);
        // Its loss would only cost a demo; every write waiting for the disk would cost each step of it.
        Part::new(Group::ControlPlane, "etcd", tools.server("etcd"))
            .flag("name", "kubernetes")
            .file("data-dir", self.file("etcd"))
            .arg("--unsafe-no-fsync")
            .flag("listen-client-urls", "http://127.0.0.1:2379")
            .flag("advertise-client-urls", "http://127.0.0.1:2379")
            .flag("listen-peer-urls", "http://127.0.0.1:2380")
            .start(run, site)?;
        Part::new(Group::Node, "containerd", "containerd")
            .arg("-c")
            .arg(self.file("containerd.toml").display().to_string())
            .start(run, site)?;
        self.start_api_server(pki)
    }

    /// Starts the API server; its etcd runs.
    pub fn start_api_server(&self, pki: &Pki) -> Result<()> {
        let (run, site, tools) = (self.run, self.site, self.tools);
        let identity = pki.identity(&format!("api-{site}"));
        Part::new(Group::ControlPlane, "apiserver", tools.server("kube-apiserver"))
            .flag("etcd-servers", "http://127.0.0.1:2379")
            .flag("advertise-address", site.address())
            .flag("kubelet-preferred-address-types", "InternalIP")
            .file("tls-cert-file", &identity.cert)
            .file("tls-private-key-file", &identity.key)
            .arg("--allow-privileged")
            .file("service-account-key-file", self.file("sa.pub"))
            .file("service-account-signing-key-file", self.file("sa.key"))
            .flag("service-account-issuer", "https://kubernetes.default.svc")
            .file("token-auth-file", self.file("tokens.csv"))
            .flag("authorization-mode", "Node,RBAC")
            .flag("anonymous-auth", true)
            .flag("service-cluster-ip-range", site.services())
            .flag("profiling", false)
            .start(run, site)
    }

    /// Returns when the API server answers.
    pub async fn api_ready(&self) -> Result<()> {
        let client = self.client().await?;
        until(&format!("the API server of {}", self.site), API_READY, || async {
            control::ensure_runs(self.run, self.site, "apiserver")?;
            let ask = http::Request::get("/readyz").body(Vec::new())?;
            let answer = client.request_text(ask).await.context("not ready")?;
            ensure!(answer.trim() == "ok", "it says `{answer}`");
            Ok(())
        })
        .await
    }

    /// Starts what needs a ready API server.
    pub fn start_node(&self, pki: &Pki) -> Result<()> {
        let (run, site, tools) = (self.run, self.site, self.tools);
        Part::new(Group::ControlPlane, "controller-manager", tools.server("kube-controller-manager"))
            .file("kubeconfig", run.kubeconfig(site, "controller-manager"))
            .file("service-account-private-key-file", self.file("sa.key"))
            .file("root-ca-file", pki.ca())
            .flag("use-service-account-credentials", false)
            .flag("leader-elect", false)
            .flag("bind-address", "127.0.0.1")
            .flag("node-monitor-grace-period", "20s")
            .flag("profiling", false)
            .start(run, site)?;
        Part::new(Group::ControlPlane, "scheduler", tools.server("kube-scheduler"))
            .file("kubeconfig", run.kubeconfig(site, "scheduler"))
            .flag("leader-elect", false)
            .flag("bind-address", "127.0.0.1")
            .flag("profiling", false)
            .start(run, site)?;
        self.start_kubelet()?;
        Part::new(Group::Node, "kube-proxy", tools.server("kube-proxy"))
            .file("config", self.file("kube-proxy.yaml"))
            .start(run, site)?;
        Part::new(Group::Node, "coredns", tools.coredns())
            .arg("-conf")
            .arg(self.file("Corefile").display().to_string())
            .start(run, site)
    }

    /// Starts the kubelet; the rest of the node runs.
    pub fn start_kubelet(&self) -> Result<()> {
        let (run, site) = (self.run, self.site);
        Part::new(Group::Node, "kubelet", self.tools.server("kubelet"))
            .file("config", self.file("kubelet.yaml"))
            .file("kubeconfig", run.kubeconfig(site, "kubelet"))
            .flag("hostname-override", site)
            .flag("node-ip", site.address())
            .start(run, site)
    }

    /// Returns when the node takes pods: the kubelet of *this* boot answers (a node's Ready outlives a power loss),
    /// the node is Ready and the default service account exists.
    pub async fn node_ready(&self) -> Result<()> {
        use k8s_openapi::api::core::v1::{Node, ServiceAccount};
        use kube::Api;
        let client = self.client().await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        until(&format!("the node of {}", self.site), NODE_READY, || async {
            control::ensure_runs(self.run, self.site, "kubelet")?;
            let kubelet = std::net::SocketAddr::from((self.site.address(), 10250));
            tokio::net::TcpStream::connect(kubelet).await.context("its kubelet does not listen")?;
            let node = nodes.get(self.site.name()).await?;
            let ready = node
                .status
                .and_then(|s| s.conditions)
                .unwrap_or_default()
                .into_iter()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            ensure!(ready, "the node is not Ready");
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    /// A client of the site's API server, as its administrator.
    pub async fn client(&self) -> Result<kube::Client> {
        let file = self.run.kubeconfig(self.site, "admin");
        let config = kube::config::Kubeconfig::read_from(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let mut config =
            kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default())
                .await
                .context("cannot use the site's kubeconfig")?;
        config.connect_timeout = Some(Duration::from_secs(2));
        config.read_timeout = Some(Duration::from_secs(10));
        Ok(kube::Client::try_from(config)?)
    }
}
