//! Every type of the wire: the bodies that servers read, and the answers that clients read from a server that may be hostile.

use serde_json::{Value, json};
use warifu_api::ErrorBody;
use warifu_api::wire::agent::{
    AgentFault, Bootstrap, Cards, ChangePin, FetchRequest, Fetched, Forward, Forwarded, GivePiece,
    GivenPiece, HandleRequest, OpenAnswer, OpenPuk, OpenRequest, OpenedPuk, Others, Personalize,
    Personalized, Plan, PlanRequest, Prepare, Prepared, Progress, Received, RouteAnswer, RouteRequest,
    SendAnswer, SendRequest, SentDeliveries, SignAnswer, SignRequest, Unblock, Unlock,
};
use warifu_api::wire::audit::{
    JournalAlarms, JournalBatch, JournalRows, JournalTaken, Journals, KeptReceipts, Openings, OwnJournals,
    Rows,
};
use warifu_api::wire::authority::{
    Appended, BroughtLeaves, Certificate, CheckpointAnswer, Cosignature, Crl, Directory, HalfRequest,
    Holdings, OrderRequest, Package, Proposal, Proposals, PukEscrow, Readiness, Receipts, Records, Register,
    Rewrap, Rewraps, ShareRequest, StampRequest, Wrap,
};
use warifu_api::wire::deliveries::{
    AtUnit, Completion, Delivered, Inbox, Offer, OutsideOffer, PassOn, Return, StandingRequest, Terms,
};
use warifu_api::wire::public::{PublicDirectory, SignedDirectory};
use warifu_api::wire::routing::{Batch, Parcels, ReleasedParts, Routed, SlipsBatch, SlipsEvent};
use warifu_api::wire::site::{Me, PartialsAnswer, PartialsRequest, RevocationRequest};
use warifu_api::wire::trusts::Trusts;
use warifu_api::wire::{Done, LeafEvent, Leaves, agent, authority, site};
use warifu_ledger::Digest;
use warifu_ledger::delivery::Sender;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::statement::Profile;

use crate::fixture::{id, public_of, record, service_keys, site as site_joined};
use crate::statements::{envelopes, profile_of, town_leaves};
use crate::strict;

struct Type {
    name: &'static str,
    /// Whether a text is one.
    reads: fn(&[u8]) -> bool,
    examples: fn() -> Vec<Value>,
}

macro_rules! types {
    ($($name:ty $(, open $open:literal)* => [$($example:expr),+ $(,)?];)*) => {
        const TYPES: &[Type] = &[$(Type {
            name: stringify!($name),
            reads: |text| strict::reads::<$name>(text, &[$($open),*]),
            examples: || vec![$($example),+],
        }),*];
    };
}

