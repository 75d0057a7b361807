//! A share goes from one token into another without having been anywhere else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aes_kw::{KeyInit, KwpAes256};
use cryptoki::object::{Attribute, ObjectClass};
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, WrappedShare};

use crate::grants::session_objects;
use crate::stage::{Stage, ecdh, ephemeral, share, wrap};

fn refused(result: Result<impl Sized, HsmError>) -> bool {
    matches!(result, Err(HsmError::ShareRefused { .. }))
}

fn missing(result: Result<impl Sized, HsmError>) -> bool {
    matches!(result, Err(HsmError::GrantKeyMissing { .. }))
}

pub(crate) fn a_share_without_its_grant_key_is_not_rewrapped(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&ephemeral(9).1, &share(1));
    assert!(missing(hsm.rewrap("g", &wrapped, &ephemeral(1).1)));
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    hsm.unwrap_check("g", &wrapped, &share(1).public()).unwrap();
    hsm.grant_key_destroy("g").unwrap();
    assert!(missing(hsm.rewrap("g", &wrapped, &ephemeral(1).1)));
}

pub(crate) fn a_broken_share_is_not_rewrapped(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    let (_, to) = ephemeral(1);
    for index in [65, 90, wrapped.to_bytes().len() - 1] {
        let mut bytes = wrapped.to_bytes();
        bytes[index] ^= 1;
        assert!(refused(hsm.rewrap("g", &WrappedShare::from_bytes(&bytes).unwrap(), &to)), "byte {index}");
    }
    hsm.grant_key_generate("h").unwrap();
    assert!(refused(hsm.rewrap("h", &wrapped, &to)), "another grant's share");
    assert_eq!(session_objects(stage), 0);
}

pub(crate) fn another_share_is_noticed_where_it_arrives(stage: &Stage) {
    let (here, there) = (stage.hsm("t"), stage.hsm("u"));
    let wrapped = wrap(&here.grant_key_generate("g").unwrap(), &share(1));
    let key = there.grant_key_generate("g").unwrap();
    let again = here.rewrap("g", &wrapped, &key).unwrap();
    assert!(refused(there.unwrap_check("g", &again, &share(2).public())));
    there.grant_key_generate("h").unwrap();
    assert!(refused(there.unwrap_check("h", &again, &share(1).public())), "for another grant");
    there.unwrap_check("g", &again, &share(1).public()).unwrap();
}

pub(crate) fn a_rewrapped_share_answers_in_the_other_token_alone(stage: &Stage) {
    let (here, there) = (stage.hsm("t"), stage.hsm("u"));
    let wrapped = wrap(&here.grant_key_generate("g").unwrap(), &share(1));
    let again = here.rewrap("g", &wrapped, &there.grant_key_generate("g").unwrap()).unwrap();
    let again = WrappedShare::from_bytes(&again.to_bytes()).unwrap();
    there.unwrap_check("g", &again, &share(1).public()).unwrap();
    for n in 1..9 {
        let (_, r) = ephemeral(n);
        let at_home = *here.partial("g", &wrapped, &r).unwrap().expose();
        assert_eq!(*there.partial("g", &again, &r).unwrap().expose(), at_home);
    }
    let (_, r) = ephemeral(1);
    assert!(refused(here.partial("g", &again, &r)), "not in the token that made it");
    // Neither token depends on the other.
    here.grant_key_destroy("g").unwrap();
    there.partial("g", &again, &r).unwrap();
}

pub(crate) fn a_share_goes_on_from_token_to_token(stage: &Stage) {
    let mut hsm = stage.hsm("t");
    let mut wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(7));
    for label in ["u", "v", "w"] {
        let next = stage.hsm(label);
        wrapped = hsm.rewrap("g", &wrapped, &next.grant_key_generate("g").unwrap()).unwrap();
        next.unwrap_check("g", &wrapped, &share(7).public()).unwrap();
        hsm = next;
    }
}

/// Each wrap has an ephemeral key of its own, so each AES key wraps once.
pub(crate) fn every_rewrap_is_another(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    let (_, to) = ephemeral(1);
    let made = (0..16).map(|_| hsm.rewrap("g", &wrapped, &to).unwrap());
    let ephemerals: BTreeSet<_> = made.map(|one| one.ephemeral().to_compressed()).collect();
    assert_eq!(ephemerals.len(), 16);
}

/// What comes out is KWP around a PKCS#8 of the share, readable by whoever owns the key, and all session objects are gone:
/// above all the one that could have been wrapped again.
pub(crate) fn nothing_readable_is_left_of_a_rewrap(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    let (secret, to) = ephemeral(1);
    let again = hsm.rewrap("g", &wrapped, &to).unwrap();
    assert_eq!(session_objects(stage), 0);
    let session = stage.session("t");
    let extractable = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Extractable(true)];
    assert!(session.find_objects(&extractable).unwrap().is_empty());

    let kwp = KwpAes256::new(&ecdh(&secret, again.ephemeral()).into());
    let mut plain = vec![0; again.blob().len()];
    let plain = kwp.unwrap_key(again.blob(), &mut plain).unwrap();
    let scalar = share(1).expose_bytes();
    assert!(plain.windows(32).any(|window| window == *scalar));

    // An object that answers is kept as before, and is still not the one that was wrapped.
    let (_, r) = ephemeral(2);
    hsm.partial("g", &wrapped, &r).unwrap();
    hsm.rewrap("g", &wrapped, &to).unwrap();
    assert_eq!(session_objects(stage), 1);
    assert!(session.find_objects(&extractable).unwrap().is_empty());
}

/// A destruction comes entirely before a re-wrap, or entirely after it.
pub(crate) fn a_destroyed_grant_is_not_rewrapped_under_load(stage: &Stage) {
    let config = HsmConfig { sessions: 3, ..stage.config("t") };
    stage.init(&config);
    let hsm = Hsm::open(config).unwrap();
    let (_, to) = ephemeral(1);
    for round in 0..5 {
        let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(round + 1));
        let (destroyed, made) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let already = destroyed.load(Ordering::SeqCst);
                        match hsm.rewrap("g", &wrapped, &to) {
                            Ok(_) => {
                                assert!(!already, "re-wrapped after its destruction");
                                made.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(HsmError::GrantKeyMissing { .. }) if already => break,
                            Err(HsmError::GrantKeyMissing { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            while made.load(Ordering::SeqCst) < 5 {
                std::thread::yield_now();
            }
            hsm.grant_key_destroy("g").unwrap();
            destroyed.store(true, Ordering::SeqCst);
        });
        assert_eq!(session_objects(stage), 0);
    }
}
