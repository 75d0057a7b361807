//! A PIN in a letter: for a member who is not at the desk. It is random, and the member changes it at first use.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand_core::Rng as _;
use zeroize::Zeroizing;

use crate::desk::rng;
use crate::fault::Fault;
use crate::screen::Screen;

const DIGITS: usize = 8;

/// The PIN of a letter that is written before the card has it: new, or of an enrolment that was interrupted.
pub(super) fn pin(screen: &Screen, file: &Path, name: &str, serial: u32) -> Result<Zeroizing<String>, Fault> {
    let fault = |source| Fault::File { path: file.display().to_string(), source };
    if file.exists() {
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(fault)?);
        return written(&text)
            .map(|pin| Zeroizing::new(pin.to_owned()))
            .ok_or_else(|| fault(std::io::Error::from(std::io::ErrorKind::AlreadyExists)));
    }
    let pin = draw();
    let values =
        [("name", name.to_owned()), ("serial", serial.to_string()), ("pin", pin.as_str().to_owned())];
    let text = Zeroizing::new(screen.text("letter", &values));
    let mut letter = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    letter.write_all(text.as_bytes()).and_then(|()| letter.write_all(b"\n")).map_err(fault)?;
    letter.sync_all().map_err(fault)?;
    Ok(pin)
}

fn draw() -> Zeroizing<String> {
    let mut pin = Zeroizing::new(String::with_capacity(DIGITS));
    while pin.len() < DIGITS {
        let mut byte = [0];
        rng().fill_bytes(&mut byte);
        // The largest multiple of ten: no digit is likelier than another.
        if let [byte @ 0..250] = byte {
            pin.push(char::from(b'0' + byte % 10));
        }
    }
    pin
}

/// The one line of a letter that is a PIN.
fn written(text: &str) -> Option<&str> {
    let is_pin = |line: &&str| line.len() == DIGITS && line.bytes().all(|byte| byte.is_ascii_digit());
    let mut found = text.lines().map(str::trim).filter(is_pin);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::message::Words;

    #[test]
    fn a_letter_is_for_one_person_and_is_read_again_after_an_interruption() {
        let folder = tempfile::tempdir().unwrap();
        for language in [warifu_texts::Language::Japanese, warifu_texts::Language::English] {
            let screen = Screen::new(Words::load(language).unwrap(), false, true);
            let file = folder.path().join(language.code());
            let pin = pin(&screen, &file, "信濃 花子", 2001).unwrap();
            assert!(pin.len() == 8 && pin.bytes().all(|b| b.is_ascii_digit()));
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains("信濃 花子") && text.contains("warifu pin change"), "{text}");
            assert_eq!(*super::pin(&screen, &file, "信濃 花子", 2001).unwrap(), *pin);
        }
        let other = folder.path().join("other");
        std::fs::write(&other, "12345678\n87654321\n").unwrap();
        let screen = Screen::new(Words::load(warifu_texts::Language::Japanese).unwrap(), false, true);
        assert!(
            matches!(super::pin(&screen, &other, "x", 1), Err(Fault::File { .. })),
            "another file is left alone"
        );
    }
}