types! {
    Done => [json!({})];
    ErrorBody => [json!({"code": "card-not-live", "message": "the card is not live"})];
    Envelope => [json!(envelopes()[1])];
    Profile => [json!(profile_of(digest()))];
    BroughtLeaves => [json!({"from": 1, "leaves": [leaf(1), leaf(2)]})];
    Trusts => [json!({"checkpoint": NOTE, "organizations": [
        {"organization": digest(), "label": "alps", "name": "北アルプス広域連合", "name_key": Base64([4; 32]),
            "pinned": included(), "directory": {"size": 9, "at": 1, "expires_at": 2, "fetched_at": 1},
            "alarm": {"kind": "root-changed", "at": 3}, "trouble": {"kind": "unreachable", "at": 4}},
        {"organization": digest(), "label": "x", "name": "x", "name_key": null, "pinned": null, "directory": null,
            "alarm": null, "trouble": null},
    ]})];
    Leaves => [json!({"from": 1, "leaves": [leaf(1), leaf(2)], "checkpoint": NOTE})];
    LeafEvent => [json!({"index": 3, "leaf": leaf(3)})];

    authority::Status => [
        json!({"organization": digest(), "size": 9, "time": 1_775_000_000_000_u64}),
        json!({"organization": null, "size": 0, "time": 0}),
    ];
    Directory => [directory()];
    SignedDirectory => [json!({"statement": envelopes()[1], "body": bytes(40)})];
    PublicDirectory => [json!({
        "name": "大町市", "address": "public.example:443",
        "keys": {"organization": digest(), "ca": service_keys("ca"), "kms": service_keys("kms")},
        "successions": [included()], "directory": directory(),
    })];
    CheckpointAnswer => [json!({"note": NOTE, "cosigned_size": 4})];
    OrderRequest => [json!({"envelope": envelopes()[1], "records": [record("税務課")]})];
    Proposals => [json!({"waiting": [{"digest": digest(), "expires_at": 1, "possible": true}]})];
    Proposal => [
        json!({"standing": "waiting", "request": {"envelope": envelopes()[1], "records": [record("税務課")]}}),
        json!({"standing": "expired", "request": null}),
    ];
    Appended => [json!({"index": 5, "digest": digest(), "at": 1})];
    Receipts => [json!({"appended_at": 1, "cosigned": true, "sites": [
        {"site": id("main"), "name": "本庁", "receipt": envelopes()[2], "received_at": 2, "lease_ends_at": null},
    ]})];
    StampRequest => [json!({"nonce": digest()})];
    HalfRequest => [json!({"issuer": {"point": public_of("s1"), "proof": Base64([7; 64])}})];
    Readiness => [json!({"waiting_for": [id("main"), id("branch")]})];
    ShareRequest => [json!({"card_point": public_of("a"), "delta": Base64([1; 32]), "sealed": bytes(113)})];
    OwnJournals => [json!({"journals": [{"journal": id("journal"), "size": 2, "head": digest()}]})];
    JournalRows => [json!({"rows": [row()], "head": head()})];
    JournalTaken => [json!({"size": 2, "broken_at": null}), json!({"size": 2, "broken_at": 1})];
    JournalBatch => [json!({"fact": envelopes()[2]}), json!({"fact": null})];
    Journals => [json!({
        "journals": [{"site": id("main"), "head": head(), "received_at": 5}], "next": 2,
    })];
    JournalAlarms => [json!({
        "alarms": [
            {"site": id("main"), "journal": id("journal"), "kind": "broken", "row": 1, "at": 6},
            {"site": id("main"), "journal": id("journal"), "kind": "given-up", "row": 2, "at": 7},
        ],
        "next": null,
    })];
    Rows => [json!({"rows": [row(), row()]})];
    Openings => [json!({"openings": [{"site": id("main"), "journal": id("journal"), "row": row()}]})];
    KeptReceipts => [json!({"receipts": [envelopes()[2]], "next": null})];
    Batch => [json!({"slips": envelopes()[3], "items": [slip()]})];
    Routed => [json!({"refused": [{"index": 1, "code": "not-a-target"}]}), json!({"refused": []})];
    ReleasedParts => [json!({"released": envelopes()[3], "key": public_of("transport")})];
    SlipsEvent => [json!({"place": 7})];
    Parcels => [json!({
        "parcels": [{"place": 7, "size": 9, "slips": shown_slips(), "before": [shown_slips()], "released": envelopes()[3]}],
        "more": true, "newest": 8,
    })];
    SlipsBatch => [json!({"fact": envelopes()[2]}), json!({"fact": null})];
    Terms => [json!({
        "organization": digest(), "largest": 9_000_000, "largest_outside": 1, "outside": [id("front")], "keep_ms": 1,
    })];
    Sender => [sender()];
    Offer => [offer()];
    OutsideOffer => [outside_offer()];
    Completion => [json!({"digest": digest()})];
    Delivered => [
        delivered(&json!({"state": "arriving", "missing": [0, 7], "other_file": false})),
        delivered(&json!({"state": "checking", "done": 8_388_608})),
        delivered(&json!({"state": "quarantined", "arrived_at": 5})),
        delivered(&json!({"state": "deleted", "at": 9})),
    ];
    Inbox => [json!({"more": false, "standings": [envelopes()[2]], "entries": [
        {"place": 7, "offered": {"offered": "signed", "offer": offer()}, "unit": id("tax"),
            "state": {"state": "arrived", "arrived_at": 5, "kept_until": 9}, "handling": {"handling": "waiting"}},
        {"place": 8, "offered": {"offered": "outside", "offer": outside_offer(), "digest": digest()}, "unit": id("tax"),
            "passed_by": id("front"), "state": {"state": "quarantined", "arrived_at": 5},
            "handling": {"handling": "passed-on", "at": 6, "to": id("welfare")}, "handled_by": id("card hanako")},
    ]})];
    AtUnit => [json!({"unit": id("tax")})];
    Return => [json!({"unit": id("tax"), "reason": "宛先違い"})];
    PassOn => [json!({"unit": id("front"), "to": id("tax")})];
    StandingRequest => [json!({"nonce": digest(), "cards": [id("card hanako")]})];
    Certificate => [json!({"kind": "card-share", "id": id("grant"), "chain": [bytes(40), bytes(9)]})];
    Crl => [json!({"issuer": "issuing", "der": bytes(300)}), json!({"issuer": "root", "der": bytes(1)})];
    Cosignature => [json!({"note": NOTE})];
    Wrap => [json!({"wrapped": bytes(105)})];
    Rewraps => [json!({"keys": [envelopes()[3]], "outstanding": true})];
    Rewrap => [json!({"key": public_of("grant key"), "wrapped": bytes(145)})];
    Holdings => [json!({"grants": 3, "held": 2, "missing": [id("grant")]})];
    Package => [json!({
        "authentication": [bytes(40)], "signature": null, "pending": [id("grant")],
        "shares": [{"grant": id("grant"), "unit": id("tax"), "custody": "own-pc",
            "card_point": public_of("a"), "sealed": bytes(113),
            "certificate": bytes(30)}],
    })];
    Records => [json!({"records": [record("hanako")]})];
    Register, open "records" => [json!({"records": {(id("tax").to_string()): "tax\n税務課"}})];

    site::Status => [
        json!({"site": id("main"), "organization": digest(), "folded": 9, "time": null, "lease_left_ms": 0}),
    ];
    Me => [json!({
        "site": id("main"), "card": id("card"), "member": id("hanako"), "member_name": "信濃 花子", "time": 7,
        "lease_left_ms": 60_000, "grants": [{"grant": id("grant"), "unit": id("tax"), "unit_name": "税務課",
            "right": "open", "unit_key": public_of("p"), "card_point": public_of("a")}],
    })];
    PartialsRequest => [
        json!({"items": [{"grant": id("grant"), "encapsulated": bytes(65)}]}),
        json!({"items": [], "routed": [{"encapsulated": bytes(65), "stanza": digest()}]}),
    ];
    PartialsAnswer => [
        json!({"items": [{"outcome": "partial", "x": Base64([9; 32])}, {"outcome": "refused", "code": "shredded"}]}),
        json!({"items": [], "routed": [
            {"outcome": "released", "parts": [{"grant": id("grant"), "unit_key": public_of("p"),
                "way": [{"slips": envelopes()[3], "slip": proved_slip()}],
                "seal_x": Base64([9; 32]), "file_x": Base64([8; 32])}]},
            {"outcome": "refused", "code": "not-found"},
        ]}),
    ];
    RevocationRequest => [
        json!({"order": envelopes()[1], "leaves": null}),
        json!({"order": envelopes()[1], "leaves": {"from": 2, "leaves": [leaf(2)], "checkpoint": NOTE}}),
    ];

    Bootstrap => [json!({"address": "127.0.0.1:45000", "token": "00ff"})];
    agent::Status => [
        json!({"state": {"state": "no-reader"}, "organization": null, "helpdesk": null}),
        json!({"state": {"state": "pin-needed", "reader": "r", "serial": 1, "tries_left": 3},
            "organization": "大町市", "helpdesk": "内線 2345"}),
        json!({"state": {"state": "open", "reader": "r", "serial": 1, "member": null, "units": ["税務課"],
            "site": "本庁", "lease_left_ms": 1, "open_files": 0}, "organization": "大町市", "helpdesk": "内線 2345"}),
        json!({"state": {"state": "refused", "reader": "r", "serial": 1, "code": "lease-expired"},
            "organization": null, "helpdesk": null}),
    ];
    Unlock => [json!({"serial": 7, "pin": "123456", "spend_last_try": false}), json!({"pin": ""})];
    OpenRequest => [
        json!({"files": ["/a", "/b"], "target": {"kind": "view"}}),
        json!({"files": ["/a"], "target": {"kind": "export", "path": "/c", "overwrite": true}}),
    ];
    Progress => [json!({"done": 1, "total": 2})];
    OpenAnswer => [json!({"files": [
        {"outcome": "viewing", "path": "/p", "unit": "税務課", "routed": true},
        {"outcome": "exported", "bytes": 3, "unit": "税務課", "routed": false},
        {"outcome": "failed", "fault": {"fault": "not-for-you"}},
    ]})];
    PlanRequest => [
        json!({"files": ["/a"], "targets": [id("tax")]}),
        json!({"serial": 1, "files": ["/a", "/b"], "targets": [id("tax"), id("welfare")], "last_day": "2027-03-31"}),
    ];
    Plan => [json!({
        "serial": 1, "targets": [{"unit": id("tax"), "name": "税務課"}], "last_day": "2027-03-31", "files": [
            {"planned": "ready", "unit": "受付", "stanzas": digest()},
            {"planned": "ready", "unit": null, "stanzas": digest()},
            {"planned": "failed", "fault": {"fault": "not-for-you"}},
        ],
    })];
    RouteRequest => [json!({
        "serial": 1, "pin": "123456", "files": [{"path": "/a", "stanzas": digest()}], "targets": [id("tax")],
        "last_day": "2027-03-31",
    })];
    RouteAnswer => [json!({"files": [
        [{"outcome": "sent", "last_day": "2027-03-31", "slip": {"slips": digest(), "index": 0}}],
        [{"outcome": "uncertain", "last_day": "2027-03-31", "slip": {"slips": digest(), "index": 1}}],
        [{"outcome": "failed", "fault": {"fault": "routing-uncertain"}}],
    ]})];
    SendRequest => [json!({
        "serial": 1, "pin": "123456", "files": ["/a"], "to": [id("tax")], "title": "照会", "reply_to": id("welfare"),
        "organization": digest(),
    })];
    SendAnswer => [json!({"files": [
        {"file": "/a", "outcome": {"outcome": "arrived", "id": id("delivery")}},
        {"file": "/a", "outcome": {"outcome": "unproved", "id": id("delivery")}},
        {"file": "/a", "outcome": {
            "outcome": "kept", "id": id("delivery"), "fault": {"fault": "authority-unreachable"}}},
        {"file": "/a", "outcome": {"outcome": "failed", "fault": {"fault": "file-name-unfit"}}},
    ]})];
    SentDeliveries => [json!({"deliveries": [
        sent(&json!({"became": "unknown"})), sent(&json!({"became": "unproved"})), sent(&json!({"became": "arriving"})),
        sent(&json!({"became": "received", "state": {"state": "arrived", "arrived_at": 5, "kept_until": 9}, "units": [
            {"unit": id("tax"), "handling": {"handling": "accepted", "at": 6}},
        ]})),
    ]})];
    Received => [json!({"deliveries": [received("member"), received("outside"), received("unproved")]})];
    FetchRequest => [
        json!({"id": id("delivery"), "said": digest(), "to": "/a"}),
        json!({"id": id("delivery"), "said": digest()}),
    ];
    Fetched => [json!({"path": "/a/b.age", "bytes": 1})];
    HandleRequest => [
        json!({"id": id("delivery"), "said": digest(), "unit": id("tax"), "what": {"what": "accept"}}),
        json!({"id": id("delivery"), "said": digest(), "unit": id("tax"), "what": {"what": "return", "reason": "宛先違い"}}),
        json!({"id": id("delivery"), "said": digest(), "unit": id("tax"), "what": {"what": "pass-on", "to": id("welfare")}}),
    ];
    AgentFault => [
        json!({"fault": "last-try"}), json!({"fault": "pin-wrong", "tries_left": 2}),
        json!({"fault": "authority-refused", "code": "rejected", "message": "no"}),
    ];
    Others => [json!({"organizations": [{
        "organization": digest(), "label": "alps", "name": "北アルプス広域連合", "expires_at": 2,
        "units": [{"unit": id("tax"), "label": "tax", "name": "税務課", "kind": "department", "recipient": "age1tag1x"}],
        "alarm": {"kind": "root-changed", "at": 3}, "trouble": "unreachable",
    }]})];
    Cards => [json!({"unusable": ["another reader"], "cards": [
        {"reader": "r", "serial": 1, "firmware": "5.4.3", "model": "YubiKey", "tries_left": 3,
            "puk_tries_left": null, "secrets": secrets("factory"), "keys": null, "shares": 0, "share_points": [],
            "certificate": null, "custody": "host-memory", "standing": {"standing": "foreign"}},
        {"reader": "r", "serial": 2, "firmware": "5.7.2", "model": "YubiKey", "tries_left": 0,
            "puk_tries_left": 3, "secrets": secrets("protected"), "keys": keys(), "shares": 1,
            "share_points": [public_of("a")],
            "certificate": {"member_of": [digest(), id("card")], "not_before": 1, "not_after": 2},
            "custody": "token-unwrap", "standing": {"standing": "open", "units": ["税務課"], "missing": 1}},
    ], "modules": [{"module": "/usr/lib/vendor.so", "hung": true}]})];
    Unblock => [json!({"serial": 1, "puk": "12345678", "pin": "123456", "spend_last_try": true})];
    Prepare => [json!({"serial": 1, "pin": "123456"})];
    Prepared => [
        json!({"keys": keys(), "attestation": {"kind": "none"}, "custody": "token-unwrap"}),
        json!({"keys": keys(), "attestation": {"kind": "generated", "serial": 1, "firmware": "5.7.2",
            "evidence": digest()}, "custody": "host-memory"}),
    ];
    Personalize => [json!({"serial": 1, "pin": "123456", "card": id("card"), "grants": [id("grant")],
        "officers": [public_of("t")], "dead": [public_of("a")]})];
    Personalized => [json!({"imported": [id("grant")], "puk_replaced": true})];
    GivePiece => [json!({"serial": 7, "pin": "123456", "manifest": envelopes()[1], "request": envelopes()[2]})];
    GivenPiece => [json!({"card": id("card hanako"), "sealed": bytes(114)})];
    SignRequest => [json!({"serial": 1, "pin": "123456", "envelope": envelopes()[1]})];
    SignAnswer => [json!({"key": public_of("k"), "signature": Base64([3; 64])})];
    Forward, open "body" => [
        json!({"target": {"to": "authority"}, "serial": null, "method": "GET", "path": "/v1/status"}),
        json!({"target": {"to": "site", "address": "main:1", "key": public_of("k")}, "serial": 1, "method": "POST",
            "path": "/v1/revocations", "body": {"order": [site_joined("main")]}}),
    ];
    Forwarded, open "body" => [json!({"status": 200, "body": {"any": ["thing"]}})];
    PukEscrow => [escrow()];
    OpenPuk => [json!({"serial": 1, "card": id("card"), "escrow": escrow()})];
    OpenedPuk => [json!({"puk": "40718265"})];
    ChangePin => [json!({"serial": 1, "old": "246810", "new": "135790"}), json!({"old": "", "new": ""})];
}

