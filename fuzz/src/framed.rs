//! Inputs in which lengths stand before what they measure: a change inside of a part keeps its length right. Without that
//! a search seldom gets past the first length.

/// How an input is cut into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Frames, each with its length in four bytes before it, as guard and operator speak.
    Frames,
    /// What the target `postgres` takes: one byte; then pieces with their length in two bytes before them, each of them
    /// messages of PostgreSQL's protocol.
    Answers,
}

/// The parts of an input. What is cut short at its end is a shorter part.
pub(crate) fn parts(bytes: &[u8], layout: Layout) -> Vec<Vec<u8>> {
    match layout {
        Layout::Frames => measured(bytes, 4),
        Layout::Answers => measured(bytes.get(1..).unwrap_or_default(), 2),
    }
}

fn measured(mut rest: &[u8], width: usize) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_at_checked(width) {
        let length = length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)).min(after.len());
        let (part, next) = after.split_at(length);
        parts.push(part.to_vec());
        rest = next;
    }
    parts
}

/// The input that has these parts; `first` is the byte before them, where there is one.
pub(crate) fn joined(parts: &[Vec<u8>], layout: Layout, first: u8) -> Vec<u8> {
    let (mut all, width) = match layout {
        Layout::Frames => (Vec::new(), 4),
        Layout::Answers => (vec![first], 2),
    };
    for part in parts {
        let most = 1_usize << (8 * width - 1);
        let part = &part[..part.len().min(most)];
        all.extend_from_slice(&(part.len() as u32).to_be_bytes()[4 - width..]);
        all.extend_from_slice(part);
    }
    all
}

/// Changes the first `size` bytes of `data`, which has room for `most`; returns how many there are now. Three of four
/// changes are made by `change` inside of one part, or are of whole parts; the others may break a length.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    layout: Layout,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let first = data.first().copied().unwrap_or_default();
    let mut all = parts(&data[..size], layout);
    if seed.is_multiple_of(4) || all.is_empty() {
        return change(data, size, most);
    }
    let (what, chosen) = ((seed >> 2) % 16, (seed >> 6) as usize % all.len());
    match what {
        0 => all.insert(chosen, all[chosen].clone()),
        1 => drop(all.remove(chosen)),
        2 => {
            let other = (seed >> 14) as usize % all.len();
            all.swap(chosen, other);
        }
        _ if layout == Layout::Answers => within_messages(&mut all[chosen], seed >> 14, &change),
        _ => changed(&mut all[chosen], &change),
    }
    let all = joined(&all, layout, first);
    let length = all.len().min(most);
    data[..length].copy_from_slice(&all[..length]);
    length
}

fn changed(part: &mut Vec<u8>, change: &impl Fn(&mut [u8], usize, usize) -> usize) {
    let size = part.len();
    part.resize(2 * size + 64, 0);
    let most = part.len();
    let now = change(part, size, most);
    part.truncate(now);
}

/// Changes the body of one of the messages of a piece: a byte that names it, then four of its length, which counts itself.
fn within_messages(piece: &mut Vec<u8>, seed: u32, change: &impl Fn(&mut [u8], usize, usize) -> usize) {
    let (mut messages, mut rest) = (Vec::new(), &piece[..]);
    while let [name, a, b, c, d, after @ ..] = rest {
        let length = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).saturating_sub(4).min(after.len());
        let (body, next) = after.split_at(length);
        messages.push((*name, body.to_vec()));
        rest = next;
    }
    if messages.is_empty() {
        return changed(piece, change);
    }
    let chosen = seed as usize % messages.len();
    match (seed >> 8) % 8 {
        0 => drop(messages.remove(chosen)),
        1 => messages.insert(chosen, messages[chosen].clone()),
        _ => changed(&mut messages[chosen].1, change),
    }
    let mut all = Vec::new();
    for (name, body) in messages {
        all.push(name);
        all.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        all.extend_from_slice(&body);
    }
    *piece = all;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_into_parts_is_put_together_as_it_was() {
        for (bytes, layout) in [
            (&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9][..], Layout::Frames),
            (&[1, 0, 2, 7, 8, 0, 0, 0, 1, 9], Layout::Answers),
        ] {
            assert_eq!(parts(bytes, layout), [vec![7, 8], vec![], vec![9]]);
            assert_eq!(joined(&parts(bytes, layout), layout, bytes[0]), bytes);
        }
    }

    #[test]
    fn a_change_inside_of_a_part_keeps_every_length_right() {
        let grow = |data: &mut [u8], size: usize, most: usize| {
            let now = (size + 3).min(most);
            data[size..now].fill(b'x');
            now
        };
        let message = [b'D', 0, 0, 0, 6, 1, 2];
        let piece = [&message[..], &message].concat();
        let answers = joined(&[piece.clone(), piece], Layout::Answers, 1);
        let frames = joined(&[b"{}".to_vec(), b"[]".to_vec()], Layout::Frames, 0);
        for seed in (0..1 << 20).step_by(37).filter(|seed: &u32| !seed.is_multiple_of(4)) {
            for (bytes, layout) in [(&answers, Layout::Answers), (&frames, Layout::Frames)] {
                let mut data = bytes.clone();
                data.resize(4096, 0);
                let size = mutate(&mut data, bytes.len(), 4096, seed, layout, grow);
                let first = data[0];
                assert_eq!(joined(&parts(&data[..size], layout), layout, first), data[..size]);
            }
        }
    }
}
