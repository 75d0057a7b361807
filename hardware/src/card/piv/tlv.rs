//! BER-TLV as far as PIV needs it: one-byte tags, lengths below 65,536. Input comes from cards and is not trusted.

/// The value of the first element with this tag; `None` where there is none or a length before it lies.
pub(super) fn find(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (tag, rest) = bytes.split_first()?;
        let (length, rest) = match rest {
            [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
            [0x81, length, rest @ ..] => (usize::from(*length), rest),
            [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if *tag == wanted {
            return Some(value);
        }
        bytes = rest;
    }
}

/// Appends an element. The value is ours and short: longer than 65,535 bytes it would not fit a command.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_lies_are_not_believed() {
        let mut bytes = Vec::new();
        put(&mut bytes, 0x70, &[1; 300]);
        put(&mut bytes, 0x71, &[2; 200]);
        put(&mut bytes, 0xfe, &[]);
        assert_eq!(find(&bytes, 0x70), Some([1; 300].as_slice()));
        assert_eq!(find(&bytes, 0x71), Some([2; 200].as_slice()));
        assert_eq!(find(&bytes, 0xfe), Some([].as_slice()));
        assert_eq!(find(&bytes, 0x72), None);
        for cut in 0..bytes.len() {
            assert_eq!(find(&bytes[..cut], 0xfe), None, "{cut}");
        }
        for lie in [&[0x70, 0x80][..], &[0x70, 0x83, 0, 0, 1, 9], &[0x70, 0xff], &[0x70, 5, 1]] {
            assert_eq!(find(lie, 0x70), None);
        }
    }
}