const NOTE: &str = "warifu/x\n3\nAAAA\n\n— warifu/x AAAA\n";

fn row() -> Value {
    json!({
        "index": 1, "time": 1_775_000_000_000_u64, "card": id("card"), "member": id("hanako"), "grant": id("grant"),
        "unit": id("tax"), "file": digest(), "previous": digest(),
    })
}

fn head() -> Value {
    json!({
        "site": id("main"), "journal": id("journal"), "size": 2, "head": digest(), "time": 1_775_000_000_000_u64,
        "signature": Base64([3; 64]),
    })
}

fn included() -> Value {
    json!({"index": 4, "leaf": leaf(4), "proof": [digest()]})
}

fn directory() -> Value {
    json!({
        "organization": digest(), "units": [unit()], "orders": [envelopes()[1]], "checkpoint": NOTE,
        "included": [included()],
    })
}

fn slip() -> Value {
    json!({
        "index": 1, "ephemeral": public_of("file"), "stanza": digest(), "target": id("tax"),
        "origin": {"slips": digest(), "index": 2}, "seal": Base64([5; 113]),
    })
}

fn proved_slip() -> Value {
    json!({"slip": slip(), "proof": [digest()]})
}

fn shown_slips() -> Value {
    json!({"slips": envelopes()[3], "shown": [proved_slip()]})
}

