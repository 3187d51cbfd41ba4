//! Who gets which certificate.

use std::path::Path;

use anyhow::Context as _;
use bascule_adapters::arbiter::admin::{ROOT, guard_user, maintenance_user, operator_user};
use bascule_core::name::SiteName;

use super::authority::{Authority, Pair, Use, Validity};
use super::description::{Described, Description};
use super::folder::File;

/// Both authorities.
pub struct Authorities {
    /// Signs what members show to clients, and clients to members.
    pub clients: Authority,
    /// Signs what members show to each other.
    pub peers: Authority,
}

impl Authorities {
    /// Makes new ones. The token tells those of two arbiters apart.
    pub fn create(token: &str, validity: Validity) -> anyhow::Result<Self> {
        Ok(Self {
            clients: Authority::create(&format!("{token} clients"), validity)?,
            peers: Authority::create(&format!("{token} members"), validity)?,
        })
    }

    /// Those of the folder that `init` made before.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let file = folder.join("ca").join(name);
            std::fs::read_to_string(&file).with_context(|| {
                format!(
                    "{} cannot be read; expected the authorities that `bascule arbiter init` made: put them back where they were",
                    file.display()
                )
            })
        };
        let pair = |name: &str| -> anyhow::Result<Pair> {
            Ok(Pair { certificate: read(&format!("{name}.crt"))?, key: read(&format!("{name}.key"))? })
        };
        let authority = |name: &str| {
            Authority::of(pair(name)?)
                .with_context(|| format!("{}", folder.join("ca").join(format!("{name}.crt")).display()))
        };
        Ok(Self { clients: authority("clients")?, peers: authority("peers")? })
    }

    /// Their files. Nobody needs them from day to day.
    pub fn files(&self) -> Vec<File> {
        [("clients", &self.clients), ("peers", &self.peers)]
            .into_iter()
            .flat_map(|(name, authority)| {
                [
                    File::open(format!("ca/{name}.crt"), authority.pair.certificate.clone()),
                    File::secret(format!("ca/{name}.key"), authority.pair.key.clone()),
                ]
            })
            .collect()
    }

    /// A client of the arbiter, known by its common name.
    fn client(&self, user: &str, validity: Validity) -> anyhow::Result<Client> {
        let own = self.clients.issue(user, &[], Use::Client, validity)?;
        Ok(Client { ca: self.clients.pair.certificate.clone(), own })
    }
}

/// What a client of the arbiter holds.
pub struct Client {
    /// Who signs the members' certificates.
    pub ca: String,
    /// Its own.
    pub own: Pair,
}

impl Client {
    /// Its three files under the names that a Kubernetes Secret of type TLS has.
    pub fn parts(&self) -> [(&'static str, &str); 3] {
        [("ca.crt", &self.ca), ("tls.crt", &self.own.certificate), ("tls.key", &self.own.key)]
    }

    /// The same in a folder.
    pub fn files(&self, folder: &str) -> Vec<File> {
        files(folder, &self.parts())
    }
}

/// What a member holds.
pub struct Member {
    parts: [(&'static str, String); 6],
    /// For the user that backs it up and defragments it.
    pub maintenance: Client,
}

impl Member {
    /// Its files, by the names that its settings know.
    pub fn parts(&self) -> [(&'static str, &str); 6] {
        self.parts.each_ref().map(|(name, text)| (*name, text.as_str()))
    }

    /// The same in a folder.
    pub fn files(&self, folder: &str) -> Vec<File> {
        files(folder, &self.parts())
    }
}

fn files(folder: &str, parts: &[(&'static str, &str)]) -> Vec<File> {
    let file = |(name, text): &(&str, &str)| {
        let path = format!("{folder}/{name}");
        if super::folder::is_key(name) {
            File::secret(path, (*text).to_owned())
        } else {
            File::open(path, (*text).to_owned())
        }
    };
    parts.iter().map(file).collect()
}

/// Every certificate of the arbiter.
pub struct Certificates {
    /// By member, in the description's order.
    pub members: Vec<Member>,
    /// By site, in the description's order: the operator's and the guards'.
    pub sites: Vec<(Client, Client)>,
    /// The administrator's.
    pub root: Client,
}

impl Certificates {
    /// Signs all of them.
    pub fn issue(by: &Authorities, about: &Description, validity: Validity) -> anyhow::Result<Self> {
        let member = |m: &Described| member(by, m, validity);
        let site = |s: &SiteName| -> anyhow::Result<_> {
            Ok((by.client(&operator_user(s), validity)?, by.client(&guard_user(s), validity)?))
        };
        Ok(Self {
            members: about.members.iter().map(member).collect::<anyhow::Result<_>>()?,
            sites: about.sites.iter().map(site).collect::<anyhow::Result<_>>()?,
            root: by.client(ROOT, validity)?,
        })
    }
}

fn member(by: &Authorities, member: &Described, validity: Validity) -> anyhow::Result<Member> {
    // On its own machine it is asked at the loopback address.
    let mut names = vec![member.host.as_str(), "localhost", "127.0.0.1", "::1"];
    names.dedup();
    // No user has this name, so that a member's certificate is nobody's.
    let name = format!("member-{}", member.name);
    let server = by.clients.issue(&name, &names, Use::Server, validity)?;
    let peer = by.peers.issue(&name, &[&member.host], Use::Both, validity)?;
    Ok(Member {
        parts: [
            ("client-ca.crt", by.clients.pair.certificate.clone()),
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("peer-ca.crt", by.peers.pair.certificate.clone()),
            ("peer.crt", peer.certificate),
            ("peer.key", peer.key),
        ],
        maintenance: by.client(&maintenance_user(&member.name), validity)?,
    })
}
