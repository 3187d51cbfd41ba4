//! What an answer of a name server says, without the socket that it came by.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use secrecy::SecretString;

use super::TsigKey;
use super::read::{addresses, mark, sort, usable};
use super::servers::named;
use super::wire::{question, seal, wall};

/// Reads `bytes` as the answer to the question for each kind of record that is ever asked for, of `name` or of a name
/// server's zone; with `signed`, as the answer to a signed one. What was learned, or why nothing was, in words.
///
/// The answer gets the question's id: nobody has to guess it to be heard.
pub fn answer(bytes: &[u8], name: &str, signed: bool) -> Vec<String> {
    let Ok(name) = name.parse::<Name>() else { return vec!["no name".to_owned()] };
    let secret = SecretString::from("c2VjcmV0LW9mLXRoZS1mdXp6LXRhcmdldA==");
    let key = signed.then(|| TsigKey::new("bascule.", "hmac-sha256", &secret)).and_then(Result::ok);
    let signer = key.as_ref().map(TsigKey::signer);
    let kinds = [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::SOA, RecordType::NS];
    let read = |kind| -> Result<String, String> {
        let (_, mut check) = seal(&question(&name, kind), signer, wall())?;
        let mut bytes = bytes.to_vec();
        if let Some(id) = bytes.get_mut(..2) {
            id.copy_from_slice(&check.id.to_be_bytes());
        }
        let reply = check.open(&bytes)?;
        usable(&reply, signed).map_err(|e| e.why)?;
        let set = sort(&reply, &name, kind);
        let servers = if reply.rcode() == ResponseCode::NoError { named(&reply, &name) } else { Vec::new() };
        Ok(format!(
            "{} {} {:?} {:?} {:?} {servers:?}",
            set.records.len(),
            set.authoritative,
            set.alias,
            mark(&set.records),
            addresses(&set.records, &set.records),
        ))
    };
    kinds.into_iter().map(|kind| read(kind).unwrap_or_else(|why| format!("refused: {why}"))).collect()
}
