//! Which unquoted texts are read as something else than text by some reader of YAML.

/// Whether an unquoted text is read as something else than text by some reader of YAML.
pub(super) fn ambiguous(text: &str) -> bool {
    const WORDS: [&str; 15] = [
        "on", "off", "yes", "no", "y", "n", "true", "false", "null", "~", "=", "<<", ".inf", "-.inf", ".nan",
    ];
    let lower = text.to_lowercase();
    WORDS.contains(&lower.as_str()) || lower == "+.inf" || number(&lower) || sexagesimal(text)
}

/// A number to Kubernetes' reader: it drops underscores anywhere and knows the prefixes of Go.
fn number(text: &str) -> bool {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return false;
    }
    let plain = text.replace('_', "");
    let plain = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let all = |digits: &str, valid: fn(char) -> bool| !digits.is_empty() && digits.chars().all(valid);
    if let Some(digits) = plain.strip_prefix("0x") {
        return all(digits, |c| c.is_ascii_hexdigit());
    }
    if let Some(digits) = plain.strip_prefix("0b") {
        return all(digits, |c| matches!(c, '0' | '1'));
    }
    if let Some(digits) = plain.strip_prefix("0o") {
        return all(digits, |c| matches!(c, '0'..='7'));
    }
    let (mantissa, exponent) = plain.split_once('e').map_or((plain, None), |(m, e)| (m, Some(e)));
    let digits = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_valid = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_valid =
        exponent.is_none_or(|e| all(e.strip_prefix(['-', '+']).unwrap_or(e), |c| c.is_ascii_digit()));
    mantissa_valid && exponent_valid
}

/// Base sixty, YAML 1.1: `1:30` is ninety.
fn sexagesimal(text: &str) -> bool {
    let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = plain.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let digits = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit() || c == '_');
    let sixty = |t: &str| (1..=2).contains(&t.len()) && t.parse::<u8>().is_ok_and(|n| n < 60);
    let Some((last, middle)) = rest.split_last() else { return false };
    let last = last.split_once('.').map_or(*last, |(whole, _)| whole);
    digits(first) && middle.iter().all(|t| sixty(t)) && sixty(last)
}
