//! Deliveries: what the box takes in and from whom, what comes of parts, who takes them out, and when they are deleted (P-17).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use axum::routing::post;
use axum::{Json, Router};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use warifu_api::server::{Limits, serve_anybody};
use warifu_api::tls::public::server_config_for_anybody;
use warifu_api::wire::Done;
use warifu_api::wire::deliveries::{
    AtUnit, Completion, Delivered, DeliveryState, Handling, Inbox, Offer, Offered, OutsideOffer, PART,
    PassOn, Return, StandingRequest, Terms,
};
use warifu_api::{Client, ClientError, ErrorBody, ErrorCode};
use warifu_crash_point::CrashPoint;
use warifu_kms::authority::config::BoxSettings;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::delivery::{Sender, received, sent_by};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Addressees, Delivery, Order, ReceivedState, Right, Standing};
use warifu_ledger::tree::Tree;
use warifu_ledger::{Digest, Id};
use warifu_replica::clock::{Clock as _, ManualClock, SystemClock};

use crate::fixture::*;
use crate::s3::S3;
use crate::slips::started;
use crate::stage::{DEADLINE, Stage, code, identity, staged};
use crate::town::Town;
use crate::trusts::{alps, cosign};

const MIB: usize = 1 << 20;
const HOUR: u64 = DAY / 24;

/// The town where `hanako` may open `tax`, with the front desk `front`, where `jiro` and `goro` route to `tax`; the ca has cosigned it.
pub(crate) async fn with_box(stage: &Stage) -> Town {
    let town = Town::open_to_all(stage).await;
    town.done([front_desk("front", &["tax"]), unit("welfare")], TWO).await;
    town.create("front").await;
    town.create("welfare").await;
    town.done([enrol("goro")], TWO).await;
    town.done(["jiro", "goro"].map(|card| grant_with(card, "front", Right::Route, None)), TWO).await;
    cosign(&town, stage).await;
    town
}

/// So many bytes that are nobody else's.
pub(crate) fn ciphertext(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

pub(crate) async fn drawn(town: &Town, card: &str, unit: &str, file: &[u8]) -> Delivery {
    let (organization, now) = (town.organization().await, town.kms.clock.wall_ms());
    Delivery {
        organization,
        id: id("delivery"),
        card: card_id(card),
        to: Addressees { organization, units: BTreeSet::from([id(unit)]) },
        title: "資格照会（３件）".to_owned(),
        name: "照会.pdf.age".to_owned(),
        size: file.len() as u64,
        digest: Digest::of(file),
        sent_at: now,
        reply_to: None,
        expires_at: now + 200 * DAY,
    }
}

pub(crate) async fn signed(town: &Town, delivery: &Delivery, card: &str) -> Offer {
    let path = format!("/v1/cards/{}/sender", card_id(card));
    let sender: Sender = town.card(card).get(&path).await.unwrap();
    Offer { delivery: envelope_by_cards(delivery, &[card]), sender }
}

pub(crate) async fn offer(client: &Client, offer: &Offer) -> Result<Delivered, ClientError> {
    client.post("/v1/deliveries", offer).await
}

fn at(delivery: &Id, what: &str) -> String {
    format!("/v1/deliveries/{delivery}{what}")
}

pub(crate) async fn put(client: &Client, delivery: &Id, part: u64, bytes: &[u8]) -> Result<(), ErrorCode> {
    let path = at(delivery, &format!("/parts/{part}"));
    let (status, body) = client.forward(Method::PUT, &path, Bytes::copy_from_slice(bytes)).await.unwrap();
    if status.is_success() { Ok(()) } else { Err(serde_json::from_slice::<ErrorBody>(&body).unwrap().code) }
}

pub(crate) async fn taken(client: &Client, delivery: &Id, part: u64) -> Result<Bytes, ErrorCode> {
    let path = at(delivery, &format!("/parts/{part}"));
    let (status, body) = client.forward(Method::GET, &path, Bytes::new()).await.unwrap();
    if status.is_success() { Ok(body) } else { Err(serde_json::from_slice::<ErrorBody>(&body).unwrap().code) }
}

pub(crate) async fn state(client: &Client, delivery: &Id) -> DeliveryState {
    client.get::<Delivered>(&at(delivery, "")).await.unwrap().state
}

pub(crate) fn arriving(missing: &[u64]) -> DeliveryState {
    DeliveryState::Arriving { missing: missing.to_vec(), other_file: false }
}

/// Asks until it is known whether it is whole.
pub(crate) async fn complete(client: &Client, delivery: &Id, file: &[u8]) -> Delivered {
    let completion = Completion { digest: Digest::of(file) };
    loop {
        let delivered: Delivered = client.post(&at(delivery, "/complete"), &completion).await.unwrap();
        if !matches!(delivered.state, DeliveryState::Checking { .. }) {
            return delivered;
        }
    }
}

/// Sends `file` by `card` to `unit`, to its end.
async fn sent(town: &Town, card: &str, unit: &str, file: &[u8], label: &str) -> Delivery {
    let delivery = Delivery { id: id(label), ..drawn(town, card, unit, file).await };
    let client = town.card(card);
    offer(&client, &signed(town, &delivery, card).await).await.unwrap();
    for (part, bytes) in (0..).zip(file.chunks(usize::try_from(PART).unwrap())) {
        put(&client, &delivery.id, part, bytes).await.unwrap();
    }
    let state = complete(&client, &delivery.id, file).await.state;
    assert!(matches!(state, DeliveryState::Arrived { .. }), "{state:?}");
    delivery
}

async fn inbox(town: &Town, card: &str) -> Inbox {
    town.card(card).get("/v1/inbox?after=0").await.unwrap()
}

async fn lies_at(town: &Town, card: &str) -> Vec<Id> {
    inbox(town, card).await.entries.iter().map(|entry| entry.unit).collect()
}

async fn done<T: serde::Serialize>(
    town: &Town,
    card: &str,
    path: &str,
    request: &T,
) -> Result<Done, ClientError> {
    town.card(card).post(path, request).await
}

/// Where the files of deliveries lie, in a folder for each.
fn lying(stage: &Stage) -> PathBuf {
    stage.s3.as_ref().map_or_else(|| stage.config.box_folder(), S3::objects)
}

/// Of what was deleted, the S3 of these tests leaves an empty folder.
fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
}

/// Of how many deliveries anything lies in the box.
pub(crate) fn files(stage: &Stage) -> usize {
    std::fs::read_dir(lying(stage))
        .map_or(0, |entries| entries.filter(|entry| has_files(&entry.as_ref().unwrap().path())).count())
}

/// Waits until there are no more than so many.
pub(crate) async fn swept_to(stage: &Stage, left: usize) {
    let begun = Instant::now();
    while files(stage) != left {
        assert!(begun.elapsed() < DEADLINE, "{} are left", files(stage));
        tokio::task::yield_now().await;
    }
}

