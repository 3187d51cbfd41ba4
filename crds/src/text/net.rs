//! Names and addresses in networks.

use super::{Refusal, Rule, Schema, SchemaGenerator, json_schema, refusal, refusing};

/// Names in the DNS: fully qualified, with the dot at the end.
pub mod fqdn {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a full DNS name in lower case with a dot at the end, such as www.shop.example.";

    /// Whether a text is a fully qualified DNS name.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        };
        let valid = text.len() <= 253 && text.strip_suffix('.').is_some_and(|t| t.split('.').all(label));
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(r"self.matches('^([-a-z0-9_]{1,63}\\.)+$')".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 253, "x-kubernetes-validations": [rule] })
    }
}

/// Addresses of name servers: an IP address and a port.
pub mod socket {
    use std::net::SocketAddr;

    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "an address and a port such as 192.0.2.53:53 or [2001:db8::53]:53 (an address, not a name: \
         looking a name up may need the very servers that are down)";

    /// The address that a text names.
    pub fn parse(text: &str) -> Result<SocketAddr, Refusal> {
        text.parse::<SocketAddr>()
            .ok()
            .filter(|_| {
                !text.contains('%') && text.rsplit(':').next().is_some_and(|port| !port.starts_with('0'))
            })
            .ok_or_else(|| refusal(text, EXPECTED))
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            r"(self.matches('^[0-9.]+:[1-9][0-9]{0,4}$') ? isIP(self.substring(0, self.lastIndexOf(':'))) : self.matches('^\\[[0-9a-fA-F:.]+\\]:[1-9][0-9]{0,4}$') && isIP(self.substring(1, self.lastIndexOf(']')))) && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535"
                .to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 9, "maxLength": 64, "x-kubernetes-validations": [rule] })
    }
}

/// IP addresses.
pub mod ip {
    use std::net::IpAddr;

    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "an IP address such as 192.0.2.10 or 2001:db8::10";

    /// The address that a text names.
    pub fn parse(text: &str) -> Result<IpAddr, Refusal> {
        // As Kubernetes' isIP: an IPv4 address in IPv6 clothes is two spellings of one thing.
        match text.parse() {
            Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => Err(refusal(text, EXPECTED)),
            Ok(address) => Ok(address),
            Err(_) => Err(refusal(text, EXPECTED)),
        }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing("isIP(self)".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 45, "x-kubernetes-validations": [rule] })
    }
}

/// Hosts that a database is reached at: a DNS name or an IP address.
pub mod host {
    use std::net::IpAddr;

    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str =
        "a host name or an IP address without a port, such as main.shop.svc or 203.0.113.10";

    /// Whether a text is a host.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        let name = |t: &str| t.strip_suffix('.').unwrap_or(t).split('.').all(label);
        let valid = text.len() <= 253 && (text.parse::<IpAddr>().is_ok() || name(text));
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing(
            r"isIP(self) || self.matches('^[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?(\\.[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?)*\\.?$')"
                .to_owned(),
            EXPECTED,
        );
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [rule] })
    }
}

/// What a body is.
pub mod media_type {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a media type such as application/json";

    /// Whether a text is a media type, with parameters if need be.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let word = |w: &str| {
            !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'))
        };
        let essence = text.split(';').next().unwrap_or_default();
        let valid = (1..=128).contains(&text.len())
            && essence.split_once('/').is_some_and(|(kind, sub)| word(kind) && word(sub))
            && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule =
            refusing("self.matches('^[-.+a-zA-Z0-9]+/[-.+a-zA-Z0-9]+(;[ -~]*)?$')".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 128, "x-kubernetes-validations": [rule] })
    }
}

/// Paths of URLs.
pub mod url_path {
    use super::{Refusal, Rule, refusal, refusing};

    const EXPECTED: &str = "a path that begins with a slash, without spaces, such as /mode";

    /// Whether a text is the path of a URL.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let valid = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn rule() -> Rule {
        refusing("self.matches('^/[!-~]*$')".to_owned(), EXPECTED)
    }
}
