//! What a name server answers.

use bascule_adapters::fuzz::dns_answer;

use crate::in_words;

/// Reads `bytes` as the answer to each question that is ever asked, signed and not.
///
/// # Panics
/// When what is refused is not said in words.
pub fn run(bytes: &[u8]) {
    for name in ["www.shop.example.", "_bascule.www.shop.example.", "shop.example."] {
        for signed in [false, true] {
            for said in dns_answer(bytes, name, signed) {
                if said.starts_with("refused: ") {
                    in_words(&said);
                    continue;
                }
                assert!(!signed, "an answer without our key is believed: {said}");
            }
        }
    }
}
