//! BER-TLV with one-byte tags and lengths below 65,536, as PIV uses it.

/// Splits the first element off: its tag, its value, what follows. `None` where the length does not fit.
pub(crate) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = match bytes.get(1..)? {
        [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*bytes.first()?, value, rest))
}

/// All elements of `bytes`; `None` where they do not fill it exactly.
pub(crate) fn elements(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, value, rest) = split(bytes)?;
        found.push((tag, value));
        bytes = rest;
    }
    Some(found)
}

/// Appends one element. Values longer than 65,535 bytes do not occur: a command is shorter.
pub(crate) fn put(out: &mut Vec<u8>, tag: &[u8], value: &[u8]) {
    out.extend_from_slice(tag);
    let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(value);
}

/// One element on its own.
pub(crate) fn one(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 6);
    put(&mut out, tag, value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip_and_lies_are_refused() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let value = vec![7; length];
            let bytes = one(&[0x53], &value);
            assert_eq!(elements(&bytes), Some(vec![(0x53, value.as_slice())]));
            assert_eq!(
                elements(&bytes[..bytes.len() - 1]),
                if length == 0 { None } else { elements(&[0x53]) }
            );
        }
        assert_eq!(split(&[0x53, 0x83, 0, 0, 1, 7]), None);
        assert_eq!(split(&[]), None);
    }
}
