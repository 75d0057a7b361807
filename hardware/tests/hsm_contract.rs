//! What every HSM must do for us, negative cases first, run over each backend.
//!
//! A PKCS#11 module is initialized once in a process and takes its configuration from the environment, so each test
//! runs itself again in a process of its own, with a folder of its own (`stage::run`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "hsm_contract/grants.rs"]
mod grants;
#[path = "hsm_contract/keys.rs"]
mod keys;
#[path = "hsm_contract/pulled.rs"]
mod pulled;
#[path = "hsm_contract/revocation.rs"]
mod revocation;
#[path = "hsm_contract/rewrap.rs"]
mod rewrap;
#[path = "hsm_contract/stage.rs"]
mod stage;
#[path = "hsm_contract/tokens.rs"]
mod tokens;
#[path = "hsm_contract/x509.rs"]
mod x509;

macro_rules! contract {
    ($($group:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        mod softhsm {
            $($(
                #[test]
                fn $name() {
                    crate::stage::run::<crate::stage::SoftHsm>(
                        concat!("softhsm::", stringify!($name)),
                        crate::$group::$name,
                    );
                }
            )*)*
        }
    };
}

contract! {
    tokens: [
        a_missing_module_is_named,
        a_file_that_is_no_module_is_named,
        a_missing_token_is_named,
        a_wrong_pin_is_refused,
        an_unreadable_pin_is_refused,
        a_pin_for_everyone_is_refused,
        an_existing_token_is_left_alone,
        impossible_labels_are_refused,
        a_token_is_not_opened_in_two_ways,
        a_token_that_went_away_is_named,
        lost_sessions_are_reopened,
        a_changed_pin_is_tried_once,
        an_interrupted_initialization_is_completed,
        several_tokens_live_together,
        mechanisms_are_probed,
    ],
    keys: [
        a_seal_opens_only_whole_and_in_its_context,
        a_seal_of_another_key_does_not_open,
        seals_survive_a_restart,
        marks_survive_a_restart,
        an_extractable_key_is_refused,
        a_key_without_its_public_half_is_refused,
        two_keys_of_one_name_are_refused,
        a_key_that_went_away_is_named,
        a_leftover_public_half_is_replaced,
        keys_are_found_again,
        what_was_destroyed_signs_no_more,
        signatures_verify,
        agreement_is_ecdh,
        secrets_cannot_be_read,
        two_threads_work_in_parallel,
    ],
    grants: [
        a_grant_without_a_key_answers_nothing,
        a_share_of_another_point_is_refused,
        a_share_for_another_grant_is_refused,
        a_changed_wrap_is_refused,
        a_wrapped_thing_that_is_no_share_is_refused,
        malformed_wraps_are_refused,
        no_more_grants_than_allowed,
        half_a_pair_is_replaced,
        a_second_blob_is_not_answered_by_the_first,
        the_cache_is_bounded,
        partials_match_wycheproof,
        every_form_of_pkcs8_unwraps,
    ],
    rewrap: [
        a_share_without_its_grant_key_is_not_rewrapped,
        a_broken_share_is_not_rewrapped,
        another_share_is_noticed_where_it_arrives,
        a_rewrapped_share_answers_in_the_other_token_alone,
        a_share_goes_on_from_token_to_token,
        every_rewrap_is_another,
        nothing_readable_is_left_of_a_rewrap,
        a_destroyed_grant_is_not_rewrapped_under_load,
    ],
    revocation: [
        a_destroyed_grant_never_answers_again,
        a_restored_blob_is_useless,
        destruction_leaves_no_object,
        destruction_leaves_other_grants_alone,
        destruction_is_final_under_load,
        destruction_survives_lost_sessions,
        destruction_survives_a_restart,
    ],
    pulled: [
        a_token_that_is_pulled_is_named_and_comes_back_by_itself,
        a_destruction_that_was_cut_off_is_an_error_until_it_is_done,
        a_wrong_pin_is_shown_once,
    ],
    x509: [
        openssl_verifies_a_chain,
        a_tls_server_holds_its_key_in_the_hsm,
        a_tls_client_holds_its_key_in_the_hsm,
        a_certificate_for_another_key_is_refused,
    ],
}
