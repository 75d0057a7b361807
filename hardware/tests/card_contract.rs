//! The contract of [`warifu_hardware::card::Card`], run over every backend. Each test has readers of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod card_contract {
    pub(crate) mod access;
    pub(crate) mod desk;
    pub(crate) mod faults;
    pub(crate) mod keys;
    pub(crate) mod modules;
    pub(crate) mod secrets;
    pub(crate) mod shares;
}

use card_contract::desk::{Backend, Desk};
use card_contract::{access, faults, keys, modules, secrets, shares};
use warifu_virtual_card::readers;

/// Runs the whole contract over one backend.
macro_rules! contract {
    ($name_of:ident, $backend:expr; $($module:ident :: { $($name:ident),+ $(,)? })+) => {
        mod $name_of {
            use super::*;
            $($(
                #[test]
                fn $name() {
                    readers::private(2, |readers| $module::$name(&mut Desk::new(readers, $backend)));
                }
            )+)+
        }
    };
}

contract! { piv, Backend::Piv;
    access::{
        a_wrong_pin_is_reported_with_the_tries_left_and_never_retried,
        the_last_try_is_not_spent_silently,
        a_blocked_pin_is_reported_without_asking,
        a_wrong_old_pin_changes_nothing,
        the_puk_unblocks_and_is_never_retried,
        the_last_try_of_the_puk_is_not_spent_silently,
        a_puk_whose_tries_are_not_told_may_be_at_its_last,
        counting_tries_does_not_forget_the_pin,
        a_wrong_management_key_is_reported,
        nothing_is_written_without_the_management_key,
        every_kind_of_management_key_works,
        a_reset_by_another_program_costs_the_pin_and_nothing_else,
        a_card_that_is_opened_again_wants_its_pin,
    }
    faults::{
        a_removed_card_is_removed_for_good,
        a_card_pulled_in_the_middle_is_removed,
        a_foreign_card_an_empty_reader_and_no_reader_are_told_apart,
        a_reader_service_that_dies_is_reported,
        nonsense_from_the_card_is_an_error_and_no_panic,
        two_cards_are_told_apart_by_reader,
    }
    keys::{
        keys_need_the_pin,
        the_signature_key_needs_the_pin_every_time,
        the_transport_key_does_not_sign,
        missing_keys_are_missing,
        points_off_the_curve_never_reach_the_card,
        ecdh_equals_software,
        a_certificate_for_another_key_is_refused,
        keys_survive_reinsertion,
        generated_keys_are_attested_and_others_are_not,
    }
    secrets::{
        a_new_card_says_so_and_a_used_one_does_not,
        the_management_key_lies_behind_the_pin_where_others_look_for_it,
        every_kind_of_management_key_is_protected,
        a_management_key_of_somebody_elses_is_left_alone,
        a_management_key_that_another_program_replaced_is_left_alone,
        a_wrong_old_puk_changes_nothing,
        a_card_that_is_pulled_while_its_secrets_change_goes_on,
    }
    shares::{
        a_share_needs_its_own_certificate_and_a_free_slot,
        twenty_shares_fit_and_no_more,
        a_deleted_share_is_destroyed,
        opensc_finds_and_uses_the_shares,
    }
}

contract! { opensc, Backend::OpenSc;
    access::{
        a_wrong_pin_is_reported_with_the_tries_left_and_never_retried,
        the_last_try_is_not_spent_silently,
        a_blocked_pin_is_reported_without_asking,
        a_wrong_old_pin_changes_nothing,
        a_card_that_is_opened_again_wants_its_pin,
    }
    faults::{
        a_removed_card_is_removed_for_good,
        two_cards_are_told_apart_by_reader,
    }
    keys::{
        keys_need_the_pin,
        the_signature_key_needs_the_pin_every_time,
        the_transport_key_does_not_sign,
        missing_keys_are_missing,
        ecdh_equals_software,
        keys_survive_reinsertion,
    }
    modules::{
        cards_are_used_and_not_issued,
        shares_of_a_piv_card_are_used,
        a_card_pulled_twenty_times_never_keeps_anybody_waiting,
    }
}

contract! { ykcs11, Backend::Ykcs11;
    access::{
        a_wrong_pin_is_reported_with_the_tries_left_and_never_retried,
        the_last_try_is_not_spent_silently,
        a_blocked_pin_is_reported_without_asking,
        a_wrong_old_pin_changes_nothing,
        a_card_that_is_opened_again_wants_its_pin,
    }
    faults::{
        a_removed_card_is_removed_for_good,
        two_cards_are_told_apart_by_reader,
    }
    keys::{
        keys_need_the_pin,
        the_signature_key_needs_the_pin_every_time,
        the_transport_key_does_not_sign,
        missing_keys_are_missing,
        ecdh_equals_software,
        keys_survive_reinsertion,
    }
    modules::{
        cards_are_used_and_not_issued,
        shares_of_a_piv_card_are_used,
        a_card_pulled_twenty_times_never_keeps_anybody_waiting,
    }
}

contract! { softhsm, Backend::SoftHsm;
    access::{
        a_wrong_pin_is_reported_with_the_tries_left_and_never_retried,
        a_wrong_old_pin_changes_nothing,
        nothing_is_written_without_the_pin,
        a_card_that_is_opened_again_wants_its_pin,
    }
    faults::{
        a_removed_card_is_removed_for_good,
    }
    keys::{
        keys_need_the_pin,
        the_signature_key_needs_the_pin_every_time,
        the_transport_key_does_not_sign,
        missing_keys_are_missing,
        ecdh_equals_software,
        a_certificate_for_another_key_is_refused,
        keys_survive_reinsertion,
    }
    shares::{
        a_share_needs_its_own_certificate_and_a_free_slot,
        twenty_shares_fit_and_no_more,
        a_deleted_share_is_destroyed,
    }
    modules::{
        a_share_that_is_not_the_certificates_is_refused,
        fewer_tries_are_shown,
        a_module_that_cannot_be_used_is_named,
        a_module_that_hangs_is_killed,
        a_hung_module_is_interrupted,
        tokens_that_come_and_go_are_seen,
        a_token_that_is_not_seen_once_stays,
    }
}