fn settled(stage: &mut Stage, change: impl FnOnce(&mut BoxSettings)) {
    stage.config.deliveries.spare_mib = 0;
    change(&mut stage.config.deliveries);
}

staged! {
    in a folder, and in s3;
    async fn p_17_3_a_delivery_comes_to_who_may_open_it_and_to_nobody_else(stage) {
        let town = with_box(&stage).await;
        let file = ciphertext(2 * usize::try_from(PART).unwrap() + 3);
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        let offered = signed(&town, &delivery, "jiro").await;
        let jiro = town.card("jiro");
        let parts: Vec<&[u8]> = file.chunks(usize::try_from(PART).unwrap()).collect();

        assert_eq!(offer(&jiro, &offered).await.unwrap().state, arriving(&[0, 1, 2]));
        // Out of order, and twice.
        for part in [2, 0, 2] {
            put(&jiro, &delivery.id, part, parts[usize::try_from(part).unwrap()]).await.unwrap();
        }
        assert_eq!(complete(&jiro, &delivery.id, &file).await.state, arriving(&[1]), "not before all is there");
        // The same again says where to go on.
        assert_eq!(offer(&jiro, &offered).await.unwrap().state, arriving(&[1]));
        assert_eq!(lies_at(&town, "hanako").await, []);
        put(&jiro, &delivery.id, 1, parts[1]).await.unwrap();
        let delivered = complete(&jiro, &delivery.id, &file).await;
        assert!(matches!(delivered.state, DeliveryState::Arrived { .. }));
        assert_eq!(delivered.units[0].handling, Handling::Waiting);
        assert_eq!(complete(&jiro, &delivery.id, &file).await, delivered, "once more changes nothing");
        assert_eq!(put(&jiro, &delivery.id, 2, parts[2]).await, Err(ErrorCode::Rejected), "it is complete");

        // Who may open it sees who sent it, and checks that for himself.
        let Inbox { entries, standings, more } = inbox(&town, "hanako").await;
        let [entry] = &entries[..] else { panic!("one") };
        assert!(!more && entry.unit == id("tax") && entry.passed_by.is_none());
        let Offered::Signed { offer: Offer { delivery: envelope, sender } } = &entry.offered else { panic!("signed") };
        let proved = sent_by(envelope, sender, &town.organization().await, &log_public("ca")).unwrap();
        assert_eq!((proved.delivery, proved.card.member), (delivery.clone(), id("jiro")));
        let standing: Standing = standings[0].verified(&stage.keys.signing).unwrap();
        assert_eq!((&standing.cards, &standing.live), (&[card_id("jiro")].into(), &[card_id("jiro")].into()));
        let hanako = town.card("hanako");
        let mut whole = Vec::new();
        for part in 0..3 {
            whole.extend(taken(&hanako, &delivery.id, part).await.unwrap());
        }
        assert_eq!(Digest::of(&whole), delivery.digest);
        assert_eq!(taken(&hanako, &delivery.id, 3).await, Err(ErrorCode::NotFound));

        // Nobody else learns that it is there: not who sent it, not an officer.
        for other in ["jiro", "taro", "sakura"] {
            assert_eq!(lies_at(&town, other).await, []);
            assert_eq!(taken(&town.card(other), &delivery.id, 0).await, Err(ErrorCode::NotFound));
            let unit = AtUnit { unit: id("tax") };
            assert_eq!(code(done(&town, other, &at(&delivery.id, "/accepted"), &unit).await), ErrorCode::NotFound);
        }
        assert_eq!(code(town.stranger().get::<Inbox>("/v1/inbox?after=0").await), ErrorCode::Forbidden);
        assert_eq!(taken(&town.stranger(), &delivery.id, 0).await, Err(ErrorCode::Forbidden));
        assert_eq!(code(town.stranger().get::<Delivered>(&at(&id("another"), "")).await), ErrorCode::NotFound);

        // It is taken, once; and who sent it sees that.
        let elsewhere = AtUnit { unit: id("welfare") };
        assert_eq!(code(done(&town, "hanako", &at(&delivery.id, "/accepted"), &elsewhere).await), ErrorCode::NotFound);
        for _ in 0..2 {
            done(&town, "hanako", &at(&delivery.id, "/accepted"), &AtUnit { unit: id("tax") }).await.unwrap();
        }
        let back = Return { unit: id("tax"), reason: "宛先違い".to_owned() };
        assert_eq!(code(done(&town, "hanako", &at(&delivery.id, "/returned"), &back).await), ErrorCode::Handled);
        let delivered: Delivered = town.stranger().get(&at(&delivery.id, "")).await.unwrap();
        assert!(matches!(delivered.units[0].handling, Handling::Accepted { .. }));

        // A grant that is over shows nothing any more.
        town.done([revoke_grant("hanako", "tax")], ONE).await;
        assert_eq!(lies_at(&town, "hanako").await, []);
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await, Err(ErrorCode::NotFound));
    }

    async fn p_17_3_who_is_not_proved_to_have_sent_it_sends_nothing(stage) {
        let town = with_box(&stage).await;
        let file = ciphertext(100);
        let good = drawn(&town, "jiro", "tax", &file).await;
        let sender = signed(&town, &good, "jiro").await.sender;
        let now = good.sent_at;
        let (unknown, closed) = (id("nowhere"), id("welfare"));
        town.done([close("welfare", None)], TWO).await;
        let changed = |change: &dyn Fn(&mut Delivery)| {
            let mut delivery = good.clone();
            change(&mut delivery);
            Offer { delivery: envelope_by_cards(&delivery, &["jiro"]), sender: sender.clone() }
        };
        let huge = 17 << 30;
        for (what, bad, expected) in [
            ("another's signature", Offer { delivery: envelope_by_cards(&good, &["hanako"]), sender: sender.clone() }, ErrorCode::Rejected),
            ("nobody's", Offer { delivery: envelope_by_cards(&good, &[]), sender: sender.clone() }, ErrorCode::Rejected),
            ("another's card", changed(&|it| it.card = card_id("hanako")), ErrorCode::Rejected),
            ("an organization that nobody trusts", changed(&|it| it.organization = Digest([1; 32])), ErrorCode::NotTrusted),
            ("for another organization", changed(&|it| it.to.organization = Digest([1; 32])), ErrorCode::Rejected),
            ("over", changed(&|it| { it.sent_at = now - DAY; it.expires_at = now }), ErrorCode::Rejected),
            ("to no unit of this organization", changed(&|it| it.to.units = [unknown].into()), ErrorCode::NotATarget),
            ("to a unit that is closed", changed(&|it| it.to.units = [closed].into()), ErrorCode::NotATarget),
            ("too large", changed(&|it| it.size = huge), ErrorCode::TooLarge),
            ("larger than anything", changed(&|it| it.size = u64::MAX), ErrorCode::Malformed),
            ("nothing", changed(&|it| it.size = 0), ErrorCode::Malformed),
            ("a path", changed(&|it| it.name = "../../etc/passwd".to_owned()), ErrorCode::Malformed),
            ("a name of 4 KiB", changed(&|it| it.name = "a".repeat(4096)), ErrorCode::Malformed),
            ("control characters", changed(&|it| it.name = "a\u{1b}[2J".to_owned()), ErrorCode::Malformed),
            ("a title of two lines", changed(&|it| it.title = "a\nb".to_owned()), ErrorCode::Malformed),
        ] {
            assert_eq!(code(offer(&town.stranger(), &bad).await), expected, "{what}");
            assert_eq!(put(&town.stranger(), &good.id, 0, &file).await, Err(ErrorCode::NotFound), "{what}");
        }
        assert_eq!(files(&stage), 0);
        // One id is one delivery.
        offer(&town.stranger(), &changed(&|_| {})).await.unwrap();
        let other = changed(&|it| it.title = "別件".to_owned());
        assert_eq!(code(offer(&town.stranger(), &other).await), ErrorCode::Rejected);
        // A slip that is brought after its card was revoked is too late.
        let late = changed(&|it| it.id = id("late"));
        town.done([revoke_card("jiro")], TWO).await;
        assert_eq!(code(offer(&town.stranger(), &late).await), ErrorCode::CardNotLive);
    }

    async fn p_17_4_a_sender_whose_card_was_revoked_is_shown_as_such(stage) {
        let town = with_box(&stage).await;
        sent(&town, "jiro", "tax", &ciphertext(100), "one").await;
        town.done([revoke_card("jiro")], TWO).await;
        let standing: Standing = inbox(&town, "hanako").await.standings[0].verified(&stage.keys.signing).unwrap();
        assert_eq!((standing.cards, standing.live), ([card_id("jiro")].into(), [].into()));
        // And so is anybody told who asks, with his nonce.
        let request = StandingRequest { nonce: Digest([7; 32]), cards: vec![card_id("jiro"), card_id("hanako"), id("x")] };
        let envelope: Envelope = town.stranger().post("/v1/standing", &request).await.unwrap();
        let standing: Standing = envelope.verified(&stage.keys.signing).unwrap();
        assert_eq!((standing.nonce, standing.organization), (request.nonce, town.organization().await));
        assert_eq!((standing.cards.len(), standing.live), (3, [card_id("hanako")].into()));
    }

    async fn p_17_3_the_proof_of_who_one_is_goes_to_that_card_alone(stage) {
        let town = Town::open_to_all(&stage).await;
        cosign(&town, &stage).await;
        let path = format!("/v1/cards/{}/sender", card_id("jiro"));
        assert_eq!(code(town.card("hanako").get::<Sender>(&path).await), ErrorCode::Forbidden);
        assert_eq!(code(town.stranger().get::<Sender>(&path).await), ErrorCode::Forbidden);
        town.done([enrol("goro")], TWO).await;
        let path = format!("/v1/cards/{}/sender", card_id("goro"));
        assert_eq!(code(town.card("goro").get::<Sender>(&path).await), ErrorCode::NotReady, "not cosigned yet");
        // An officer's card came with the founding.
        let delivery = drawn(&town, "sakura", "tax", &ciphertext(9)).await;
        offer(&town.card("sakura"), &signed(&town, &delivery, "sakura").await).await.unwrap();
    }

    async fn p_17_8_a_connection_that_is_torn_at_every_tenth_loses_no_more_than_its_part(stage) {
        let town = with_box(&stage).await;
        let file = ciphertext(MIB);
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        let jiro = town.card("jiro");
        offer(&jiro, &signed(&town, &delivery, "jiro").await).await.unwrap();
        for tenth in 0..10 {
            let mut torn = town.kms.connection("127.0.0.1", Some(card_key("jiro", "9A"))).await;
            let head = format!(
                "PUT {} HTTP/1.1\r\nhost: kms\r\ncontent-length: {MIB}\r\n\r\n",
                at(&delivery.id, "/parts/0")
            );
            torn.write_all(head.as_bytes()).await.unwrap();
            torn.write_all(&file[..MIB / 10 * tenth]).await.unwrap();
            torn.flush().await.unwrap();
            drop(torn);
            assert_eq!(state(&jiro, &delivery.id).await, arriving(&[0]), "{tenth} tenths");
        }
        for wrong in [&file[1..], &[&file[..], &[7]].concat(), &[]] {
            assert!(put(&jiro, &delivery.id, 0, wrong).await.is_err(), "{} bytes", wrong.len());
        }
        assert_eq!(put(&jiro, &delivery.id, 1, &file).await, Err(ErrorCode::NotFound));
        assert_eq!(state(&jiro, &delivery.id).await, arriving(&[0]));
        put(&jiro, &delivery.id, 0, &file).await.unwrap();
        assert!(matches!(complete(&jiro, &delivery.id, &file).await.state, DeliveryState::Arrived { .. }));
    }

    async fn p_17_8_another_file_than_the_one_that_was_signed_is_thrown_away(stage) {
        let town = with_box(&stage).await;
        let file = ciphertext(MIB);
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        let jiro = town.card("jiro");
        offer(&jiro, &signed(&town, &delivery, "jiro").await).await.unwrap();
        let mut other = file.clone();
        other[MIB / 2] ^= 1;
        put(&jiro, &delivery.id, 0, &other).await.unwrap();
        // Not by what somebody says now: by what was signed.
        let completion = Completion { digest: Digest::of(&other) };
        let completed = jiro.post::<Delivered>(&at(&delivery.id, "/complete"), &completion).await;
        assert_eq!(code(completed), ErrorCode::Rejected);
        let thrown_away = DeliveryState::Arriving { missing: vec![0], other_file: true };
        assert_eq!(complete(&jiro, &delivery.id, &file).await.state, thrown_away);
        assert_eq!(lies_at(&town, "hanako").await, []);
        // Other bytes take the place of those that came before, as long as it is not complete.
        put(&jiro, &delivery.id, 0, &other).await.unwrap();
        put(&jiro, &delivery.id, 0, &file).await.unwrap();
        assert!(matches!(complete(&jiro, &delivery.id, &file).await.state, DeliveryState::Arrived { .. }));
        assert_eq!(Digest::of(&taken(&town.card("hanako"), &delivery.id, 0).await.unwrap()), delivery.digest);
    }

    async fn p_17_11_a_routed_delivery_lies_where_it_was_routed_to_as_well(stage) {
        let town = with_box(&stage).await;
        let delivery = sent(&town, "hanako", "front", &ciphertext(100), "one").await;
        assert_eq!(lies_at(&town, "jiro").await, [id("front")]);
        assert_eq!(lies_at(&town, "hanako").await, []);
        let routed = at(&delivery.id, "/routed");
        let to = |to: &str| PassOn { unit: id("front"), to: id(to) };
        // Not to where the front desk does not send, nor by who is not there.
        assert_eq!(code(done(&town, "jiro", &routed, &to("welfare")).await), ErrorCode::NotATarget);
        assert_eq!(code(done(&town, "jiro", &routed, &to("front")).await), ErrorCode::NotATarget);
        assert_eq!(code(done(&town, "hanako", &routed, &to("tax")).await), ErrorCode::NotFound);
        // Two dispatchers do the same.
        done(&town, "jiro", &routed, &to("tax")).await.unwrap();
        done(&town, "goro", &routed, &to("tax")).await.unwrap();
        let entries = inbox(&town, "hanako").await.entries;
        let [entry] = &entries[..] else { panic!("one") };
        assert_eq!((entry.unit, entry.passed_by), (id("tax"), Some(id("front"))));
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await.unwrap().len(), 100);
        let at_desk = inbox(&town, "goro").await.entries;
        assert!(matches!(at_desk[0].handling, Handling::PassedOn { to, .. } if to == id("tax")));
        assert_eq!(at_desk[0].handled_by, Some(card_id("jiro")));
        // It does not come back to where it came from.
        let back = PassOn { unit: id("tax"), to: id("front") };
        assert_eq!(code(done(&town, "hanako", &routed, &back).await), ErrorCode::LiesThere);
        // What the target does with it is the answer of the unit that it was sent to.
        let handling = |delivered: Delivered| delivered.units[0].handling.clone();
        assert_eq!(handling(town.stranger().get(&at(&delivery.id, "")).await.unwrap()), Handling::Waiting);
        let reason = "この課の所管ではありません".to_owned();
        let bad = Return { unit: id("tax"), reason: "a\nb".to_owned() };
        assert_eq!(code(done(&town, "hanako", &at(&delivery.id, "/returned"), &bad).await), ErrorCode::Malformed);
        let back = Return { unit: id("tax"), reason: reason.clone() };
        done(&town, "hanako", &at(&delivery.id, "/returned"), &back).await.unwrap();
        let answered = handling(town.stranger().get(&at(&delivery.id, "")).await.unwrap());
        assert!(matches!(answered, Handling::Returned { reason: said, .. } if said == reason));
    }

    async fn p_17_10_what_nobody_signed_waits_until_somebody_has_looked(stage) {
        let mut stage = stage;
        // Names of this town have no labels: the record stands for it.
        settled(&mut stage, |settings| {
            settings.outside = vec![record("tax").id.to_string()];
            settings.largest_outside_mib = 1;
        });
        let town = with_box(&stage).await;
        let (stranger, file) = (town.stranger(), ciphertext(MIB));
        let terms: Terms = stranger.get("/v1/box").await.unwrap();
        assert_eq!((terms.outside, terms.largest_outside), (vec![id("tax")], MIB as u64));
        let good = OutsideOffer {
            id: id("outside"),
            unit: id("tax"),
            from: "アクメ(株) 佐藤".to_owned(),
            title: "見積書".to_owned(),
            name: "見積.pdf.age".to_owned(),
            size: MIB as u64,
        };
        for (bad, expected) in [
            (OutsideOffer { unit: id("front"), ..good.clone() }, ErrorCode::NotATarget),
            (OutsideOffer { size: MIB as u64 + 1, ..good.clone() }, ErrorCode::TooLarge),
            (OutsideOffer { size: 0, ..good.clone() }, ErrorCode::Malformed),
            (OutsideOffer { name: "../x".to_owned(), ..good.clone() }, ErrorCode::Malformed),
            (OutsideOffer { from: "\u{202e}".to_owned(), ..good.clone() }, ErrorCode::Malformed),
        ] {
            assert_eq!(code(stranger.post::<Delivered>("/v1/deliveries/outside", &bad).await), expected);
        }
        let _: Delivered = stranger.post("/v1/deliveries/outside", &good).await.unwrap();
        put(&stranger, &good.id, 0, &file).await.unwrap();
        let completed = complete(&stranger, &good.id, &file).await;
        assert!(matches!(completed.state, DeliveryState::Quarantined { .. }));
        assert_eq!(completed.received, None, "nobody has signed it");
        let entries = inbox(&town, "hanako").await.entries;
        assert!(matches!(&entries[0].offered, Offered::Outside { offer, digest } if *offer == good && *digest == Some(Digest::of(&file))));
        assert_eq!(taken(&town.card("hanako"), &good.id, 0).await, Err(ErrorCode::NotReady));
        let unit = AtUnit { unit: id("tax") };
        assert_eq!(code(done(&town, "hanako", &at(&good.id, "/accepted"), &unit).await), ErrorCode::NotReady);
        assert_eq!(code(done(&town, "taro", &at(&good.id, "/admitted"), &unit).await), ErrorCode::NotFound);
        done(&town, "hanako", &at(&good.id, "/admitted"), &unit).await.unwrap();
        assert_eq!(taken(&town.card("hanako"), &good.id, 0).await.unwrap().len(), MIB);

        // Not more than a few at once: of one address, and of all together.
        let numbered = |number| OutsideOffer { id: id(&format!("outside {number}")), size: 1, ..good.clone() };
        let begin = async |client: &Client, number| {
            client.post::<Delivered>("/v1/deliveries/outside", &numbered(number)).await
        };
        for number in 0..6 {
            begin(&stranger, number).await.unwrap();
        }
        assert_eq!(code(begin(&stranger, 6).await), ErrorCode::Busy);
        let known = town.card("hanako");
        for number in 6..64 {
            begin(&known, number).await.unwrap();
        }
        assert_eq!(code(begin(&known, 64).await), ErrorCode::BoxFull);
        // Who does not send what he has begun keeps nobody's place for long.
        town.kms.clock.advance_ms(2 * HOUR);
        begin(&known, 64).await.unwrap();
        assert!(matches!(state(&stranger, &id("outside 0")).await, DeliveryState::Deleted { .. }));
    }

    async fn p_17_5_a_file_is_taken_in_only_with_the_digest_that_is_said(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.outside = vec![record("tax").id.to_string()]);
        let town = with_box(&stage).await;
        let (known, file) = (town.card("hanako"), ciphertext(10));
        let offered = OutsideOffer {
            id: id("outside"),
            unit: id("tax"),
            from: "アクメ(株) 佐藤".to_owned(),
            title: "見積書".to_owned(),
            name: "見積.pdf.age".to_owned(),
            size: 10,
        };
        let _: Delivered = known.post("/v1/deliveries/outside", &offered).await.unwrap();
        put(&known, &offered.id, 0, &file).await.unwrap();
        let thrown_away = DeliveryState::Arriving { missing: vec![0], other_file: true };
        assert_eq!(complete(&known, &offered.id, &ciphertext(9)).await.state, thrown_away);
        assert!(inbox(&town, "hanako").await.entries.is_empty());
        put(&known, &offered.id, 0, &file).await.unwrap();
        let completed = complete(&known, &offered.id, &file).await;
        assert!(matches!(completed.state, DeliveryState::Quarantined { .. }), "{completed:?}");
        // Of what a card has signed no other digest is said.
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        offer(&town.card("jiro"), &signed(&town, &delivery, "jiro").await).await.unwrap();
        put(&known, &delivery.id, 0, &file).await.unwrap();
        let other = Completion { digest: Digest::of(b"another") };
        let refused = known.post::<Delivered>(&at(&delivery.id, "/complete"), &other).await;
        assert_eq!(code(refused), ErrorCode::Rejected);
        assert_eq!(state(&known, &delivery.id).await, arriving(&[]), "what has come stays");
    }

    async fn p_17_10_what_was_given_back_keeps_nobodys_place(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.outside = vec![record("tax").id.to_string()]);
        let town = with_box(&stage).await;
        let (known, file) = (town.card("hanako"), ciphertext(10));
        for number in 0..65 {
            let offer = OutsideOffer {
                id: id(&format!("outside {number}")),
                unit: id("tax"),
                from: "アクメ(株) 佐藤".to_owned(),
                title: "見積書".to_owned(),
                name: "見積.pdf.age".to_owned(),
                size: 10,
            };
            let _: Delivered = known.post("/v1/deliveries/outside", &offer).await.unwrap();
            put(&known, &offer.id, 0, &file).await.unwrap();
            complete(&known, &offer.id, &file).await;
            let back = Return { unit: id("tax"), reason: "心当たりがありません".to_owned() };
            done(&town, "hanako", &at(&offer.id, "/returned"), &back).await.unwrap();
        }
    }

    async fn p_17_9_what_is_passed_on_late_lies_there_as_long_as_what_has_just_come(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| {
            settings.keep_days = 30;
            settings.keep_handled_days = 3;
        });
        let town = with_box(&stage).await;
        town.done([front_desk("gate", &["tax", "welfare"])], TWO).await;
        town.create("gate").await;
        town.done([grant_with("jiro", "gate", Right::Route, None)], TWO).await;
        let delivery = sent(&town, "hanako", "gate", &ciphertext(100), "one").await;
        let routed = at(&delivery.id, "/routed");
        let to = |to: &str| PassOn { unit: id("gate"), to: id(to) };
        done(&town, "jiro", &routed, &to("tax")).await.unwrap();
        let back = Return { unit: id("tax"), reason: "この課の所管ではありません".to_owned() };
        done(&town, "hanako", &at(&delivery.id, "/returned"), &back).await.unwrap();
        town.kms.clock.advance_ms(2 * DAY);
        done(&town, "jiro", &routed, &to("welfare")).await.unwrap();
        town.kms.clock.advance_ms(29 * DAY);
        assert!(matches!(state(&town.stranger(), &delivery.id).await, DeliveryState::Arrived { .. }));
        town.kms.clock.advance_ms(DAY);
        assert!(matches!(state(&town.stranger(), &delivery.id).await, DeliveryState::Deleted { .. }));
    }

    async fn p_17_4_strangers_ask_in_turn_and_not_without_end(stage) {
        let town = with_box(&stage).await;
        let (stranger, request) =
            (town.stranger(), StandingRequest { nonce: Digest::of(b"nonce"), cards: vec![card_id("hanako")] });
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(stranger.post::<Envelope>("/v1/standing", &request).await.map_err(|error| code::<()>(Err(error))));
        }
        assert!(answers.iter().take(20).all(Result::is_ok));
        assert!(answers.iter().any(|answer| answer.as_ref().err() == Some(&ErrorCode::Busy)));
        let known = town.card("hanako");
        known.post::<Envelope>("/v1/standing", &request).await.unwrap();
    }

    async fn p_17_13_what_has_come_is_signed_for_who_has_sent_it_and_signed_once(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.keep_handled_days = 3);
        let town = with_box(&stage).await;
        let (jiro, stranger, file) = (town.card("jiro"), town.stranger(), ciphertext(100));
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        let offered = signed(&town, &delivery, "jiro").await;
        let begun = offer(&jiro, &offered).await.unwrap();
        assert_eq!(begun.received, None, "nothing is signed of what has not come");
        put(&jiro, &delivery.id, 0, &file).await.unwrap();
        let first = complete(&jiro, &delivery.id, &file).await.received.unwrap();
        let proved = |answer: &Envelope| received(answer, &offered.delivery, &stage.keys.signing).unwrap();
        let said = proved(&first);
        assert_eq!((said.organization, said.id), (town.organization().await, delivery.id));
        assert!(matches!(said.state, ReceivedState::Arrived { kept_until } if kept_until > said.arrived_at));
        assert_eq!(said.units[0].handling, Handling::Waiting);

        // However often, and by whomever, it is asked for: the HSM has signed it.
        let asked = async || stranger.get::<Delivered>(&at(&delivery.id, "")).await.unwrap().received.unwrap();
        town.kms.clock.advance_ms(HOUR);
        assert_eq!(asked().await, first);
        assert_eq!(offer(&stranger, &offered).await.unwrap().received, Some(first.clone()));
        town.kms.kill();
        let town = Town::again(stage.start().await);
        let stranger = town.stranger();
        let asked = async || stranger.get::<Delivered>(&at(&delivery.id, "")).await.unwrap().received.unwrap();
        assert_eq!(asked().await, first, "it is kept");

        // It says what its unit has done, and that the file is gone.
        done(&town, "hanako", &at(&delivery.id, "/accepted"), &AtUnit { unit: id("tax") }).await.unwrap();
        let accepted = asked().await;
        assert!(matches!(proved(&accepted).units[0].handling, Handling::Accepted { .. }));
        assert_eq!(asked().await, accepted);
        town.kms.clock.advance_ms(4 * DAY);
        let deleted = proved(&asked().await);
        assert!(matches!(deleted.state, ReceivedState::Deleted { .. }), "{deleted:?}");
        assert_eq!(deleted.arrived_at, said.arrived_at);
        assert!(matches!(deleted.units[0].handling, Handling::Accepted { .. }));
    }

    async fn p_17_13_of_what_never_came_nothing_is_signed(stage) {
        let town = with_box(&stage).await;
        let delivery = drawn(&town, "jiro", "tax", &ciphertext(100)).await;
        offer(&town.card("jiro"), &signed(&town, &delivery, "jiro").await).await.unwrap();
        town.kms.clock.advance_ms(8 * DAY);
        let over = signed(&town, &Delivery { id: id("another"), ..drawn(&town, "jiro", "tax", &[7]).await }, "jiro").await;
        offer(&town.card("jiro"), &over).await.unwrap();
        let ended: Delivered = town.stranger().get(&at(&delivery.id, "")).await.unwrap();
        assert!(matches!(ended.state, DeliveryState::Deleted { .. }) && ended.received.is_none(), "{ended:?}");
    }

    async fn p_17_3_nothing_was_sent_in_the_future(stage) {
        let town = with_box(&stage).await;
        let drawn = drawn(&town, "jiro", "tax", &[7]).await;
        let delivery = Delivery { sent_at: drawn.sent_at + HOUR, expires_at: drawn.sent_at + DAY, ..drawn };
        let offered = signed(&town, &delivery, "jiro").await;
        assert_eq!(code(offer(&town.card("jiro"), &offered).await), ErrorCode::Malformed);
    }

    async fn p_17_9_there_is_so_much_room_and_no_more(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| {
            settings.unit_mib = 2;
            settings.organization_mib = 3;
        });
        let town = with_box(&stage).await;
        let jiro = town.card("jiro");
        let sized = async |label: &str, unit: &str, mib: usize| {
            let drawn = drawn(&town, "jiro", unit, &[]).await;
            let delivery = Delivery { id: id(label), size: (mib * MIB) as u64, ..drawn };
            offer(&jiro, &signed(&town, &delivery, "jiro").await).await
        };
        assert_eq!(code(sized("a", "tax", 3).await), ErrorCode::BoxFull, "of the unit");
        sized("b", "tax", 2).await.unwrap();
        assert_eq!(code(sized("c", "tax", 1).await), ErrorCode::BoxFull, "promised is promised");
        assert_eq!(code(sized("d", "welfare", 2).await), ErrorCode::BoxFull, "of the sender's organization");
        sized("e", "welfare", 1).await.unwrap();
        // What does not come within a week has no place any more.
        town.kms.clock.advance_ms(7 * DAY);
        sized("f", "tax", 2).await.unwrap();
        assert!(matches!(state(&jiro, &id("b")).await, DeliveryState::Deleted { .. }));
        assert_eq!(put(&jiro, &id("b"), 0, &[7]).await, Err(ErrorCode::Rejected));
    }

    async fn p_17_9_little_files_take_room_as_well(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.unit_mib = 2);
        let town = with_box(&stage).await;
        sent(&town, "jiro", "tax", &[7], "one").await;
        sent(&town, "jiro", "tax", &[7], "two").await;
        let third = Delivery { id: id("three"), ..drawn(&town, "jiro", "tax", &[7]).await };
        let offered = signed(&town, &third, "jiro").await;
        assert_eq!(code(offer(&town.card("jiro"), &offered).await), ErrorCode::BoxFull);
    }

    async fn p_17_9_one_card_does_not_take_all_places(stage) {
        let town = with_box(&stage).await;
        let begun = async |card: &str, number: usize| {
            let drawn = drawn(&town, card, "tax", &[7]).await;
            let delivery = Delivery { id: id(&format!("{card} {number}")), ..drawn };
            offer(&town.card(card), &signed(&town, &delivery, card).await).await
        };
        for number in 0..32 {
            begun("jiro", number).await.unwrap();
        }
        assert_eq!(code(begun("jiro", 32).await), ErrorCode::BoxFull);
        begun("goro", 0).await.unwrap();
        // What has come leaves a place.
        put(&town.card("jiro"), &id("jiro 0"), 0, &[7]).await.unwrap();
        complete(&town.card("jiro"), &id("jiro 0"), &[7]).await;
        begun("jiro", 32).await.unwrap();
    }

    async fn p_17_9_so_many_wait_at_one_unit_and_no_more(stage) {
        if stage.config.database.is_some() {
            return;
        }
        let town = with_box(&stage).await;
        sent(&town, "jiro", "tax", &[7], "first").await;
        let unit = id("tax").0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut database = stage.database().await;
        let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4095)";
        let number = "CAST(printf('%016d', i) AS BLOB)";
        for statement in [
            format!(
                "INSERT INTO delivery (id, digest, offered, organization, size, file, offered_at, state, arrived_at, kept_until, expires_at)
                 {numbers} SELECT {number}, d.digest, d.offered, d.organization, 1, d.file, d.offered_at, d.state, d.arrived_at,
                 d.kept_until, d.expires_at FROM n, delivery d WHERE d.state = 'arrived'"
            ),
            format!("INSERT INTO delivery_unit (delivery, unit) {numbers} SELECT {number}, x'{unit}' FROM n"),
            format!(
                "INSERT INTO delivery_place (delivery, unit, addressee, handling)
                 {numbers} SELECT {number}, x'{unit}', x'{unit}', 'waiting' FROM n"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
        }
        let begun = async |unit: &str| {
            let delivery = Delivery { id: id(unit), ..drawn(&town, "jiro", unit, &[7]).await };
            offer(&town.card("jiro"), &signed(&town, &delivery, "jiro").await).await
        };
        assert_eq!(code(begun("tax").await), ErrorCode::BoxFull);
        begun("welfare").await.unwrap();
        done(&town, "hanako", &at(&id("first"), "/accepted"), &AtUnit { unit: id("tax") }).await.unwrap();
        begun("tax").await.unwrap();
    }

    // What has the lock of the ledger's database is an order that is appended, a revocation perhaps.
    async fn what_is_refused_or_there_already_waits_for_nobody_who_appends(stage) {
        if stage.config.database.is_some() {
            return;
        }
        let mut stage = stage;
        settled(&mut stage, |settings| {
            settings.unit_mib = 2;
            settings.outside = vec![record("tax").id.to_string()];
        });
        let town = with_box(&stage).await;
        let there = sent(&town, "jiro", "tax", &[7], "there").await;
        let offered = signed(&town, &there, "jiro").await;
        let large = Delivery { id: id("large"), size: 2 * MIB as u64, ..there.clone() };
        let large = signed(&town, &large, "jiro").await;
        town.kms.clock.advance_ms(MINUTE);
        let mut database = stage.database().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
        let stranger = town.stranger();
        assert!(matches!(offer(&stranger, &offered).await.unwrap().state, DeliveryState::Arrived { .. }));
        assert_eq!(code(offer(&stranger, &large).await), ErrorCode::BoxFull);
        let terms: Terms = stranger.get("/v1/box").await.unwrap();
        assert_eq!(terms.outside, [id("tax")]);
        let outside = OutsideOffer {
            id: id("outside"),
            unit: id("tax"),
            from: "アクメ(株) 佐藤".to_owned(),
            title: "見積書".to_owned(),
            name: "見積.pdf.age".to_owned(),
            size: 2 * MIB as u64,
        };
        let refused = stranger.post::<Delivered>("/v1/deliveries/outside", &outside).await;
        assert_eq!(code(refused), ErrorCode::BoxFull);
        sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    }

    async fn strangers_ask_no_more_often_where_they_have_no_port(stage) {
        let town = with_box(&stage).await;
        let (stranger, known) = (town.stranger(), town.card("jiro"));
        let mut answers = Vec::new();
        for _ in 0..200 {
            answers.push(stranger.get::<Terms>("/v1/box").await.is_ok());
            known.get::<Terms>("/v1/box").await.unwrap();
        }
        assert!(answers.iter().take(120).all(|answered| *answered), "it is everybody's");
        assert!(answers.contains(&false), "one network asks without end");
    }

    async fn p_17_9_what_is_over_is_deleted_with_all_that_was_said_of_it(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| {
            settings.keep_days = 30;
            settings.keep_handled_days = 3;
        });
        let town = with_box(&stage).await;
        let kept = sent(&town, "jiro", "tax", &ciphertext(100), "kept").await;
        let handled = sent(&town, "jiro", "tax", &ciphertext(100), "handled").await;
        done(&town, "hanako", &at(&handled.id, "/accepted"), &AtUnit { unit: id("tax") }).await.unwrap();
        assert_eq!(files(&stage), 2);
        town.kms.clock.advance_ms(3 * DAY);
        // At that instant, whether anybody has tidied up or not.
        assert!(matches!(state(&town.stranger(), &handled.id).await, DeliveryState::Deleted { .. }));
        assert_eq!(taken(&town.card("hanako"), &handled.id, 0).await, Err(ErrorCode::NotFound));
        assert_eq!(lies_at(&town, "hanako").await.len(), 1);
        let offered = signed(&town, &handled, "jiro").await;
        let again = offer(&town.card("jiro"), &offered).await.unwrap();
        assert!(matches!(again.state, DeliveryState::Deleted { .. }), "brought again, it does not come back");
        assert!(matches!(again.units[0].handling, Handling::Accepted { .. }));
        // Whoever comes next makes room.
        let next = Delivery { id: id("next"), ..drawn(&town, "jiro", "tax", &[7]).await };
        offer(&town.card("jiro"), &signed(&town, &next, "jiro").await).await.unwrap();
        assert_eq!(files(&stage), 1);
        town.kms.clock.advance_ms(27 * DAY);
        assert!(matches!(state(&town.stranger(), &kept.id).await, DeliveryState::Deleted { .. }));
        town.kms.kill();
        let town = Town::open(&stage).await;
        swept_to(&stage, 0).await;
        let mut database = stage.database().await;
        let said = sqlx::query("SELECT id FROM delivery WHERE offered IS NOT NULL");
        assert!(said.fetch_all(&mut database).await.unwrap().is_empty());
        // Once it is over for ever, nothing is known of it; and it is too late to bring it.
        town.kms.clock.advance_ms(200 * DAY);
        assert_eq!(code(town.stranger().get::<Delivered>(&at(&kept.id, "")).await), ErrorCode::NotFound);
        assert_eq!(code(offer(&town.card("jiro"), &offered).await), ErrorCode::Rejected);
    }

    async fn p_17_8_a_crash_loses_nothing_that_was_answered(stage) {
        let town = with_box(&stage).await;
        let file = ciphertext(100);
        let now = SystemClock.wall_ms();
        let drawn = drawn(&town, "jiro", "tax", &file).await;
        let delivery = Delivery { sent_at: now, expires_at: now + 30 * DAY, ..drawn };
        let offered = signed(&town, &delivery, "jiro").await;
        town.kms.kill();

        let (mut program, town) = started(&stage, Some(CrashPoint::KmsPartWritten));
        let jiro = town.card("jiro");
        offer(&jiro, &offered).await.unwrap();
        let path = at(&delivery.id, "/parts/0");
        assert!(jiro.forward(Method::PUT, &path, Bytes::from(file.clone())).await.is_err());
        assert!(!program.0.wait().unwrap().success());

        let (mut program, town) = started(&stage, Some(CrashPoint::KmsDeliveryArrived));
        let jiro = town.card("jiro");
        assert_eq!(state(&jiro, &delivery.id).await, arriving(&[0]), "it was not answered");
        put(&jiro, &delivery.id, 0, &file).await.unwrap();
        assert!(jiro.post::<Delivered>(&at(&delivery.id, "/complete"), &Completion { digest: delivery.digest }).await.is_err());
        assert!(!program.0.wait().unwrap().success());

        let (program, town) = started(&stage, None);
        assert!(matches!(state(&town.card("jiro"), &delivery.id).await, DeliveryState::Arrived { .. }));
        assert_eq!(taken(&town.card("hanako"), &delivery.id, 0).await.unwrap(), file);
        drop(program);

        // It is over; the program dies between the database and the files.
        let mut database = stage.database().await;
        sqlx::query("UPDATE delivery SET kept_until = 1").execute(&mut database).await.unwrap();
        drop(database);
        let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-kms"));
        command.args(["authority", "--config"]).arg(stage.config.data.with_file_name("slips.toml")).arg("run");
        command.env("WARIFU_CRASH_AT", CrashPoint::KmsDeliveryEnded.name()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        while command.status().unwrap().code() == Some(1) {
            // The one before is on its way out.
        }
        // Beside its file there may be what a program tried the box with that came no further.
        assert!(has_files(&lying(&stage).join(delivery.id.to_string())));
        let (_program, town) = started(&stage, None);
        swept_to(&stage, 0).await;
        assert!(matches!(state(&town.stranger(), &delivery.id).await, DeliveryState::Deleted { .. }));
    }
}

