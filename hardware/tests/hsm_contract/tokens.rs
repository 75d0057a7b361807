//! Module, token, PIN and sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, Pin, PinSource};

use crate::stage::{SO_PIN, Stage, USER_PIN};

pub(crate) fn a_missing_module_is_named(stage: &Stage) {
    let config = HsmConfig { module: "/nowhere/module.so".into(), ..stage.config("t") };
    let error = Hsm::open(config).unwrap_err();
    assert!(
        matches!(&error, HsmError::ModuleUnusable { path, .. } if path.ends_with("module.so")),
        "{error:?}"
    );
}

pub(crate) fn a_file_that_is_no_module_is_named(stage: &Stage) {
    let module = stage.pin_file("not-a-module.so", "text");
    let error = Hsm::open(HsmConfig { module, ..stage.config("t") }).unwrap_err();
    assert!(matches!(error, HsmError::ModuleUnusable { .. }), "{error:?}");
}

pub(crate) fn a_missing_token_is_named(stage: &Stage) {
    stage.init(&stage.config("here"));
    let error = Hsm::open(stage.config("elsewhere")).unwrap_err();
    assert!(matches!(&error, HsmError::TokenMissing { label } if label == "elsewhere"), "{error:?}");
}

pub(crate) fn a_wrong_pin_is_refused(stage: &Stage) {
    let right = stage.config("t");
    stage.init(&right);
    let wrong = HsmConfig {
        pin_source: PinSource::File(stage.pin_file("wrong.pin", "not the PIN")),
        ..right.clone()
    };
    assert!(matches!(Hsm::open(wrong), Err(HsmError::PinWrong { .. })));
    assert!(Hsm::open(right).is_ok());
}

pub(crate) fn an_unreadable_pin_is_refused(stage: &Stage) {
    let config = stage.config("t");
    stage.init(&config);
    let pin_source = PinSource::File(stage.folder.join("nowhere.pin"));
    let error = Hsm::open(HsmConfig { pin_source, ..config }).unwrap_err();
    assert!(matches!(&error, HsmError::PinUnreadable { path, .. } if path.ends_with("nowhere.pin")));
}

pub(crate) fn a_pin_for_everyone_is_refused(stage: &Stage) {
    let config = stage.config("t");
    stage.init(&config);
    let PinSource::File(path) = &config.pin_source else { panic!("a file was configured") };
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Hsm::open(config), Err(HsmError::PinExposed { mode: 0o644, .. })));
}

pub(crate) fn an_existing_token_is_left_alone(stage: &Stage) {
    let config = stage.config("t");
    stage.init(&config);
    let hsm = Hsm::open(config.clone()).unwrap();
    let key = hsm.ensure_signing_key("k").unwrap().public_key();
    let again = Hsm::init_token(&config, &Pin::new(SO_PIN.into()));
    assert!(matches!(again, Err(HsmError::TokenExists { label }) if label == "t"));
    assert_eq!(hsm.ensure_signing_key("k").unwrap().public_key(), key);
}

pub(crate) fn impossible_labels_are_refused(stage: &Stage) {
    for label in ["", "市役所市役所市役所市役所"] {
        let config = HsmConfig { token_label: label.into(), ..stage.config("t") };
        let error = Hsm::init_token(&config, &Pin::new(SO_PIN.into())).unwrap_err();
        assert!(matches!(error, HsmError::TokenLabelLength { length } if length == label.len()));
    }
}

pub(crate) fn a_token_is_not_opened_in_two_ways(stage: &Stage) {
    let config = stage.config("t");
    let hsm = stage.hsm("t");
    assert!(Hsm::open(config.clone()).is_ok(), "the same way is the same token");
    let other = HsmConfig { sessions: 7, ..config };
    assert!(matches!(Hsm::open(other.clone()), Err(HsmError::AlreadyOpen { .. })));
    drop(hsm);
    assert!(Hsm::open(other).is_ok(), "after the last handle is gone it is not open any more");
}

