//! What a member on a machine of its own gets: etcd's configuration, a systemd unit, and the ten lines that install both.

use super::certificates::Member;
use super::cluster::yaml;
use super::description::{Described, Description};
use super::folder::File;
use super::settings;

/// Where its certificates and its configuration lie.
const ETC: &str = "/etc/bascule-arbiter";
/// Where its store lies.
const DATA: &str = "/var/lib/bascule-arbiter/data";
/// The release of etcd that the ten lines fetch; what it must be at least: `docs/arbiter.md`.
pub const ETCD: &str = "v3.6.16";

/// All files of the member.
pub fn files(about: &Description, member: &Described, certificates: &Member) -> anyhow::Result<Vec<File>> {
    let folder = format!("members/{}", member.name);
    let mut files = certificates.files(&folder);
    files.extend(certificates.maintenance.files(&format!("{folder}/maintenance")));
    let head = format!(
        "# The member {} of Bascule's arbiter, for `etcd --config-file`; made by `bascule arbiter init`.\n",
        member.name
    );
    let text = head + &yaml(&settings::of(about, member, ETC, DATA))?;
    files.push(File::open(format!("{folder}/etcd.yaml"), text));
    files.push(File::open(format!("{folder}/bascule-arbiter.service"), UNIT));
    files.push(File::open(format!("{folder}/install.txt"), install(about, member)));
    Ok(files)
}

const UNIT: &str = "\
# A member of Bascule's arbiter; made by `bascule arbiter init`.
[Unit]
Description=A member of Bascule's arbiter (etcd)
Wants=network-online.target
After=network-online.target
# It is started again for ever: while the others are away it has nothing better to do.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/local/bin/etcd --config-file /etc/bascule-arbiter/etcd.yaml
Restart=always
RestartSec=2
User=bascule-arbiter
Group=bascule-arbiter
StateDirectory=bascule-arbiter
StateDirectoryMode=0700
Environment=GOMEMLIMIT=96MiB
LimitNOFILE=65536
# When memory runs out, something else ends first.
OOMScoreAdjust=-900
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
";

fn install(about: &Description, member: &Described) -> String {
    let others: Vec<&str> =
        about.members.iter().filter(|m| m.name != member.name).map(|m| m.host.as_str()).collect();
    let (host, client, peer) = (&member.host, member.client_port(), member.peer_port());
    let login = if host.contains(':') { format!("root@[{host}]") } else { format!("root@{host}") };
    format!(
        "\
# The member {name} on {host}. Run the first line where this folder is, the others as root on {host} (amd64; for arm64 put
# that word in its place). Members {others} and all sites must reach the TCP ports {client} and {peer}.
scp -r . {login}:bascule-arbiter
curl -fLO https://github.com/etcd-io/etcd/releases/download/{ETCD}/etcd-{ETCD}-linux-amd64.tar.gz
curl -fL https://github.com/etcd-io/etcd/releases/download/{ETCD}/SHA256SUMS | sha256sum -c --ignore-missing
tar -xzf etcd-{ETCD}-linux-amd64.tar.gz && install -m 0755 etcd-{ETCD}-linux-amd64/etcd* /usr/local/bin/
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin bascule-arbiter
install -d -m 0750 -g bascule-arbiter {ETC}
install -m 0640 -g bascule-arbiter bascule-arbiter/*.crt bascule-arbiter/*.key bascule-arbiter/etcd.yaml {ETC}/
install -m 0644 bascule-arbiter/bascule-arbiter.service /etc/systemd/system/
rm -r bascule-arbiter && systemctl daemon-reload && systemctl enable --now bascule-arbiter
curl -fsS {metrics}/health   # \"health\":\"true\" as soon as more than half of the members run
",
        name = member.name,
        others = others.join(", "),
        metrics = settings::METRICS,
    )
}
