//! Card shares.

use std::process::Command;

use warifu_hardware::card::{AgreementKey, Card, CardError, KeyRole, ShareSlot, StoredShare};
use warifu_virtual_card::ins;

use super::desk::{
    Backend, Desk, certificate_for, draw_share, put_share, software_ecdh, software_key, verify,
};

/// The card, open for issuing, with the key that a token unwraps by.
fn issuing(desk: &Desk) -> Box<dyn Card> {
    let mut card = desk.open_managed();
    card.generate(KeyRole::Transport).unwrap();
    card
}

pub(crate) fn a_share_needs_its_own_certificate_and_a_free_slot(desk: &mut Desk) {
    let mut card = issuing(desk);
    let (share, other) = (draw_share(), draw_share());
    let slot = card.free_share_slot().unwrap();
    assert_eq!(slot.index(), 0);
    for bad in [certificate_for(&other.public()), b"nonsense".to_vec()] {
        let imported = put_share(&mut *card, slot, &share, &bad);
        // A token that unwraps sees only that share and certificate do not belong together.
        let refused = matches!(imported, Err(CardError::CertificateMismatch | CardError::ShareRefused));
        assert!(refused, "{imported:?}");
    }
    assert_eq!(desk.card.seen(ins::IMPORT), 0);
    assert!(card.shares().unwrap().is_empty());

    let certificate = certificate_for(&share.public());
    put_share(&mut *card, slot, &share, &certificate).unwrap();
    assert_eq!(card.shares().unwrap(), [StoredShare { slot, certificate }]);
    let imported = put_share(&mut *card, slot, &other, &certificate_for(&other.public()));
    assert!(matches!(imported, Err(CardError::SlotTaken)));
    if desk.backend == Backend::Piv {
        assert_eq!(desk.card.seen(ins::IMPORT), 1);
    }
    assert_eq!(card.free_share_slot().unwrap().index(), 1);
}

pub(crate) fn twenty_shares_fit_and_no_more(desk: &mut Desk) {
    let mut card = issuing(desk);
    let mut points = Vec::new();
    for index in 0..ShareSlot::COUNT {
        let share = draw_share();
        let slot = card.free_share_slot().unwrap();
        assert_eq!(slot.index(), index);
        put_share(&mut *card, slot, &share, &certificate_for(&share.public())).unwrap();
        points.push(share.public());
    }
    assert!(matches!(card.free_share_slot(), Err(CardError::SharesFull)));
    assert!(ShareSlot::new(ShareSlot::COUNT).is_none());
    drop(card);

    desk.remove();
    desk.insert();
    let mut card = desk.open();
    let (secret, point) = software_key();
    let first = AgreementKey::Share(ShareSlot::new(0).unwrap());
    assert!(matches!(card.agree(first, &point), Err(CardError::PinNeeded)));
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.shares().unwrap().len(), points.len());
    for (slot, share) in ShareSlot::all().zip(&points) {
        let x = card.agree(AgreementKey::Share(slot), &point).unwrap();
        assert_eq!(x.expose().as_slice(), software_ecdh(&secret, share));
    }
}

pub(crate) fn a_deleted_share_is_destroyed(desk: &mut Desk) {
    let mut card = issuing(desk);
    let slots: Vec<_> = ShareSlot::all().take(3).collect();
    let shares = [draw_share(), draw_share(), draw_share()];
    for (slot, share) in slots.iter().zip(&shares) {
        put_share(&mut *card, *slot, share, &certificate_for(&share.public())).unwrap();
    }
    card.delete_share(slots[1]).unwrap();
    card.delete_share(slots[1]).unwrap();
    let left: Vec<_> = card.shares().unwrap().into_iter().map(|share| share.slot).collect();
    assert_eq!(left, [slots[0], slots[2]]);
    assert_eq!(card.free_share_slot().unwrap(), slots[1]);

    verify(&mut *card, "123456").unwrap();
    let (secret, point) = software_key();
    let deleted = card.agree(AgreementKey::Share(slots[1]), &point);
    assert!(
        deleted.is_err()
            || deleted
                .is_ok_and(|x| { x.expose().as_slice() != software_ecdh(&secret, &shares[1].public()) })
    );
    let kept = card.agree(AgreementKey::Share(slots[2]), &point).unwrap();
    assert_eq!(kept.expose().as_slice(), software_ecdh(&secret, &shares[2].public()));

    let again = draw_share();
    put_share(&mut *card, slots[1], &again, &certificate_for(&again.public())).unwrap();
    assert_eq!(card.shares().unwrap().len(), 3);
}

/// A foreign client, through the Key History object and the certificates.
pub(crate) fn opensc_finds_and_uses_the_shares(desk: &mut Desk) {
    let mut card = desk.open_managed();
    let shares = [draw_share(), draw_share(), draw_share()];
    for (slot, share) in ShareSlot::all().zip(&shares) {
        card.import_share(slot, share, &certificate_for(&share.public())).unwrap();
    }
    card.delete_share(ShareSlot::new(1).unwrap()).unwrap();
    drop(card);

    let (secret, point) = software_key();
    let spki = {
        use p256::pkcs8::EncodePublicKey;
        let key = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
        key.to_public_key_der().unwrap().into_vec()
    };
    std::fs::write(desk.folder.path().join("point.der"), spki).unwrap();
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
        .map(|folder| format!("{folder}/opensc-pkcs11.so"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("opensc-pkcs11.so is installed");
    // The first retired slot is id 05.
    for (id, share) in [("05", Some(&shares[0])), ("06", None), ("07", Some(&shares[2]))] {
        let output = Command::new("pkcs11-tool")
            .args(["--module", &library, "--login", "--pin", "123456", "--derive", "-m", "ECDH1-DERIVE"])
            .args(["--id", id, "-i", "point.der", "-o", "x.bin"])
            .current_dir(desk.folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), share.is_some(), "{id}: {output:?}");
        if let Some(share) = share {
            let x = std::fs::read(desk.folder.path().join("x.bin")).unwrap();
            assert_eq!(x, software_ecdh(&secret, &share.public()));
        }
    }
}
