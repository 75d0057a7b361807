//! What the process of a PKCS#11 module answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use warifu_hardware::card::pkcs11::{Late, Line, ModuleConfig};
use warifu_hardware::card::{
    AgreementKey, Card as _, CardError, KeyRole, ManagementKey, ModuleCard, Pin, PinEntry, ShareSlot,
};
use warifu_split_key::point::Point;

use crate::fixture::public_of;

/// A process that gives the answers of a script, one a line, and has ended when the script has.
struct Scripted {
    answers: Vec<Vec<u8>>,
    asked: Arc<Mutex<usize>>,
}

impl Line for Scripted {
    fn exchange(
        &mut self,
        _request: &[u8],
        _limit: Duration,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Late> {
        *self.asked.lock().unwrap() += 1;
        Ok(self.answers.pop().map(zeroize::Zeroizing::new))
    }
}

/// Whatever a module's process answers: one reading, one request a call, and nothing more after what cannot be read.
pub(crate) fn answers(data: &[u8]) -> bool {
    let Some((what, script)) = data.split_first() else { return false };
    let mut answers: Vec<Vec<u8>> = script.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    answers.reverse();
    let asked = Arc::new(Mutex::new(0));
    let line = Scripted { answers, asked: asked.clone() };
    let Ok(mut card) = ModuleCard::over(line, &ModuleConfig::new("program", "module.so"), "a reader") else {
        return false;
    };
    assert!(card.identity().serial.chars().all(|c| !c.is_control()));
    let before = *asked.lock().unwrap();
    let pin = Pin::new(b"123456").unwrap();
    let entry = PinEntry::new(&pin);
    let slot = ShareSlot::new(3).unwrap();
    let result = match what & 0x0f {
        0 => {
            let _ = card.is_present();
            Ok(())
        }
        1 => card.tries_left().map(drop),
        2 => card.verify_pin(entry),
        3 => card.change_pin(entry, &pin),
        4 => card.public_key(KeyRole::Authentication).map(drop),
        5 => card.sign(KeyRole::Signature, &[7; 32], Some(entry)).map(|signature| {
            assert!(p256::ecdsa::Signature::from_slice(&signature).is_ok());
        }),
        6 => card.agree(AgreementKey::Share(slot), &Point::generator()).map(drop),
        7 => card.certificate(KeyRole::Signature).map(drop),
        8 => card.shares().map(|shares| {
            assert!(shares.windows(2).all(|two| two[0].slot < two[1].slot));
        }),
        9 => card.generate(KeyRole::Transport).map(drop),
        10 => card.delete_share(slot),
        _ => card.authenticate_management(&ManagementKey::factory()),
    };
    assert!(*asked.lock().unwrap() <= before + 1, "a request was sent twice");
    match &result {
        Err(CardError::PinWrong { tries_left }) => assert!(*tries_left >= 1),
        Err(CardError::Malformed { .. } | CardError::Removed) => {
            let before = *asked.lock().unwrap();
            assert!(matches!(card.tries_left(), Err(CardError::Removed)));
            assert_eq!(*asked.lock().unwrap(), before, "it was asked after what cannot be read");
        }
        _ => {}
    }
    result.is_ok()
}

fn script(what: u8, answer: &str) -> Vec<u8> {
    let opened =
        r#"{"answer":"opened","serial":"0a1b2c3d","model":"a token","firmware":"2.6","issues":true}"#;
    [&[what], format!("{{\"answer\":\"done\"}}\n{opened}\n{answer}").as_bytes()].concat()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let point = hex::encode(public_of("card").0.to_compressed());
    let number = |byte: u8, count| vec![byte.to_string(); count].join(",");
    vec![
        script(0, r#"{"answer":"present","present":true}"#),
        script(1, r#"{"answer":"tries","left":2}"#),
        script(2, r#"{"answer":"done"}"#),
        script(2, r#"{"answer":"fault","fault":{"why":"pin-wrong","tries_left":0}}"#),
        script(3, r#"{"answer":"fault","fault":{"why":"pin-blocked"}}"#),
        script(4, &format!(r#"{{"answer":"point","point":"{point}"}}"#)),
        script(5, &format!(r#"{{"answer":"signature","signature":"{}"}}"#, "11".repeat(64))),
        script(5, &format!(r#"{{"answer":"signature","signature":"{}"}}"#, "00".repeat(64))),
        script(6, &format!(r#"{{"answer":"agreed","x":[{}]}}"#, number(5, 32))),
        script(7, r#"{"answer":"certificate","certificate":"3000"}"#),
        script(7, r#"{"answer":"certificate","certificate":null}"#),
        script(
            8,
            r#"{"answer":"shares","shares":[{"slot":4,"certificate":"3000"},{"slot":2,"certificate":""}]}"#,
        ),
        script(
            8,
            r#"{"answer":"shares","shares":[{"slot":4,"certificate":""},{"slot":4,"certificate":""}]}"#,
        ),
        script(
            9,
            r#"{"answer":"fault","fault":{"why":"refused","function":"C_Sign","code":"GeneralError"}}"#,
        ),
        script(10, r#"{"answer":"fault","fault":{"why":"module-unusable"}}"#),
        script(11, ""),
    ]
}