pub(crate) fn a_token_that_went_away_is_named(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.ensure_signing_key("k").unwrap();
    fs::rename(stage.folder.join("tokens"), stage.folder.join("pulled")).unwrap();
    fs::create_dir(stage.folder.join("tokens")).unwrap();
    stage.lose_sessions();
    assert!(key.sign_digest([1; 32]).is_err());
    for _ in 0..2 {
        assert!(matches!(key.sign_digest([1; 32]), Err(HsmError::TokenMissing { label }) if label == "t"));
    }
    // And back again.
    fs::remove_dir(stage.folder.join("tokens")).unwrap();
    fs::rename(stage.folder.join("pulled"), stage.folder.join("tokens")).unwrap();
    stage.lose_sessions();
    key.sign_digest([1; 32]).unwrap();
}

pub(crate) fn lost_sessions_are_reopened(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.ensure_signing_key("k").unwrap();
    let grant = hsm.grant_key_generate("g").unwrap();
    stage.lose_sessions();
    let error = key.sign_digest([1; 32]).unwrap_err();
    assert!(error.to_string().starts_with("C_"), "names the function: {error}");
    key.sign_digest([1; 32]).unwrap();
    assert_eq!(hsm.grant_key_generate("g").unwrap(), grant);
}

pub(crate) fn a_changed_pin_is_tried_once(stage: &Stage) {
    let config = stage.config("t");
    stage.init(&config);
    let hsm = Hsm::open(config.clone()).unwrap();
    stage.lose_sessions();
    let PinSource::File(path) = &config.pin_source else { panic!("a file was configured") };
    fs::write(path, "something else").unwrap();
    assert!(hsm.ensure_signing_key("k").is_err());
    assert!(matches!(hsm.ensure_signing_key("k"), Err(HsmError::PinWrong { .. })));
    // Not even the right PIN is shown again by this handle: someone has to look at it.
    fs::write(path, USER_PIN).unwrap();
    assert!(matches!(hsm.ensure_signing_key("k"), Err(HsmError::PinWrong { .. })));
    drop(hsm);
    assert!(Hsm::open(config).is_ok());
}

pub(crate) fn an_interrupted_initialization_is_completed(stage: &Stage) {
    let config = stage.config("t");
    stage.init(&stage.config("other"));
    let context = stage.pkcs11();
    let slots = context.get_slots_with_token().unwrap();
    let free =
        slots.into_iter().find(|slot| !context.get_token_info(*slot).unwrap().token_initialized()).unwrap();
    context.init_token(free, &AuthPin::new(SO_PIN.into()), "t").unwrap();

    assert!(matches!(Hsm::open(config.clone()), Err(HsmError::PinUnusable { .. })));
    let wrong = Hsm::init_token(&config, &Pin::new("not the officer's".into()));
    assert!(matches!(wrong, Err(HsmError::PinWrong { .. })));
    stage.init(&config);
    Hsm::open(config).unwrap().ensure_signing_key("k").unwrap();
}

pub(crate) fn several_tokens_live_together(stage: &Stage) {
    let hsms = ["ca", "kms", "site"].map(|label| stage.hsm(label));
    let keys = hsms.each_ref().map(|hsm| hsm.ensure_signing_key("same name").unwrap().public_key());
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    // A token's login is its own.
    let session = stage.session("ca");
    assert!(session.login(UserType::User, Some(&AuthPin::new(USER_PIN.into()))).is_err(), "already in");
}

pub(crate) fn mechanisms_are_probed(stage: &Stage) {
    let hsm = stage.hsm("t");
    hsm.grant_key_generate("g").unwrap();
    let found = hsm.probe().unwrap();
    assert!(found.present.contains(&"CKM_AES_KEY_WRAP_PAD"));
    assert_eq!((found.grant_keys, found.max_grant_keys), (1, None));
    assert!(!found.model.is_empty());
}
