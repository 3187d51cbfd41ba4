//! `chartgen`: writes the generated parts of the chart, or with `--check` says whether they are up to date.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bascule_charts::{Generated, generated, root};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => write(),
        ["--check"] => check(),
        other => Err(anyhow::anyhow!("found arguments '{}', expected none or --check", other.join(" "))),
    };
    match outcome {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("chartgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<String> {
    let (root, files) = (root()?, generated()?);
    for Generated { path, text } in &files {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(format!("wrote {} files of the chart", files.len()))
}

fn check() -> Result<String> {
    let (root, files) = (root()?, generated()?);
    let stale: Vec<String> = files
        .iter()
        .filter_map(|Generated { path, text }| {
            let found = fs::read_to_string(root.join(path)).unwrap_or_default();
            let line = found.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
            let show = |text: &str| text.lines().nth(line).unwrap_or("(end of file)").trim().to_owned();
            (found != *text).then(|| {
                format!("  {path}, line {}: found '{}', expected '{}'", line + 1, show(&found), show(text))
            })
        })
        .collect();
    if !stale.is_empty() {
        bail!("not what their sources say:\n{}\nrun `make chart` and commit the result", stale.join("\n"));
    }
    Ok(format!("{} generated files of the chart are up to date", files.len()))
}
