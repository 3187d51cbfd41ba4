//! Whether the person wants it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

use super::asked::{Common, Order};
use super::evidence::Evidence;

/// Asks, unless it was said beforehand; whether somebody was asked. An error is a no.
pub fn ask(common: &Common, order: &Order, evidence: &Evidence) -> anyhow::Result<bool> {
    let policy = &evidence.policy;
    let risk = evidence.risk();
    let accepted = match order {
        Order::Failover { accepted: Some(name), .. } if name == policy => true,
        Order::Failover { accepted: Some(name), .. } => bail!(
            "--accept-data-loss: found {name}, expected {policy}, the name of the policy whose data is at risk. Nothing was made"
        ),
        _ => false,
    };
    let verb = order.verb();
    if common.yes {
        return match risk {
            Some(risk) if !accepted => bail!(
                "{verb} of {policy}: data is at risk: {risk}. --yes does not accept that: add --accept-data-loss {policy}. Nothing was made"
            ),
            _ => Ok(false),
        };
    }
    if !std::io::stdin().is_terminal() {
        let accept = risk.map(|_| format!(" --accept-data-loss {policy}")).unwrap_or_default();
        bail!(
            "{verb} of {policy}: standard input is not a terminal, and nobody can be asked; for a script add --yes{accept}. Nothing was made"
        );
    }
    let stopped = evidence.mv.spec.source_stopped.as_ref().map(|who| {
        format!("On the word of {who:?} the source counts as off: if it is not, two sites write.\n")
    });
    let stopped = stopped.unwrap_or_default();
    let (question, wanted) = match &risk {
        Some(risk) if !accepted => (
            format!("{stopped}Data is at risk: {risk}.\nType the name of the policy to go on: "),
            policy.as_str(),
        ),
        _ if !stopped.is_empty() => {
            (format!("{stopped}Type the name of the policy to go on: "), policy.as_str())
        }
        _ => (format!("Type yes to go on with the {verb}: "), "yes"),
    };
    let mut out = std::io::stderr().lock();
    write!(out, "\n{question}").and_then(|()| out.flush()).context("nobody could be asked")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    let answer = answer.trim();
    if answer == wanted {
        return Ok(true);
    }
    bail!("{verb} of {policy}: found the answer {answer:?}, expected {wanted:?}. Nothing was made")
}