fn sender() -> Value {
    json!({"index": 3, "leaf": leaf(3), "proof": [digest()], "checkpoint": NOTE, "name": record("hanako")})
}

fn offer() -> Value {
    json!({"delivery": envelopes()[3], "sender": sender()})
}

fn outside_offer() -> Value {
    json!({
        "id": id("delivery"), "unit": id("front"), "from": "アクメ(株) 佐藤", "title": "見積書", "name": "見積.pdf.age",
        "size": 12_345,
    })
}

fn sent(became: &Value) -> Value {
    json!({
        "id": id("delivery"), "to": [{"unit": id("tax"), "name": "税務課"}], "title": "照会", "name": "名簿.csv",
        "size": 1, "sent_at": "2027-03-31 09:30", "here": true, "became": became,
    })
}

fn delivered(state: &Value) -> Value {
    json!({"id": id("delivery"), "state": state, "received": envelopes()[2], "units": [
        {"unit": id("tax"), "handling": {"handling": "accepted", "at": 6}},
        {"unit": id("welfare"), "handling": {"handling": "returned", "at": 7, "reason": "宛先違い"}},
    ]})
}

fn digest() -> Digest {
    Digest::of(b"organization")
}

fn bytes(count: usize) -> Value {
    json!(Bytes(vec![0xa5; count]))
}

