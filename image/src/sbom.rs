//! What the program in the image is made of: a list in the format CycloneDX 1.6, from what cargo says of the build.
//!
//! Only what is linked into the program or runs while it is built is listed; what its tests need is not. The same
//! sources give the same bytes: there is no time and no random number in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// The list for `program`, a package of the workspace in `folder`, built for `target` (a triple of rustc).
pub fn list(folder: &Path, program: &str, target: &str) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo metadata ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .context("cargo metadata wrote something else than expected")?;
    let lock = folder.join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let list = build(&metadata, &checksums(&lock), program)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
}

fn build(
    metadata: &Metadata,
    checksums: &BTreeMap<(String, String), String>,
    program: &str,
) -> Result<Value> {
    let root = metadata
        .packages
        .iter()
        .find(|p| p.name == program && p.source.is_none())
        .with_context(|| format!("the workspace has no package {program}"))?;
    let nodes = metadata.resolve.as_ref().context("cargo metadata resolved no dependencies")?;
    let needs: BTreeMap<&str, Vec<&str>> =
        nodes.nodes.iter().map(|node| (node.id.as_str(), needed(node))).collect();
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut found = BTreeSet::from([root.id.as_str()]);
    let mut open = vec![root.id.as_str()];
    while let Some(id) = open.pop() {
        for next in needs.get(id).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    // By what they are called, for an id holds the path of the checkout.
    let mut listed: BTreeMap<String, (&Package, Vec<String>)> = BTreeMap::new();
    for id in &found {
        let package = packages.get(id).with_context(|| format!("cargo names {id} and does not list it"))?;
        let on = needs.get(id).into_iter().flatten().filter_map(|on| packages.get(on)).map(|p| purl(p));
        listed.insert(purl(package), (package, on.collect::<BTreeSet<_>>().into_iter().collect()));
    }
    let components: Vec<Value> = listed
        .values()
        .filter(|(package, _)| package.id != root.id)
        .map(|(package, _)| component(package, "library", checksums))
        .collect();
    let dependencies: Vec<Value> =
        listed.iter().map(|(name, (_, on))| json!({ "ref": name, "dependsOn": on })).collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(root, "application", checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What a package needs to be built and to run; not what its tests need.
fn needed(node: &Node) -> Vec<&str> {
    let wanted = |d: &&Dependency| d.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev"));
    node.deps.iter().filter(wanted).map(|d| d.pkg.as_str()).collect()
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, kind: &str, checksums: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
    });
    if let Some(license) = &package.license {
        // Cargo used to write `/` where SPDX has `OR`.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(description) = &package.description {
        component["description"] = json!(description.trim());
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    if let Some(hash) = checksums.get(&(package.name.clone(), package.version.clone())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": hash }]);
    }
    component
}

/// What `Cargo.lock` says of each package from a registry, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]")
        .filter_map(|entry| {
            let field = |name: &str| {
                entry.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
            };
            Some(((field("name")?.to_owned(), field("version")?.to_owned()), field("checksum")?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\ndependencies = [\n \"b\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"1.2.3\"\nsource = \"registry+x\"\nchecksum = \"c0ffee\"\n";

    fn metadata() -> Metadata {
        let package = |name: &str, version: &str, source: Option<&str>, license: &str| {
            json!({ "id": format!("path+{name}"), "name": name, "version": version, "license": license,
                "description": null, "repository": null, "source": source })
        };
        let on = |name: &str, kind: Option<&str>| json!({ "pkg": format!("path+{name}"), "dep_kinds": [{ "kind": kind }] });
        serde_json::from_value(json!({
            "packages": [
                package("a", "0.1.0", None, "Apache-2.0"),
                package("b", "1.2.3", Some("registry+x"), "MIT/Apache-2.0"),
                package("tested-with", "1.0.0", Some("registry+x"), "MIT"),
                package("built-with", "1.0.0", Some("registry+x"), "MIT"),
                package("of-another-program", "1.0.0", Some("registry+x"), "MIT"),
            ],
            "resolve": { "nodes": [
                { "id": "path+a", "deps": [on("b", None), on("tested-with", Some("dev"))] },
                { "id": "path+b", "deps": [on("built-with", Some("build"))] },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_linked_or_builds_is_listed_with_licence_and_checksum_and_what_tests_is_not() {
        let list = build(&metadata(), &checksums(LOCK), "a").unwrap();
        let names: Vec<&str> =
            list["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["b", "built-with"]);
        let b = &list["components"][0];
        assert_eq!(b["purl"], "pkg:cargo/b@1.2.3");
        assert_eq!(b["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(b["hashes"][0]["content"], "c0ffee");
        assert_eq!(list["metadata"]["component"]["name"], "a");
        let a = list["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .find(|d| d["ref"] == "pkg:cargo/a@0.1.0")
            .unwrap();
        assert_eq!(a["dependsOn"], json!(["pkg:cargo/b@1.2.3"]));
    }

    #[test]
    fn a_program_that_the_workspace_does_not_have_is_named() {
        let why = build(&metadata(), &BTreeMap::new(), "c").unwrap_err().to_string();
        assert!(why.contains("no package c"), "{why}");
    }

    #[test]
    fn the_list_of_this_workspace_is_the_same_twice_and_each_library_of_a_registry_has_a_checksum() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let once = list(folder, "bascule", &target).unwrap();
        assert_eq!(once, list(folder, "bascule", &target).unwrap());
        let value: Value = serde_json::from_str(&once).unwrap();
        let components = value["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|c| c["name"] == name);
        assert!(named("rustls").is_some() && named("kube").is_some(), "the list lacks what is surely linked");
        assert!(named("proptest").is_none(), "what only tests need is listed");
        for component in components {
            let ours = component["name"].as_str().unwrap().starts_with("bascule");
            assert_eq!(component.get("hashes").is_none(), ours, "{component}");
        }
    }
}
