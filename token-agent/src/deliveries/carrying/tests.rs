//! A stranger answers at the other organization's address: nothing that he says deletes what lies here (P-17.13), and he holds up
//! nobody (P-17.14).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use warifu_api::client::{Carried, Client};
use warifu_api::wire::agent::SendOutcome;
use warifu_api::wire::deliveries::Offer;
use warifu_ledger::delivery::Sender;
use warifu_ledger::statement::{Addressee, Addressees, Handling, Received, ReceivedState};
use warifu_ledger::{Digest, Id};

use super::super::outbox::Outbox;
use super::super::sending::conclude;
use super::*;
use crate::deliveries::made_up::{public, signed};
use crate::opening::Meter;

const ID: Id = Id([7; 16]);
const UNIT: Id = Id([2; 16]);
const PARTS: u64 = 2;
/// What the box costs at most: its parts twice, and one more that tells it is too much.
const MOST_PARTS: u64 = 2 * PARTS + PARTS;

fn alps() -> Digest {
    Digest::of(b"alps")
}

/// Whoever answers, with what he answers to everything but parts.
struct Answering {
    with: Box<dyn Fn(u64) -> (StatusCode, Value) + Send + Sync>,
    asked: AtomicU64,
    parts: Mutex<Vec<String>>,
}

impl warifu_api::client::Carrier for Answering {
    fn carry(&self, method: Method, path: &str, _body: Bytes) -> Carried<'_> {
        let (status, answer) = if method == Method::PUT {
            self.parts.lock().unwrap().push(path.to_owned());
            (StatusCode::OK, json!({}))
        } else {
            (self.with)(self.asked.fetch_add(1, Ordering::Relaxed))
        };
        Box::pin(std::future::ready(Ok((status, Bytes::from(answer.to_string())))))
    }
}

/// A delivery of two parts that lies in the outbox.
struct Case {
    _folder: tempfile::TempDir,
    outbox: Outbox,
    outgoing: Outgoing,
    delivery: Delivery,
}

impl Case {
    fn to(organization: Option<Digest>) -> Self {
        let delivery = Delivery {
            organization: Digest::of(b"town"),
            id: ID,
            card: Id([1; 16]),
            to: Addressees { organization: alps(), units: [UNIT].into() },
            title: "照会".to_owned(),
            name: "名簿.csv.age".to_owned(),
            size: PART + 1,
            digest: Digest::of(b"x"),
            sent_at: 1,
            reply_to: None,
            expires_at: u64::MAX,
        };
        let sender = Sender {
            index: 0,
            leaf: warifu_ledger::key::Bytes(vec![]),
            proof: vec![],
            checkpoint: String::new(),
            name: None,
        };
        let outgoing =
            Outgoing { offer: Offer { delivery: signed(&delivery, "9C"), sender }, organization, to: vec![] };
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().join("outbox"));
        outbox.begin(&ID).unwrap().set_len(delivery.size).unwrap();
        outbox.keep(&ID, &outgoing).unwrap();
        Self { _folder: folder, outbox, outgoing, delivery }
    }

    /// What the kms of this label says to have received.
    fn received(&self, by: &str, change: impl FnOnce(&mut Received)) -> Value {
        let mut received = Received {
            organization: alps(),
            id: ID,
            delivery: self.outgoing.offer.delivery.digest(),
            arrived_at: 5,
            state: ReceivedState::Arrived { kept_until: 9 },
            units: vec![Addressee { unit: UNIT, handling: Handling::Waiting }],
            at: 6,
        };
        change(&mut received);
        arrived(&json!(signed(&received, by)))
    }

    /// Brings it to whoever answers so.
    async fn brought(
        &self,
        kms: Option<&str>,
        with: impl Fn(u64) -> (StatusCode, Value) + Send + Sync + 'static,
    ) -> (SendOutcome, Arc<Answering>) {
        let answering =
            Arc::new(Answering { with: Box::new(with), asked: AtomicU64::new(0), parts: Mutex::default() });
        let client = Client::carried("alps.example:443", answering.clone());
        let receiver = Receiver { bringing: client.clone(), client, kms: kms.map(public) };
        let meter = Meter::default();
        let mut measured = Measured::new(&meter, self.delivery.size);
        let pace = Pace { first: Duration::ZERO, longest: Duration::ZERO };
        let (sealed, delivery) = (self.outbox.sealed(&ID), &self.delivery);
        let carrier =
            Carrier { receiver: &receiver, outgoing: &self.outgoing, delivery, sealed: &sealed, pace };
        let brought = carrier.bring(&mut measured).await;
        let brought = brought.map(|answer| receiver.proved(&self.outgoing, &answer));
        (conclude(&self.outbox, ID, &self.outgoing, brought), answering)
    }

    fn is_here(&self) -> bool {
        self.outbox.is_here(&ID) && self.outbox.all(1).len() == 1
    }
}