fn leaf(index: usize) -> Value {
    json!(Bytes(town_leaves()[index].as_bytes()[..120].to_vec()))
}

fn unit() -> Value {
    json!({"unit": id("tax"), "label": "tax", "name": "税務課", "kind": "department", "recipient": "age1tag1x",
        "created": envelopes()[1], "name_key": Base64([4; 32])})
}

fn secrets(management_key: &str) -> Value {
    json!({"factory_pin": true, "factory_puk": false, "management_key": management_key})
}

fn escrow() -> Value {
    json!({"seals": [{"transport": public_of("t"), "sealed": bytes(89)}]})
}

fn keys() -> Value {
    json!({"authentication": public_of("9A"), "signature": public_of("9C"), "transport": public_of("9D")})
}

/// A delivery as the agent shows it, from somebody of whom this is known.
fn received(from: &str) -> serde_json::Value {
    let from = match from {
        "member" => json!({
            "from": "member", "organization": digest(), "organization_name": "北アルプス広域連合", "card": id("card"),
            "name": "信濃 花子", "standing": "not-live",
        }),
        "outside" => json!({"from": "outside", "says": "市民"}),
        _ => json!({"from": "unproved", "why": "not included"}),
    };
    json!({
        "id": id("delivery"), "said": digest(), "at": {"unit": id("front"), "name": "受付"}, "from": from, "title": "照会",
        "name": "名簿.csv", "size": 1, "sent_at": null, "passed_by": null,
        "state": {"state": "arrived", "arrived_at": 1, "kept_until": 2}, "handling": {"handling": "waiting"},
    })
}

/// The names of the types that are read.
#[must_use]
pub fn names() -> Vec<&'static str> {
    TYPES.iter().map(|found| found.name.rsplit("::").next().unwrap_or(found.name)).collect()
}

/// A body or answer, its type in the first byte: one reading, and strict (P-1.1).
pub(crate) fn any(data: &[u8]) -> bool {
    let Some((which, text)) = data.split_first() else { return false };
    (TYPES[usize::from(*which) % TYPES.len()].reads)(text)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seeds = TYPES.iter().enumerate().flat_map(|(index, found)| {
        let which = u8::try_from(index).unwrap();
        (found.examples)().into_iter().map(move |example| [&[which], example.to_string().as_bytes()].concat())
    });
    seeds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_read() {
        for found in TYPES {
            for example in (found.examples)() {
                assert!((found.reads)(example.to_string().as_bytes()), "{}: {example}", found.name);
            }
        }
    }
}
