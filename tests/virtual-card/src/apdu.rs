//! Command APDUs (ISO 7816-4, section 5.1), short and extended, and status words.

/// Status words, the last two bytes of every answer.
pub(crate) mod sw {
    pub(crate) const OK: u16 = 0x9000;
    pub(crate) const MORE: u16 = 0x6100;
    pub(crate) const WRONG_PIN: u16 = 0x63c0;
    pub(crate) const NOT_STORED: u16 = 0x6581;
    pub(crate) const WRONG_LENGTH: u16 = 0x6700;
    pub(crate) const SECURITY_STATUS: u16 = 0x6982;
    pub(crate) const BLOCKED: u16 = 0x6983;
    pub(crate) const CONDITIONS: u16 = 0x6985;
    pub(crate) const WRONG_DATA: u16 = 0x6a80;
    pub(crate) const NOT_FOUND: u16 = 0x6a82;
    pub(crate) const NO_SPACE: u16 = 0x6a84;
    pub(crate) const WRONG_P1_P2: u16 = 0x6a86;
    pub(crate) const NO_REFERENCE: u16 = 0x6a88;
    pub(crate) const WRONG_SLOT: u16 = 0x6b00;
    pub(crate) const WRONG_INS: u16 = 0x6d00;
    pub(crate) const WRONG_CLASS: u16 = 0x6e00;
}

/// Instruction bytes: SP 800-73-4, part 2, section 3, and Yubico's extensions.
pub mod ins {
    /// VERIFY
    pub const VERIFY: u8 = 0x20;
    /// CHANGE REFERENCE DATA
    pub const CHANGE_REFERENCE: u8 = 0x24;
    /// RESET RETRY COUNTER
    pub const RESET_RETRY: u8 = 0x2c;
    /// GENERATE ASYMMETRIC KEY PAIR
    pub const GENERATE: u8 = 0x47;
    /// GENERAL AUTHENTICATE: signatures, ECDH, the management key
    pub const AUTHENTICATE: u8 = 0x87;
    /// SELECT
    pub const SELECT: u8 = 0xa4;
    /// GET RESPONSE
    pub const GET_RESPONSE: u8 = 0xc0;
    /// GET DATA
    pub const GET_DATA: u8 = 0xcb;
    /// PUT DATA
    pub const PUT_DATA: u8 = 0xdb;
    /// GET METADATA (Yubico)
    pub const METADATA: u8 = 0xf7;
    /// GET SERIAL (Yubico)
    pub const SERIAL: u8 = 0xf8;
    /// ATTEST (Yubico)
    pub const ATTEST: u8 = 0xf9;
    /// SET PIN RETRIES (Yubico)
    pub const SET_RETRIES: u8 = 0xfa;
    /// RESET (Yubico)
    pub const RESET: u8 = 0xfb;
    /// GET VERSION (Yubico)
    pub const VERSION: u8 = 0xfd;
    /// IMPORT ASYMMETRIC KEY (Yubico)
    pub const IMPORT: u8 = 0xfe;
    /// SET MANAGEMENT KEY (Yubico)
    pub const SET_MANAGEMENT_KEY: u8 = 0xff;
}

/// A parsed command.
pub(crate) struct Command {
    pub(crate) cla: u8,
    pub(crate) ins: u8,
    pub(crate) p1: u8,
    pub(crate) p2: u8,
    pub(crate) data: Vec<u8>,
    /// The longest answer that may be sent at once, in bytes, without the status word.
    pub(crate) max_answer: usize,
}

impl Command {
    /// Parses any of the seven forms of ISO 7816-4; the error is the status word to answer with.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, u16> {
        let [cla, ins, p1, p2, body @ ..] = bytes else { return Err(sw::WRONG_LENGTH) };
        let (data, max_answer): (&[u8], usize) = match body {
            [] => (&[], 256),
            &[le] => (&[], short_le(le)),
            [0, high, low] => (&[], extended_le(*high, *low)),
            [0, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                match rest.split_at_checked(length) {
                    Some((data, [])) => (data, 65_536),
                    Some((data, [high, low])) => (data, extended_le(*high, *low)),
                    _ => return Err(sw::WRONG_LENGTH),
                }
            }
            [length, rest @ ..] => match rest.split_at_checked(usize::from(*length)) {
                Some((data, [])) => (data, 256),
                Some((data, &[le])) => (data, short_le(le)),
                _ => return Err(sw::WRONG_LENGTH),
            },
        };
        Ok(Self { cla: *cla, ins: *ins, p1: *p1, p2: *p2, data: data.to_vec(), max_answer })
    }
}

fn short_le(le: u8) -> usize {
    if le == 0 { 256 } else { usize::from(le) }
}

fn extended_le(high: u8, low: u8) -> usize {
    match u16::from_be_bytes([high, low]) {
        0 => 65_536,
        le => usize::from(le),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_parsed_and_nonsense_is_not() {
        assert_eq!(Command::parse(&[0, 0xa4, 4]).err(), Some(sw::WRONG_LENGTH));
        assert_eq!(Command::parse(&[0, 0xa4, 4, 0, 5, 1]).err(), Some(sw::WRONG_LENGTH));
        assert_eq!(Command::parse(&[0, 0xa4, 4, 0, 0, 1, 0, 9]).err(), Some(sw::WRONG_LENGTH));
        let case = |bytes: &[u8]| {
            let command = Command::parse(bytes).unwrap();
            (command.data, command.max_answer)
        };
        assert_eq!(case(&[0, 1, 2, 3]), (vec![], 256));
        assert_eq!(case(&[0, 1, 2, 3, 9]), (vec![], 9));
        assert_eq!(case(&[0, 1, 2, 3, 1, 7]), (vec![7], 256));
        assert_eq!(case(&[0, 1, 2, 3, 1, 7, 8]), (vec![7], 8));
        assert_eq!(case(&[0, 1, 2, 3, 0, 1, 2]), (vec![], 258));
        assert_eq!(case(&[0, 1, 2, 3, 0, 0, 1, 7]), (vec![7], 65_536));
        assert_eq!(case(&[0, 1, 2, 3, 0, 0, 1, 7, 1, 0]), (vec![7], 256));
    }
}
