//! A notice as signed JSON.

use bascule_core::notice::{Audience, Notice};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::Sha256;

use super::Undelivered;
use super::http::Endpoint;
use super::secret::Key;

/// The header with the moment of the attempt, in seconds since 1970.
pub const TIMESTAMP: &str = "bascule-timestamp";

/// The header with the signature: `sha256=` and [`signature`] in lower-case hexadecimal digits.
pub const SIGNATURE: &str = "bascule-signature";

/// Where signed JSON is posted to.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub(super) endpoint: Endpoint,
    pub(super) secret: Key,
    pub(super) ca: Option<Key>,
}

/// HMAC-SHA256 of the timestamp, a dot and the body. The timestamp is signed too, so that a receiver can refuse what was
/// recorded and is sent again later.
pub fn signature(secret: &[u8], timestamp: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|e| e.to_string())?;
    for part in [timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    Ok(HEXLOWER.encode(&mac.finalize().into_bytes()))
}

impl Webhook {
    /// Posts one notice.
    pub(super) async fn carry(&self, notice: &Notice) -> Result<(), Undelivered> {
        let body = body(notice).to_string();
        let secret = self.secret.read().map_err(Undelivered::Passing)?;
        let timestamp = Timestamp::now().as_second().to_string();
        let signature = signature(secret.expose_secret().as_bytes(), &timestamp, &body)
            .map_err(|why| Undelivered::Final(format!("the request cannot be signed: {why}")))?;
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|e| Undelivered::Final(format!("a header cannot be made: {e}")))
        };
        let headers = vec![
            (HeaderName::from_static(TIMESTAMP), value(&timestamp)?),
            (HeaderName::from_static(SIGNATURE), value(&format!("sha256={signature}"))?),
        ];
        self.endpoint.post(body, headers, self.ca.as_ref()).await
    }
}

fn body(notice: &Notice) -> serde_json::Value {
    let Notice { id, kind, policy, epoch, serial, site, since, channel, audience, subject, text } = notice;
    let (audience, language) = match audience {
        Audience::Administrators => ("administrators", None),
        Audience::Users(language) => ("users", Some(language)),
    };
    json!({
        "schema": 1,
        "id": id,
        "kind": kind.name(),
        "policy": { "namespace": policy.namespace, "name": policy.name },
        "epoch": epoch,
        "serial": serial,
        "site": site,
        "since": since,
        "channel": channel,
        "audience": audience,
        "language": language,
        "subject": subject,
        "text": text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        // printf '%s' '1790000000.{"schema":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signed = signature(b"0123456789abcdef", "1790000000", "{\"schema\":1}");
        assert_eq!(signed.as_deref(), Ok("32fbce522d9dd03e6d0e075392dfe7a6c87c294f6f46cb5065ab05dd71c28eea"));
    }
}
