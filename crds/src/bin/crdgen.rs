//! Writes the generated definitions to `crds/generated/` and a page about each kind to `docs/reference/`, or with `--check`
//! says whether they are up to date.

use std::{fs, io, path::Path, process::ExitCode};

use bascule_crds::definitions;

/// What can go wrong, for the person who ran it.
enum Failure {
    Usage(String),
    Generate(String),
    File(String, io::Error),
    Stale(Vec<String>),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => write(),
        ["--check"] => check(),
        _ => Err(Failure::Usage(arguments.join(" "))),
    };
    let message = match outcome {
        Ok(message) => {
            println!("{message}");
            return ExitCode::SUCCESS;
        }
        Err(Failure::Usage(found)) => format!("found arguments '{found}', expected none or --check"),
        Err(Failure::Generate(cause)) => format!("cannot write the definitions as YAML: {cause}"),
        Err(Failure::File(path, cause)) => format!("{path}: {cause}"),
        Err(Failure::Stale(files)) => format!(
            "not what the types in crds/src say:\n{}\nrun `make crds` (or `cargo run -p bascule-crds --bin crdgen`) and commit the result",
            files.join("\n")
        ),
    };
    eprintln!("crdgen: {message}");
    ExitCode::FAILURE
}

/// Path of each file and the text that it must have.
fn files() -> Result<Vec<(String, String)>, Failure> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (generated, reference) = (own.join("generated"), own.join("../docs/reference"));
    let definitions = definitions().map_err(|cause| Failure::Generate(cause.to_string()))?;
    let mut files = Vec::new();
    for definition in &definitions {
        let text = definition.yaml().map_err(|cause| Failure::Generate(cause.to_string()))?;
        files.push((generated.join(&definition.file).display().to_string(), text));
        files.push((reference.join(definition.page_file()).display().to_string(), definition.page()));
    }
    Ok(files)
}

fn write() -> Result<String, Failure> {
    let files = files()?;
    for (path, text) in &files {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder).map_err(|cause| Failure::File(path.clone(), cause))?;
        }
        fs::write(path, text).map_err(|cause| Failure::File(path.clone(), cause))?;
    }
    Ok(format!("wrote {} files", files.len()))
}

fn check() -> Result<String, Failure> {
    let mut stale = Vec::new();
    for (path, expected) in files()? {
        match fs::read_to_string(&path) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                let line = found.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
                let show = |text: &str| text.lines().nth(line).unwrap_or("(end of file)").trim().to_owned();
                stale.push(format!(
                    "  {path}, line {}: found '{}', expected '{}'",
                    line + 1,
                    show(&found),
                    show(&expected)
                ));
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => stale.push(format!("  {path}: missing")),
            Err(cause) => return Err(Failure::File(path, cause)),
        }
    }
    if stale.is_empty() {
        Ok("the generated definitions and pages are up to date".to_owned())
    } else {
        Err(Failure::Stale(stale))
    }
}