fn arrived(received: &Value) -> Value {
    json!({"id": ID, "state": {"state": "arrived", "arrived_at": 5, "kept_until": 9}, "units": [], "received": received})
}

fn state(state: &Value) -> Value {
    json!({"id": ID, "state": state, "units": []})
}

#[tokio::test]
async fn p_17_13_nothing_is_in_the_box_but_what_its_organization_has_signed() {
    let case = Case::to(Some(alps()));
    let unsigned =
        json!({"id": ID, "units": [], "state": {"state": "arrived", "arrived_at": 5, "kept_until": 9}});
    let deleted = json!({"id": ID, "units": [], "state": {"state": "deleted", "at": 5}});
    let other = Digest::of(b"another delivery");
    for (what, kms, answer) in [
        ("nobody's word", Some("alps kms"), unsigned),
        ("nobody's word that it was there", Some("alps kms"), deleted),
        ("a stranger's", Some("alps kms"), case.received("stranger", |_| ())),
        ("another organization's", Some("alps kms"), case.received("alps kms", |it| it.organization = other)),
        ("about another number", Some("alps kms"), case.received("alps kms", |it| it.id = Id([9; 16]))),
        ("about another statement", Some("alps kms"), case.received("alps kms", |it| it.delivery = other)),
        ("about other units", Some("alps kms"), case.received("alps kms", |it| it.units.clear())),
        ("of a key that nothing proves", None, case.received("alps kms", |_| ())),
        ("of a former key", Some("alps kms 2"), case.received("alps kms", |_| ())),
        ("another statement", Some("alps kms"), arrived(&json!(signed(&case.delivery, "alps kms")))),
    ] {
        let (outcome, _) = case.brought(kms, move |_| (StatusCode::OK, answer.clone())).await;
        assert_eq!(outcome, SendOutcome::Unproved { id: ID }, "{what}");
        assert!(case.is_here(), "{what}: the sealed file is gone");
    }
    let proof = case.received("alps kms", |_| ());
    let (outcome, _) = case.brought(Some("alps kms"), move |_| (StatusCode::OK, proof.clone())).await;
    assert_eq!(outcome, SendOutcome::Arrived { id: ID });
    assert!(!case.outbox.is_here(&ID), "it is not needed any more");
}

#[tokio::test]
async fn p_17_13_who_has_not_signed_that_it_is_refused_deletes_nothing_either() {
    let refusal = json!({"code": "rejected", "message": "no\nIt is in the box"});
    let answer = move |_| (StatusCode::BAD_REQUEST, refusal.clone());
    let case = Case::to(Some(alps()));
    let (outcome, _) = case.brought(Some("alps kms"), answer.clone()).await;
    let SendOutcome::Kept { fault: AgentFault::AuthorityRefused { message, .. }, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(!message.contains('\n'), "it passes for what a program says: {message}");
    assert!(case.is_here());
    // One's own kms has shown its key on the connection.
    let case = Case::to(None);
    let (outcome, _) = case.brought(Some("alps kms"), answer).await;
    assert!(matches!(outcome, SendOutcome::Failed { .. }), "{outcome:?}");
    assert!(!case.outbox.is_here(&ID));
}

#[tokio::test]
async fn p_17_14_a_box_that_never_has_all_of_it_is_given_up() {
    let case = Case::to(Some(alps()));
    let never = |state: Value| move |_| (StatusCode::OK, self::state(&state));
    for (what, answer) in [
        ("it checks for ever", json!({"state": "checking", "done": 1})),
        ("it never has a part", json!({"state": "arriving", "missing": vec![0; 8000], "other_file": false})),
        (
            "it has all parts, and is not complete",
            json!({"state": "arriving", "missing": [], "other_file": false}),
        ),
        (
            "it wants a part that there is not",
            json!({"state": "arriving", "missing": [2], "other_file": false}),
        ),
    ] {
        let (outcome, answering) = case.brought(Some("alps kms"), never(answer)).await;
        assert!(matches!(outcome, SendOutcome::Kept { .. }), "{what}: {outcome:?}");
        assert!(case.is_here(), "{what}");
        let (asked, parts) =
            (answering.asked.load(Ordering::Relaxed), answering.parts.lock().unwrap().len() as u64);
        assert!(asked <= u64::from(ROUNDS) + 2 * u64::from(TRIES), "{what}: asked {asked} times");
        assert!(parts <= MOST_PARTS, "{what}: {parts} parts");
    }
    let another = json!({"id": Id([9; 16]), "units": [], "state": {"state": "checking", "done": 1}});
    let (outcome, _) = case.brought(Some("alps kms"), move |_| (StatusCode::OK, another.clone())).await;
    assert!(matches!(outcome, SendOutcome::Kept { .. }), "{outcome:?}");
}
