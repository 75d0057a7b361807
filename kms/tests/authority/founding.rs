//! Before there is an organization, and how there comes to be one.

use warifu_api::wire::authority::{CheckpointAnswer, Status};
use warifu_api::{ErrorCode, wire::authority::OrderRequest};
use warifu_console::ConsoleError;
use warifu_kms::authority::{Authority, AuthorityError};
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::register::Record;

use crate::fixture::*;
use crate::stage::{OFFICERS, Stage, code, staged};
use crate::town::Town;

staged! {
    async fn unfounded_it_answers_its_status_and_nothing_else(stage) {
        let kms = stage.start().await;
        let status: Status = kms.stranger().get("/v1/status").await.unwrap();
        assert_eq!((status.organization, status.size, status.time), (None, 0, T0));
        for path in [
            "/v1/profile", "/v1/directory", "/v1/checkpoint", "/v1/ledger?from=0", "/v1/register",
            "/v1/ledger/stream?from=0",
        ] {
            let answer = kms.by(key("ca tls")).get::<CheckpointAnswer>(path).await;
            assert_eq!(code(answer), ErrorCode::NotFounded, "{path}");
        }
        let order = OrderRequest { envelope: stage.founding_by(OFFICERS, &["ca"]), records: vec![] };
        assert_eq!(code(kms.stranger().post::<Status>("/v1/orders", &order).await), ErrorCode::NotFounded);
    }

    async fn a_founding_needs_every_signature(stage) {
        for (officers, services) in [(&OFFICERS[..2], &["ca"][..]), (OFFICERS, &[]), (OFFICERS, &["kms"])] {
            let envelope = stage.founding_by(officers, services);
            let refused = stage.try_to_found(&envelope, Stage::founding_records()).await.unwrap_err();
            assert!(
                matches!(refused, AuthorityError::Envelope(EnvelopeError::NotSigned { .. })),
                "{officers:?} {services:?}: {refused:?}"
            );
        }
        stage.found().await;
    }

    async fn a_founding_is_for_this_token(stage) {
        let other = founding_envelope(&founding(), OFFICERS);
        let refused = stage.try_to_found(&other, Stage::founding_records()).await;
        assert!(matches!(refused, Err(AuthorityError::OtherKeys)));
    }

    async fn a_founding_comes_with_its_records(stage) {
        let envelope = stage.founding_by(OFFICERS, &["ca"]);
        let all = Stage::founding_records();
        let refused = stage.try_to_found(&envelope, all[1..].to_vec()).await;
        assert!(matches!(refused, Err(AuthorityError::RecordMismatch { record }) if record == all[0].id));
        let mut changed = all.clone();
        changed[0] = Record { text: "松本市".to_owned(), ..changed[0].clone() };
        let refused = stage.try_to_found(&envelope, changed).await;
        assert!(matches!(refused, Err(AuthorityError::RecordMismatch { record }) if record == all[0].id));
        let more = [all.clone(), vec![record("more")]].concat();
        let refused = stage.try_to_found(&envelope, more).await;
        assert!(matches!(refused, Err(AuthorityError::RecordSuperfluous { record: r }) if r == record("more").id));
        stage.try_to_found(&envelope, all).await.unwrap();
    }

    async fn founded_once(stage) {
        let envelope = stage.founding_by(OFFICERS, &["ca"]);
        let completed = stage.try_to_found(&envelope, Stage::founding_records()).await.unwrap();
        completed.verify(&stage.keys.signing).unwrap();
        // Again, though it lacks the signature and the records now.
        assert_eq!(stage.try_to_found(&envelope, vec![]).await.unwrap(), completed);
        let mut other = stage.founding();
        other.id = id("another town");
        let mut other: Envelope = envelope_by_cards(&other, OFFICERS);
        add_signature(&mut other, &key("ca signing"));
        let refused = stage.try_to_found(&other, Stage::founding_records()).await;
        assert!(matches!(refused, Err(AuthorityError::FoundedAlready { organization }) if organization == completed.digest()));

        let town = Town::open(&stage).await;
        assert_eq!(town.organization().await, completed.digest());
        assert_eq!(town.leaves().await[0].envelope(), &completed);
        // One process for one folder.
        let second = Authority::open(&stage.config, stage.clock.clone()).await;
        assert!(matches!(second, Err(AuthorityError::Console(ConsoleError::InUse { .. }))));
    }
}
