//! Brings places up: files once per run, then power, parts, images, and the wait until all of it answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::World;
use super::arbiter::Arbiter;
use super::cluster::{Cluster, OPERATOR_RIGHTS};
use super::control;
use super::disks;
use super::network;
use super::parts::{Group, Part};
use super::pki::Pki;
use super::place::Place;
use crate::command::{finish, run};
use crate::image;
use crate::init::{Mount, PlaceConfig};
use crate::progress::seconds;
use crate::waiting::until;

/// How long containerd may take to listen.
const CONTAINERD: Duration = Duration::from_secs(30);
/// How long the images of one site may take to import.
const IMPORT: Duration = Duration::from_mins(2);
/// Folders that each site sees as its own.
const OWN_FOLDERS: [&str; 5] =
    ["/run", "/var/log", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni"];

impl World {
    /// Everything, from nothing to ready.
    pub(super) async fn bring_up(&self) -> Result<()> {
        let progress = self.progress();
        self.make_mount_points()?;
        if self.options().disks_in_memory {
            disks::put_in(self.run())?;
        }
        let pki = Pki::create(self.run().pki())?;
        Arbiter::write_certificates(&pki, self.sites())?;
        self.dns().write_files()?;
        for place in Place::ALL {
            fs::create_dir_all(self.run().place(place).join("log"))?;
        }
        for site in self.sites() {
            self.cluster(*site)?.write_files(&pki)?;
            image::copy_store(&self.images.store, &self.run().place(*site).join("root/var/lib/containerd"))?;
        }
        network::create_bridge(self.run().root())?;
        for place in Place::ALL {
            self.power_on(place)?;
        }
        progress.done("three places have power");
        let users = async {
            self.arbiter().ready(&Place::ALL).await?;
            let (run, tools, sites) = (self.run().clone(), self.tools().clone(), self.sites());
            tokio::task::spawn_blocking(move || Arbiter { run: &run, tools: &tools }.set_up_users(sites))
                .await??;
            progress.done("arbiter: three members, users set up");
            Ok(())
        };
        let git = async {
            let git = self.git();
            git.create(&pki)?;
            git.start()?;
            progress.done(&format!("git serves {}", git.url()));
            Ok(())
        };
        let dns = async {
            for place in Place::ALL {
                self.dns().ready(place).await?;
            }
            progress.done("DNS: primary and two secondaries serve the zone");
            Ok(())
        };
        let third = async {
            if self.is_site(Place::Third) {
                self.site_up(Place::Third).await?;
            }
            Ok(())
        };
        let (paris, lyon) = (self.site_up(Place::Paris), self.site_up(Place::Lyon));
        let images = async {
            for site in self.sites() {
                self.import(*site, &self.images.ours).await?;
            }
            Ok(())
        };
        tokio::try_join!(paris, lyon, third, users, dns, git, images)?;
        Ok(())
    }

    /// Power again after [`World::kill`]: boots from the place's disk; returns when everything in it answers again.
    /// Pods start on their own; whether they are ready is theirs to say.
    pub async fn boot(&self, place: Place) -> Result<()> {
        if self.powered()?.contains(&place) {
            bail!("{place} has power already");
        }
        self.power_on(place)?;
        if self.is_site(place) {
            self.site_up(place).await?;
        }
        self.dns().ready(place).await?;
        if !self.left_arbiter(place)? {
            self.arbiter().ready(place.alone()).await?;
        }
        Ok(())
    }

    /// Network, namespaces, process 1, and the parts that wait for nobody.
    fn power_on(&self, place: Place) -> Result<()> {
        let run = self.run();
        network::connect(place, self.sites())?;
        let config = self.place_config(place)?;
        let init = control::power_on(run, place, &config)?;
        run.update(|state| {
            state.places.insert(place, init);
        })?;
        if !self.left_arbiter(place)? {
            self.arbiter().start_member(place, self.options().arbiter)?;
        }
        self.dns().start(place)?;
        if self.is_site(place) {
            self.cluster(place)?.start_control_plane(&Pki::open(run.pki()))?;
        }
        Ok(())
    }

    async fn site_up(&self, site: Place) -> Result<()> {
        let progress = self.progress();
        let cluster: Cluster<'_> = self.cluster(site)?;
        cluster.api_ready().await?;
        tokio::task::block_in_place(|| self.apply(site, OPERATOR_RIGHTS))?;
        progress.done(&format!("{site}: API server ready"));
        cluster.start_node(&Pki::open(self.run().pki()))?;
        cluster.node_ready().await?;
        progress.done(&format!("{site}: node ready"));
        Ok(())
    }

    /// Imports image archives into a site's containerd.
    pub async fn import(&self, site: Place, archives: &[PathBuf]) -> Result<()> {
        if archives.is_empty() {
            return Ok(());
        }
        let begin = std::time::Instant::now();
        until(&format!("containerd of {site}"), CONTAINERD, || async {
            control::ensure_runs(self.run(), site, "containerd")?;
            let socket = self.run().place(site).join("root/run/containerd/containerd.sock");
            tokio::net::UnixStream::connect(&socket).await.context("it does not listen")
        })
        .await?;
        for archive in archives {
            let mut command = self.within(site, "ctr")?;
            command.args(["-n", "k8s.io", "images", "import"]).arg(archive);
            tokio::task::spawn_blocking(move || finish(command, None, IMPORT)).await??;
        }
        self.progress().done(&format!("{site}: images imported ({})", seconds(begin.elapsed())));
        Ok(())
    }

    fn place_config(&self, place: Place) -> Result<PlaceConfig> {
        let folder = self.run().place(place);
        let mut mounts = Vec::new();
        let own: &[&str] = if self.is_site(place) { &OWN_FOLDERS } else { &["/run", "/var/log"] };
        for target in own {
            let source = folder.join("root").join(target.trim_start_matches('/'));
            if *target == "/run" && source.exists() {
                // What a machine keeps in memory is gone after a power loss.
                fs::remove_dir_all(&source)?;
            }
            fs::create_dir_all(&source)?;
            if *target == "/run" {
                fs::create_dir(source.join("knot"))?;
            }
            mounts.push(Mount { source, target: target.into() });
        }
        if self.is_site(place) {
            // Often a link into /run, which is the site's own by then.
            let resolv = Path::new("/etc/resolv.conf");
            let target = resolv.canonicalize().unwrap_or_else(|_| resolv.to_owned());
            mounts.push(Mount { source: folder.join("resolv.conf"), target });
        }
        let sysctls = BTreeMap::from(
            [("net.ipv4.ip_forward", "1"), ("net.bridge.bridge-nf-call-iptables", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(PlaceConfig {
            hostname: place.name().to_owned(),
            netns: place.link(),
            cgroup: place.link(),
            mounts,
            sysctls,
            socket: control::socket(self.run(), place),
            log: self.run().log(place, "init"),
        })
    }

    /// Folders that have to exist on the host to be covered by a site's own.
    fn make_mount_points(&self) -> Result<()> {
        let missing: Vec<PathBuf> =
            OWN_FOLDERS.iter().map(PathBuf::from).filter(|folder| !folder.exists()).collect();
        self.run().update(|state| state.made.clone_from(&missing))?;
        for folder in missing {
            fs::create_dir_all(folder)?;
        }
        Ok(())
    }

    /// Starts a part of a place again that has ended, for example after [`World::kill_part`].
    pub fn restart_arbiter_member(&self, place: Place) -> Result<()> {
        self.arbiter().start_member(place, self.options().arbiter)
    }

    /// Whether the arbiter's member of a place runs.
    pub fn member_runs(&self, place: Place) -> Result<bool> {
        Ok(control::parts(self.run(), place)?
            .iter()
            .any(|part| part.name == "arbiter" && part.ended.is_none()))
    }

    /// Starts the DNS server of a place again that has ended.
    pub fn restart_dns_server(&self, place: Place) -> Result<()> {
        self.dns().start(place)
    }

    /// Starts the API server of a site again that has ended; returns when it answers.
    pub async fn restart_api_server(&self, site: Place) -> Result<()> {
        let cluster = self.cluster(site)?;
        cluster.start_api_server(&Pki::open(self.run().pki()))?;
        cluster.api_ready().await
    }

    /// Runs any program as a part of a place until it ends by itself or is killed.
    pub fn start_part(&self, place: Place, name: &str, argv: &[&str]) -> Result<()> {
        let (program, args) = argv.split_first().context("no program was named")?;
        Part::new(Group::Operator, name, program).args(args.iter().copied()).start(self.run(), place)
    }

    /// True when an image of ours is in a site's containerd.
    pub fn has_image(&self, site: Place, name: &str) -> Result<bool> {
        let mut command = self.within(site, "ctr")?;
        command.args(["-n", "k8s.io", "images", "ls", "-q"]);
        Ok(finish(command, None, IMPORT)?.lines().any(|line| line == name))
    }

    pub(super) fn check_machine() -> Result<()> {
        // An earlier run of another folder would hold the bridge's name and addresses.
        if let Some(owner) = network::bridge_owner() {
            bail!("a sandbox in {owner} is up; take it down first: bascule-sandbox --run {owner} down");
        }
        run("ip", ["link", "show", "lo"]).map(|_| ())
    }
}
