//! Questions to a person at a terminal, one after the other, with what the clusters have to choose from.

use std::io::{BufRead, Write};

use anyhow::{Context as _, bail};
use bascule_core::name::SiteName;

use super::look::{Look, typed};
use super::options::{self, Options};

/// How many things are offered to choose from.
const OFFERED: usize = 20;

/// Whoever is asked.
pub struct Person<'a> {
    /// What they type.
    pub input: &'a mut dyn BufRead,
    /// What they read.
    pub output: &'a mut dyn Write,
}

impl Person<'_> {
    /// Says something.
    pub fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.output, "{text}").and_then(|()| self.output.flush()).context("nobody could be asked")
    }

    /// Asks until the answer can be used. What is offered may be chosen by its number. `None`: nothing was said, which is
    /// accepted only where it may be left out.
    pub fn ask<T>(
        &mut self,
        question: &str,
        offered: &[String],
        optional: bool,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Option<T>> {
        let offered = offered.get(..OFFERED).unwrap_or(offered);
        self.tell(&format!("\n{question}"))?;
        for (n, offer) in offered.iter().enumerate() {
            self.tell(&format!("  {}  {offer}", n + 1))?;
        }
        loop {
            let hint = match (offered.is_empty(), optional) {
                (true, true) => "nothing: leave it out",
                (true, false) => "",
                (false, true) => "a number or another one; nothing: leave it out",
                (false, false) => "a number or another one",
            };
            let hint = if hint.is_empty() { String::new() } else { format!("({hint}) ") };
            write!(self.output, "{hint}> ")
                .and_then(|()| self.output.flush())
                .context("nobody could be asked")?;
            let mut line = String::new();
            if self.input.read_line(&mut line).context("the answer cannot be read")? == 0 {
                bail!("the input ended before everything was answered; nothing was written");
            }
            let answer = line.trim();
            if answer.is_empty() {
                if optional {
                    return Ok(None);
                }
                self.tell("This is needed.")?;
                continue;
            }
            let chosen = answer.parse::<usize>().ok().and_then(|n| offered.get(n.checked_sub(1)?));
            // What is offered may have a word about it behind the name.
            let meant = chosen.map_or(answer, |offer| offer.split("  ").next().unwrap_or(offer));
            match read(meant) {
                Ok(value) => return Ok(Some(value)),
                Err(why) => self.tell(&format!("{why}."))?,
            }
        }
    }

    /// The same for what is needed.
    fn need<T>(
        &mut self,
        question: &str,
        offered: &[String],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        self.ask(question, offered, false, read)?
            .context("found no answer, expected one; nothing was written")
    }
}

/// Asks for the sites, until there are two.
pub fn sites(options: &mut Options, contexts: &[String], person: &mut Person<'_>) -> anyhow::Result<()> {
    while options.sites.len() < 2 {
        let known = options.sites.clone();
        let left: Vec<&str> =
            contexts.iter().map(String::as_str).filter(|c| !known.iter().any(|s| s.context == *c)).collect();
        let which = if known.is_empty() { "first" } else { "second" };
        let question = format!(
            "Which is the {which} site? NAME=CONTEXT: the name is the one that its operator is installed with, the context is the kubeconfig's ({})",
            if left.is_empty() {
                "it has no other".to_owned()
            } else {
                format!("it has {}", left.join(", "))
            }
        );
        let site = person.need(&question, &[], |text| {
            let site = options::site(text)?;
            if known.iter().any(|s| s.name == site.name || s.context == site.context) {
                return Err(format!("found {text:?}, expected another site in another cluster"));
            }
            Ok(site)
        })?;
        options.sites.push(site);
    }
    Ok(())
}

/// Asks for the namespace.
pub fn namespace(options: &mut Options, known: &[String], person: &mut Person<'_>) -> anyhow::Result<()> {
    if options.namespace.is_none() {
        let question = "In which namespace is the application? It is the same in every site.";
        options.namespace = Some(person.need(question, known, options::namespace)?);
    }
    Ok(())
}

/// Asks for everything else that is missing, and for what may be left out.
pub fn rest(options: &mut Options, looks: &[Look], person: &mut Person<'_>) -> anyhow::Result<()> {
    let sites: Vec<SiteName> = options.sites.iter().map(|s| s.name.clone()).collect();
    if options.database.is_none() {
        let mut found: Vec<String> = looks.iter().flat_map(Look::databases).map(ToOwned::to_owned).collect();
        found.sort_unstable();
        found.dedup();
        let question = "Which StatefulSet is the PostgreSQL database that follows the active site?";
        options.database = person.ask(question, &found, true, options::object)?;
    }
    if options.database.is_some() {
        for site in sites.iter().filter(|s| !options.reached.contains_key(*s)).cloned().collect::<Vec<_>>() {
            let offered = looks.iter().find(|l| l.site == site);
            let offered = offered.map(|l| l.outside(options.database.as_deref())).unwrap_or_default();
            let question = format!(
                "Where do the other sites reach the database server of {site}? HOST or HOST:PORT, better an address than a name: a name may need a DNS that is down with a site."
            );
            let place = person.need(&question, &offered, options::reached)?;
            options.reached.insert(site, place);
        }
    }
    if options.workloads.is_empty() {
        workloads(options, looks, person)?;
    }
    if options.flag.is_none() && !options.workloads.is_empty() {
        let mut found: Vec<String> = looks.iter().flat_map(|l| l.flags.iter().cloned()).collect();
        found.sort_unstable();
        found.dedup();
        let question = "By which key of a ConfigMap are they told to be read-only? CONFIGMAP/KEY";
        options.flag = person.ask(question, &found, true, options::flag)?;
    }
    traffic(options, &sites, person)?;
    if options.initial.is_none() {
        let names: Vec<String> = sites.iter().map(ToString::to_string).collect();
        let question = "Which site is active first? The one where the data is: it is the one that may write.";
        options.initial = Some(person.need(question, &names, |text| options::of_sites(text, &sites))?);
    }
    if options.git_url.is_none() {
        let question = "From which git repository shall the operators read the policy? https:// or ssh://, without a password";
        options.git_url = person.ask(question, &[], true, options::git_url)?;
    }
    if options.out.is_none() {
        let question = "Into which directory are the files written?";
        options.out = Some(person.need(question, &[], |text| Ok(text.into()))?);
    }
    Ok(())
}