/// What answers for another organization, of whose ledger there is one leaf: the one that enrolled `yuki`.
#[derive(Clone)]
struct Alps {
    address: String,
    says: Arc<Mutex<Says>>,
    clock: Arc<ManualClock>,
}

#[derive(Clone, Copy)]
enum Says {
    Live,
    Dead,
    /// That it is dead, to somebody else's question.
    DeadTo(Digest),
}

impl Alps {
    async fn open(stage: &Stage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let alps = Self { address, says: Arc::new(Mutex::new(Says::Live)), clock: stage.clock.clone() };
        let answer = async |State(alps): State<Self>, Json(request): Json<StandingRequest>| {
            Json(alps.standing(request))
        };
        let router = Router::new().route("/v1/standing", post(answer)).with_state(alps.clone());
        let config = server_config_for_anybody(&identity(key("whoever answers"))).unwrap();
        tokio::spawn(serve_anybody(listener, config, router, Limits::default(), std::future::pending()));
        alps
    }

    fn standing(&self, request: StandingRequest) -> Envelope {
        let cards: BTreeSet<Id> = request.cards.into_iter().collect();
        let (nonce, live) = match *self.says.lock().unwrap() {
            Says::Live => (request.nonce, cards.clone()),
            Says::Dead => (request.nonce, BTreeSet::new()),
            Says::DeadTo(nonce) => (nonce, BTreeSet::new()),
        };
        let organization = alps().organization;
        envelope_by_services(
            &Standing { organization, nonce, at: self.clock.wall_ms(), cards, live },
            &["kms alps"],
        )
    }

