//! A token that goes away while it is used, at any call, and is there again later.

use std::fs;

use warifu_broken_parts::{Call, PullableHsm};
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, PinSource};

use crate::stage::{Stage, ephemeral, share, wrap};

fn pullable(stage: &Stage) -> (PullableHsm, HsmConfig) {
    let pullable = PullableHsm::build(&stage.folder).unwrap();
    let config = HsmConfig { module: pullable.module(), ..stage.config("t") };
    stage.init(&config);
    (pullable, config)
}

pub(crate) fn a_token_that_is_pulled_is_named_and_comes_back_by_itself(stage: &Stage) {
    let (pullable, config) = pullable(stage);
    let hsm = Hsm::open(config).unwrap();
    let key = hsm.ensure_signing_key("k").unwrap();
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    let (_, r) = ephemeral(1);
    let right = *hsm.partial("g", &wrapped, &r).unwrap().expose();
    let logins = pullable.logins();
    for call in [Call::SignInit, Call::DeriveKey] {
        pullable.pull_at(call).unwrap();
        // One of the two meets the call; then both find nothing.
        let _ = (key.sign_digest([1; 32]), hsm.partial("g", &wrapped, &r));
        assert!(pullable.is_pulled());
        for _ in 0..2 {
            assert!(
                matches!(key.sign_digest([1; 32]), Err(HsmError::TokenMissing { label }) if label == "t")
            );
            assert!(matches!(hsm.partial("g", &wrapped, &r), Err(HsmError::TokenMissing { .. })));
        }
        pullable.put_back().unwrap();
        key.sign_digest([1; 32]).unwrap();
        assert_eq!(*hsm.partial("g", &wrapped, &r).unwrap().expose(), right);
    }
    assert_eq!(pullable.logins(), logins + 2, "one login each time it was back");
}

pub(crate) fn a_destruction_that_was_cut_off_is_an_error_until_it_is_done(stage: &Stage) {
    let (pullable, config) = pullable(stage);
    let hsm = Hsm::open(config).unwrap();
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1));
    let (_, r) = ephemeral(1);
    hsm.partial("g", &wrapped, &r).unwrap();
    pullable.pull_at(Call::DestroyObject).unwrap();
    for _ in 0..2 {
        assert!(hsm.grant_key_destroy("g").is_err());
    }
    assert!(pullable.is_pulled());
    pullable.put_back().unwrap();
    assert_eq!(hsm.grant_keys().unwrap(), ["g"], "it was not destroyed, and nobody said so");
    hsm.grant_key_destroy("g").unwrap();
    assert!(matches!(hsm.partial("g", &wrapped, &r), Err(HsmError::GrantKeyMissing { .. })));
    assert!(hsm.grant_keys().unwrap().is_empty());
}

pub(crate) fn a_wrong_pin_is_shown_once(stage: &Stage) {
    let (pullable, config) = pullable(stage);
    let hsm = Hsm::open(config.clone()).unwrap();
    let key = hsm.ensure_signing_key("k").unwrap();
    let PinSource::File(path) = &config.pin_source else { panic!("a file was configured") };
    fs::write(path, "something else").unwrap();
    pullable.pull().unwrap();
    assert!(key.sign_digest([1; 32]).is_err());
    pullable.put_back().unwrap();
    let logins = pullable.logins();
    for _ in 0..5 {
        assert!(key.sign_digest([1; 32]).is_err());
    }
    assert!(matches!(key.sign_digest([1; 32]), Err(HsmError::PinWrong { .. })));
    assert_eq!(pullable.logins(), logins + 1);
}