fn workloads(options: &mut Options, looks: &[Look], person: &mut Person<'_>) -> anyhow::Result<()> {
    loop {
        let database = options.database.as_deref();
        let mut found: Vec<String> = looks
            .iter()
            .flat_map(|l| l.workloads(database))
            .filter(|w| !options.workloads.contains(&w.named))
            .map(|w| typed(&w.named))
            .collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() && !options.workloads.is_empty() {
            return Ok(());
        }
        let question = if options.workloads.is_empty() {
            "Which workload is scaled with its site's role, or told to be read-only? deployment/NAME or statefulset/NAME"
        } else {
            "Which other one?"
        };
        let known = options.workloads.clone();
        let answer = person.ask(question, &found, true, |text| {
            let named = options::workload(text)?;
            if known.contains(&named) { Err("it is named already".to_owned()) } else { Ok(named) }
        })?;
        match answer {
            Some(named) => options.workloads.push(named),
            None => return Ok(()),
        }
    }
}

fn traffic(options: &mut Options, sites: &[SiteName], person: &mut Person<'_>) -> anyhow::Result<()> {
    if options.dns_name.is_none() {
        let question = "Which DNS name do users ask for, that shall lead to the active site?";
        options.dns_name = person.ask(question, &[], true, options::dns_name)?;
    }
    let Some(name) = options.dns_name.clone() else { return Ok(()) };
    if options.dns_servers.is_empty() {
        let question = format!("Which server takes updates of {name}? ADDRESS or ADDRESS:PORT");
        options.dns_servers.push(person.need(&question, &[], options::server)?);
        while let Some(more) = person.ask(
            "Which other one, if that does not answer? One of them must outlive either site.",
            &[],
            true,
            options::server,
        )? {
            options.dns_servers.push(more);
        }
    }
    if options.dns_key.is_none() {
        let question = "How is the Secret called that has the TSIG key for it? It need not be there yet.";
        options.dns_key = Some(person.need(question, &["dns-key".to_owned()], options::object)?);
    }
    for site in sites {
        if !options.addresses.contains_key(site) {
            let question = format!("At which address do users reach {site}?");
            let address = person.need(&question, &[], options::address)?;
            options.addresses.insert(site.clone(), vec![address]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str, offered: &[&str], optional: bool) -> (anyhow::Result<Option<String>>, String) {
        let mut output = Vec::new();
        let mut input = answers.as_bytes();
        let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
        let mut person = Person { input: &mut input, output: &mut output };
        let answer = person.ask("Which?", &offered, optional, options::object);
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn an_answer_is_a_number_a_name_or_nothing_and_a_wrong_one_is_asked_for_again() {
        assert_eq!(asked("2\n", &["a", "b"], false).0.unwrap(), Some("b".to_owned()));
        assert_eq!(asked("other\n", &["a"], false).0.unwrap(), Some("other".to_owned()));
        assert_eq!(asked("\n", &[], true).0.unwrap(), None);
        let (answer, said) = asked("\nNOT A NAME\nmain\n", &[], false);
        assert_eq!(answer.unwrap(), Some("main".to_owned()));
        assert!(said.contains("This is needed.") && said.contains("found 'NOT A NAME', expected"), "{said}");
        let (answer, _) = asked("", &[], true);
        assert!(answer.unwrap_err().to_string().contains("nothing was written"));
    }

    #[test]
    fn everything_that_a_policy_needs_is_asked_for() {
        let mut options = Options { promote_after: "Never".to_owned(), ..Options::default() };
        let answers = "paris\nparis=one\nparis=two\nlyon=two\nshop\nmain\n203.0.113.10\n198.51.100.10:5433\ndeploy/web\n\nweb-flags/READ_ONLY\nwww.shop.example\n192.0.2.53\n\n1\n192.0.2.10\n198.51.100.10\nparis\n\nout\n";
        let mut output = Vec::new();
        let mut input = answers.as_bytes();
        let mut person = Person { input: &mut input, output: &mut output };
        sites(&mut options, &["one".to_owned(), "two".to_owned()], &mut person).unwrap();
        namespace(&mut options, &[], &mut person).unwrap();
        rest(&mut options, &[], &mut person).unwrap();
        assert_eq!(super::super::missing::list(&options, &[], &[]), [""; 0]);
        let names: Vec<&str> = options.sites.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["paris", "lyon"]);
        assert_eq!(options.dns_key.as_deref(), Some("dns-key"));
        assert_eq!(options.reached.len(), 2);
        assert!(input.is_empty(), "{}", String::from_utf8_lossy(input));
    }
}