    /// What `yuki` of the other organization signs.
    fn offer(&self, delivery: &Delivery) -> Offer {
        let organization = alps().organization;
        let order = Order {
            organization,
            id: id("alps order"),
            expires_at: T0 + DAY,
            seen: String::new(),
            acts: vec![enrol("yuki")],
        };
        let leaf = Leaf::new(T0, envelope_by_cards(&order, &["sakura"])).unwrap();
        let tree = Tree::default().append(leaf.as_bytes()).unwrap();
        let head = Checkpoint { size: 1, root: tree.root(1).unwrap() };
        let sender = Sender {
            index: 0,
            leaf: warifu_ledger::key::Bytes(leaf.as_bytes().to_vec()),
            proof: tree.inclusion(0, 1).unwrap(),
            checkpoint: note_with("ca alps", &organization, &head, Signer::Ca),
            name: Some(record("yuki")),
        };
        Offer { delivery: envelope_by_cards(delivery, &["yuki"]), sender }
    }
}

staged! {
    async fn p_17_9_the_disk_is_not_filled_to_its_end(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.spare_mib = 1 << 40);
        let town = with_box(&stage).await;
        let delivery = drawn(&town, "jiro", "tax", &[7]).await;
        let offered = signed(&town, &delivery, "jiro").await;
        assert_eq!(code(offer(&town.card("jiro"), &offered).await), ErrorCode::BoxFull);
    }

    async fn p_17_7_another_organization_sends_once_it_is_trusted(stage) {
        let town = with_box(&stage).await;
        let there = Alps::open(&stage).await;
        let everybody = Client::public(&town.kms.public_address).unwrap();
        let file = ciphertext(100);
        let from_alps = |label: &str, drawn: &Delivery| Delivery {
            id: id(label),
            organization: alps().organization,
            ..drawn.clone()
        };
        let drawn = drawn(&town, "yuki", "tax", &file).await;
        let delivery = from_alps("first", &drawn);
        let offered = there.offer(&delivery);
        assert_eq!(code(offer(&everybody, &offered).await), ErrorCode::NotTrusted);
        town.done([Act::trust(alps(), name("goro"), there.address.as_str())], TWO).await;

        // Who proves nothing does not learn that.
        let unproved = |organization| {
            let delivery = Delivery { organization, ..from_alps("unproved", &drawn) };
            Offer { delivery: envelope_by_cards(&delivery, &[]), sender: there.offer(&delivery).sender }
        };
        for organization in [alps().organization, Digest([1; 32])] {
            assert_eq!(code(offer(&everybody, &unproved(organization)).await), ErrorCode::NotTrusted);
        }
        // The port for everybody takes it in, and shows nothing that lies in the box.
        let _: Terms = everybody.get("/v1/box").await.unwrap();
        offer(&everybody, &offered).await.unwrap();
        put(&everybody, &delivery.id, 0, &file).await.unwrap();
        assert!(matches!(complete(&everybody, &delivery.id, &file).await.state, DeliveryState::Arrived { .. }));
        assert_eq!(taken(&everybody, &delivery.id, 0).await, Err(ErrorCode::NotFound));
        assert_eq!(code(everybody.get::<Inbox>("/v1/inbox?after=0").await), ErrorCode::NotFound);
        let accepted = everybody.post::<Done>(&at(&delivery.id, "/accepted"), &AtUnit { unit: id("tax") }).await;
        assert_eq!(code(accepted), ErrorCode::NotFound);

        let said = async || {
            let standings = inbox(&town, "hanako").await.standings;
            let standing = standings[0].verified::<Standing>(&alps().kms.signing).unwrap();
            (standing.organization == alps().organization).then_some(standing.live)
        };
        assert_eq!(said().await, Some([card_id("yuki")].into()));
        // It is revoked there, between sending and reading.
        *there.says.lock().unwrap() = Says::Dead;
        town.kms.clock.advance_ms(MINUTE);
        assert_eq!(said().await, Some([].into()));
        let late = there.offer(&from_alps("late", &drawn));
        assert_eq!(code(offer(&everybody, &late).await), ErrorCode::CardNotLive);
        // What was said to somebody else is nobody's answer: nothing is known then.
        *there.says.lock().unwrap() = Says::DeadTo(Digest([9; 32]));
        town.kms.clock.advance_ms(MINUTE);
        assert!(inbox(&town, "hanako").await.standings.is_empty());
        offer(&everybody, &late).await.unwrap();
        // Who is not trusted any more sends nothing more.
        town.done([Act::TrustEnded { organization: alps().organization }], TWO).await;
        let last = there.offer(&from_alps("last", &drawn));
        assert_eq!(code(offer(&everybody, &last).await), ErrorCode::NotTrusted);
    }

    async fn p_17_9_no_other_organization_shuts_a_unit_for_all(stage) {
        let mut stage = stage;
        settled(&mut stage, |settings| settings.unit_mib = 4);
        let town = with_box(&stage).await;
        let there = Alps::open(&stage).await;
        town.done([Act::trust(alps(), name("goro"), there.address.as_str())], TWO).await;
        let everybody = Client::public(&town.kms.public_address).unwrap();
        let of_size = async |label: &str, card: &str, mib: u64| {
            let drawn = drawn(&town, card, "tax", &[]).await;
            Delivery { id: id(label), size: mib * MIB as u64, ..drawn }
        };
        let theirs = async |label: &str, mib: u64| {
            let delivery = of_size(label, "yuki", mib).await;
            let organization = alps().organization;
            offer(&everybody, &there.offer(&Delivery { organization, ..delivery })).await
        };
        assert_eq!(code(theirs("a", 3).await), ErrorCode::BoxFull);
        theirs("b", 2).await.unwrap();
        assert_eq!(code(theirs("c", 1).await), ErrorCode::BoxFull, "half of the unit's room is another one's");
        let own = of_size("d", "jiro", 2).await;
        offer(&town.card("jiro"), &signed(&town, &own, "jiro").await).await.unwrap();
    }
}
