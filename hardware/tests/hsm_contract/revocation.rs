//! Destruction of a grant's key is for ever: for every session, thread, copy and restart of this token.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cryptoki::object::Attribute;
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, WrappedShare};
use warifu_split_key::point::Point;

use crate::grants::session_objects;
use crate::stage::{Stage, ephemeral, share, wrap};

fn missing(result: Result<impl Sized, HsmError>) -> bool {
    matches!(result, Err(HsmError::GrantKeyMissing { .. }))
}

fn granted(hsm: &Hsm, label: &str, n: u8) -> WrappedShare {
    let wrapped = wrap(&hsm.grant_key_generate(label).unwrap(), &share(n));
    hsm.unwrap_check(label, &wrapped, &share(n).public()).unwrap();
    wrapped
}

/// Makes every session of the pool unwrap the share, by asking from many threads at once.
fn warm_all_sessions(hsm: &Hsm, label: &str, wrapped: &WrappedShare, r: &Point) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..40 {
                    hsm.partial(label, wrapped, r).unwrap();
                }
            });
        }
    });
}

pub(crate) fn a_destroyed_grant_never_answers_again(stage: &Stage) {
    let config = HsmConfig { sessions: 4, ..stage.config("t") };
    stage.init(&config);
    let hsm = Hsm::open(config).unwrap();
    let wrapped = granted(&hsm, "g", 1);
    let (_, r) = ephemeral(1);
    warm_all_sessions(&hsm, "g", &wrapped, &r);
    assert!(session_objects(stage) > 1, "several sessions keep the share");

    hsm.grant_key_destroy("g").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(missing(hsm.partial("g", &wrapped, &r)));
                    assert!(missing(hsm.unwrap_check("g", &wrapped, &share(1).public())));
                }
            });
        }
    });
    hsm.grant_key_destroy("g").unwrap();
    hsm.grant_key_destroy("never there").unwrap();
}

pub(crate) fn a_restored_blob_is_useless(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = granted(&hsm, "g", 1);
    let backup = wrapped.to_bytes();
    hsm.grant_key_destroy("g").unwrap();
    let restored = WrappedShare::from_bytes(&backup).unwrap();
    let (_, r) = ephemeral(1);
    assert!(missing(hsm.partial("g", &restored, &r)));
    // A new key for the same grant does not revive it either.
    hsm.grant_key_generate("g").unwrap();
    assert!(matches!(hsm.partial("g", &restored, &r), Err(HsmError::ShareRefused { .. })));
}

pub(crate) fn destruction_leaves_no_object(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (_, r) = ephemeral(1);
    let wrapped = granted(&hsm, "g", 1);
    warm_all_sessions(&hsm, "g", &wrapped, &r);
    // Two blobs under one grant key, as after a re-wrap.
    let again = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    warm_all_sessions(&hsm, "g", &again, &r);
    assert!(session_objects(stage) >= 2);

    hsm.grant_key_destroy("g").unwrap();
    assert_eq!(session_objects(stage), 0);
    let session = stage.session("t");
    let label = Attribute::Label(b"warifu/grant/g".to_vec());
    assert!(session.find_objects(&[label]).unwrap().is_empty());
}

pub(crate) fn destruction_leaves_other_grants_alone(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (_, r) = ephemeral(1);
    let others = (10..30).map(|n| (format!("g{n}"), granted(&hsm, &format!("g{n}"), n))).collect::<Vec<_>>();
    let wrapped = granted(&hsm, "g", 1);
    let before = session_objects(stage);
    hsm.partial("g", &wrapped, &r).unwrap();
    hsm.grant_key_destroy("g").unwrap();
    assert_eq!(session_objects(stage), before - 1);
    for (label, wrapped) in &others {
        hsm.partial(label, wrapped, &r).unwrap();
    }
}

/// Threads ask all the time. What began after the destruction had returned may not succeed, and what succeeded must
/// have been right.
pub(crate) fn destruction_is_final_under_load(stage: &Stage) {
    let config = HsmConfig { sessions: 3, shares_per_session: 2, ..stage.config("t") };
    stage.init(&config);
    let hsm = Hsm::open(config).unwrap();
    let (_, r) = ephemeral(1);
    let other = granted(&hsm, "other", 99);
    for round in 0..10 {
        let wrapped = granted(&hsm, "g", round + 1);
        let right = *hsm.partial("g", &wrapped, &r).unwrap().expose();
        let destroyed = AtomicBool::new(false);
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let already_destroyed = destroyed.load(Ordering::SeqCst);
                        hsm.partial("other", &other, &r).unwrap();
                        match hsm.partial("g", &wrapped, &r) {
                            Ok(x) => {
                                assert!(!already_destroyed, "answered after its destruction");
                                assert_eq!(*x.expose(), right);
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(HsmError::GrantKeyMissing { .. }) if already_destroyed => break,
                            Err(HsmError::GrantKeyMissing { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            while answered.load(Ordering::SeqCst) < 20 {
                std::thread::yield_now();
            }
            hsm.grant_key_destroy("g").unwrap();
            destroyed.store(true, Ordering::SeqCst);
        });
    }
}

pub(crate) fn destruction_survives_lost_sessions(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (_, r) = ephemeral(1);
    let wrapped = granted(&hsm, "g", 1);
    stage.lose_sessions();
    hsm.grant_key_destroy("g").unwrap();
    assert!(missing(hsm.partial("g", &wrapped, &r)));

    let wrapped = granted(&hsm, "h", 2);
    hsm.grant_key_destroy("h").unwrap();
    stage.lose_sessions();
    assert!(hsm.partial("h", &wrapped, &r).is_err());
    assert!(missing(hsm.partial("h", &wrapped, &r)));
}

pub(crate) fn destruction_survives_a_restart(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (_, r) = ephemeral(1);
    let (gone, kept) = (granted(&hsm, "gone", 1), granted(&hsm, "kept", 2));
    hsm.grant_key_destroy("gone").unwrap();
    drop(hsm);
    stage.lose_sessions();
    let hsm = Hsm::open(stage.config("t")).unwrap();
    assert!(missing(hsm.partial("gone", &gone, &r)));
    hsm.partial("kept", &kept, &r).unwrap();
    assert_eq!(hsm.grant_keys().unwrap(), ["kept"]);
}
