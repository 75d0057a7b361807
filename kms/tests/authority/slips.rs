//! Slips at the kms: what it takes from sites, to whom it hands what, and what comes into the ledger (P-15.8, P-15.11, P-15.12).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use warifu_api::wire::Done;
use warifu_api::wire::routing::{Batch, Parcel, Parcels, ReleasedParts, SlipsBatch, SlipsEvent};
use warifu_api::{ClientError, ErrorCode};
use warifu_crash_point::CrashPoint;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::slip::{LONGEST_SLIP_MS, Slip, SlipId};
use warifu_ledger::statement::{
    Act, Fact, FactBody, Released, Right, ServiceId, ServiceKeys, SitePart, Slips,
};
use warifu_replica::clock::{Clock as _, SystemClock};

use crate::fixture::*;
use crate::s3;
use crate::stage::{DEADLINE, Kms, Stage, code, staged};
use crate::town::Town;

const HOUR: u64 = 60 * MINUTE;

/// The front desk `front`, where `jiro` routes to `tax` and `team`.
async fn with_front_desk(stage: &Stage) -> Town {
    let town = Town::open_to_all(stage).await;
    town.done([front_desk("front", &["tax", "team"])], TWO).await;
    town.create("front").await;
    town.done([grant_with("jiro", "front", Right::Route, None)], TWO).await;
    town
}

fn slip(index: u64, file: &str, target: &str) -> Slip {
    Slip {
        index,
        ephemeral: public_of(file),
        stanza: Digest::of(file.as_bytes()),
        target: id(target),
        origin: None,
        seal: Base64([7; 113]),
    }
}

async fn drawn(town: &Town, card: &str, unit: &str) -> Slips {
    Slips {
        organization: town.organization().await,
        id: id("slips"),
        unit: id(unit),
        grant: grant_id(card, unit),
        expires_at: town.kms.clock.wall_ms() + 30 * DAY,
        count: 0,
        root: Digest([0; 32]),
    }
}

fn signed(slips: Slips, items: Vec<Slip>, card: &str) -> Batch {
    let slips = slips.over(&items).unwrap();
    Batch { slips: envelope_by_cards(&slips, &[card]), items }
}

/// What `jiro` routes to `tax`.
async fn batch(town: &Town, files: &[&str]) -> Batch {
    let items = files.iter().zip(0..).map(|(file, index)| slip(index, file, "tax")).collect();
    signed(drawn(town, "jiro", "front").await, items, "jiro")
}

async fn keep(town: &Town, site: &str, batch: &Batch) -> Result<Done, ClientError> {
    town.site(site).post("/v1/slips", batch).await
}

async fn statement(town: &Town, by: &str, to: &str, batch: &Batch) -> Released {
    let part = |slip: &Slip| SitePart { index: slip.index, sealed: Base64([9; 113]) };
    Released {
        organization: town.organization().await,
        site: id(by),
        slips: batch.slips.digest(),
        to: id(to),
        parts: batch.items.iter().map(part).collect(),
    }
}

fn by(released: &Released, signer: &str, key: &str) -> ReleasedParts {
    ReleasedParts {
        released: envelope_by_services(released, &[signer]),
        key: public_of(&format!("{key} transport")),
    }
}

async fn release(town: &Town, site: &str, parts: &ReleasedParts) -> Result<Done, ClientError> {
    town.site(site).post("/v1/released", parts).await
}

async fn parcels(town: &Town, site: &str, after: u64) -> Vec<Parcel> {
    let Parcels { parcels, more, newest } =
        town.site(site).get(&format!("/v1/slips?after={after}")).await.unwrap();
    assert!(!more);
    assert!(parcels.iter().all(|parcel| after < parcel.place && parcel.place <= newest));
    parcels
}

async fn due(town: &Town) -> Option<Envelope> {
    town.ca().get::<SlipsBatch>("/v1/slips/batch").await.unwrap().fact
}

/// The program, by the machine's clock; killed where it comes to this point, and in the end.
pub(crate) struct Program(pub(crate) Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, once whoever served the folder before is gone.
pub(crate) fn started(stage: &Stage, point: Option<CrashPoint>) -> (Program, Town) {
    let (config, hsm) = (&stage.config, &stage.config.hsm);
    let file = config.data.with_file_name("slips.toml");
    let database =
        config.database.as_ref().map(|database| format!("[database]\nurl = \"{}\"\n", database.url));
    let text = format!(
        "data = {:?}\nlisten = \"127.0.0.1:0\"\naddress = \"kms.example:7443\"\nhelpdesk = \"1234\"\n\
         [hsm]\nmodule = {:?}\ntoken_label = {:?}\npin_file = {:?}\n{}{}",
        config.data,
        hsm.module,
        hsm.token_label,
        hsm.pin_file,
        database.unwrap_or_default(),
        config.deliveries.s3.as_ref().map(s3::section).unwrap_or_default(),
    );
    std::fs::write(&file, text).unwrap();
    let begun = Instant::now();
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-kms"));
        command.args(["authority", "--config"]).arg(&file).arg("run").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.envs(point.map(|point| ("WARIFU_CRASH_AT", point.name())));
        let mut program = Program(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if let Some(address) = line.trim().strip_prefix("ready ") {
            return (program, Town::again(Kms::at(address.to_owned(), stage)));
        }
        assert!(begun.elapsed() < DEADLINE, "it does not start");
    }
}

staged! {
    async fn p_15_11_a_crash_loses_nothing_that_was_answered_and_takes_the_rest_again(stage) {
        let town = with_front_desk(&stage).await;
        let mut slips = drawn(&town, "jiro", "front").await;
        slips.expires_at = SystemClock.wall_ms() + 30 * DAY;
        let good = signed(slips, vec![slip(0, "a", "tax")], "jiro");
        let released = by(&statement(&town, "main", "branch", &good).await, "main", "branch");
        town.kms.kill();
        for point in [CrashPoint::KmsSlipsKept, CrashPoint::KmsReleasedKept] {
            let (mut program, town) = started(&stage, Some(point));
            let kept = keep(&town, "main", &good).await;
            assert_eq!(kept.is_err(), point == CrashPoint::KmsSlipsKept);
            if kept.is_ok() {
                assert!(release(&town, "main", &released).await.is_err());
            }
            assert!(!program.0.wait().unwrap().success());
        }
        let (_program, town) = started(&stage, None);
        keep(&town, "main", &good).await.unwrap();
        release(&town, "main", &released).await.unwrap();
        let [parcel] = &parcels(&town, "branch", 0).await[..] else { panic!("one") };
        assert_eq!((&parcel.slips.slips, &parcel.released), (&good.slips, &released.released));
    }

    async fn p_15_12_slips_are_taken_that_the_sites_would_take(stage) {
        let town = with_front_desk(&stage).await;
        let good = batch(&town, &["a", "b"]).await;
        let slips = drawn(&town, "jiro", "front").await;
        let one = || vec![slip(0, "a", "tax")];
        let now = town.kms.clock.wall_ms();
        let changed = |change: &dyn Fn(&mut Slips)| {
            let mut slips = slips.clone();
            change(&mut slips);
            signed(slips, one(), "jiro")
        };
        let mut missing = good.clone();
        missing.items.pop();
        for (what, bad, expected) in [
            ("another organization's", changed(&|s| s.organization = Digest([1; 32])), ErrorCode::Rejected),
            ("of another unit", changed(&|s| s.unit = id("tax")), ErrorCode::Rejected),
            ("over", changed(&|s| s.expires_at = now), ErrorCode::Rejected),
            ("too long", changed(&|s| s.expires_at = now + LONGEST_SLIP_MS + 1), ErrorCode::Rejected),
            ("of somebody else", signed(slips.clone(), one(), "hanako"), ErrorCode::Rejected),
            ("without one", missing, ErrorCode::Malformed),
        ] {
            assert_eq!(code(keep(&town, "main", &bad).await), expected, "{what}");
        }
        let unserved = service_keys("dmz");
        town.done([Act::SiteJoined { site: id("dmz"), name: name("dmz"), keys: unserved, address: "dmz:1".into() }], TWO)
            .await;
        assert_eq!(code(keep(&town, "dmz", &good).await), ErrorCode::Rejected);
        assert_eq!(code(town.card("jiro").post::<Done>("/v1/slips", &good).await), ErrorCode::Forbidden);
        // Once, and once more.
        for _ in 0..2 {
            keep(&town, "main", &good).await.unwrap();
        }
        let path = format!("/v1/slips/{}", good.slips.digest());
        assert_eq!(town.card("sakura").get::<Envelope>(&path).await.unwrap(), good.slips);
        assert_eq!(code(town.card("jiro").get::<Envelope>(&path).await), ErrorCode::Forbidden);
        assert_eq!(code(town.site("branch").get::<Envelope>(&path).await), ErrorCode::Forbidden);
    }

    async fn p_15_12_parts_are_handed_to_their_site_alone(stage) {
        let town = with_front_desk(&stage).await;
        let good = batch(&town, &["a", "b"]).await;
        let released = statement(&town, "main", "branch", &good).await;
        let right = by(&released, "main", "branch");
        assert_eq!(code(release(&town, "main", &right).await), ErrorCode::NotFound, "before the batch");
        keep(&town, "main", &good).await.unwrap();
        let mut events = town.site("branch").events("/v1/ledger/stream?from=0").await.unwrap();

        let changed = |change: &dyn Fn(&mut Released)| {
            let mut released = released.clone();
            change(&mut released);
            by(&released, "main", "branch")
        };
        for (what, bad, expected) in [
            ("signed by another site", by(&released, "branch", "branch"), ErrorCode::Rejected),
            ("by the kms", by(&released, "kms", "branch"), ErrorCode::Rejected),
            ("in another's name", changed(&|r| r.site = id("branch")), ErrorCode::Rejected),
            ("another organization's", changed(&|r| r.organization = Digest([1; 32])), ErrorCode::Rejected),
            ("to another key", by(&released, "main", "main"), ErrorCode::Rejected),
            ("to no site", changed(&|r| r.to = id("nowhere")), ErrorCode::Rejected),
            ("nothing", changed(&|r| r.parts.clear()), ErrorCode::Malformed),
            ("of no slip", changed(&|r| r.parts[0].index = 2), ErrorCode::Malformed),
            ("twice of one", changed(&|r| r.parts[0].index = 1), ErrorCode::Malformed),
        ] {
            assert_eq!(code(release(&town, "main", &bad).await), expected, "{what}");
        }
        assert_eq!(parcels(&town, "branch", 0).await, []);
        let size = town.leaves().await.len() as u64;
        release(&town, "main", &right).await.unwrap();
        // Sealed anew, after an answer that was lost: the first one stays.
        let again = Released { parts: released.parts.iter().cloned().rev().collect(), ..released.clone() };
        release(&town, "main", &by(&again, "main", "branch")).await.unwrap();

        let [parcel] = &parcels(&town, "branch", 0).await[..] else { panic!("one") };
        assert_eq!((&parcel.released, parcel.size, &parcel.before[..]), (&right.released, size, &[][..]));
        let slips: Slips = good.slips.statement().unwrap();
        assert_eq!(parcel.slips.slips, good.slips);
        assert_eq!(parcel.slips.shown.len(), 2);
        assert!(parcel.slips.shown.iter().all(|proved| slips.has(proved)));
        assert_eq!(parcels(&town, "branch", parcel.place).await, []);
        assert_eq!(parcels(&town, "main", 0).await, []);
        // The other site hears of it, after the leaves, and when it comes again.
        let told = SlipsEvent { place: parcel.place };
        loop {
            let event = events.next().await.unwrap().unwrap();
            if event.name == "slips" {
                assert_eq!(serde_json::from_str::<SlipsEvent>(&event.data).unwrap(), told);
                break;
            }
        }
        town.kms.kill();
        let town = Town::open(&stage).await;
        let mut events = town.site("branch").events(&format!("/v1/ledger/stream?from={size}")).await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap().name, "slips");
    }

    async fn p_15_9_nothing_comes_that_is_sealed_to_a_former_key(stage) {
        let town = with_front_desk(&stage).await;
        let good = batch(&town, &["a"]).await;
        keep(&town, "main", &good).await.unwrap();
        let released = statement(&town, "main", "branch", &good).await;
        let mut keys: ServiceKeys = service_keys("branch 2");
        keys.log = None;
        town.done([Act::KeyRotated { service: ServiceId::Site(id("branch")), keys }], TWO).await;
        assert_eq!(code(release(&town, "main", &by(&released, "main", "branch")).await), ErrorCode::Rejected);
        release(&town, "main", &by(&released, "main", "branch 2")).await.unwrap();
    }

    async fn p_15_7_what_goes_on_is_shown_with_the_slips_by_which_it_came(stage) {
        let town = with_front_desk(&stage).await;
        let first = batch(&town, &["a", "b"]).await;
        keep(&town, "main", &first).await.unwrap();
        let expires_at = first.slips.statement::<Slips>().unwrap().expires_at;
        let on = |index: u64, file: &str, slips: Slips| {
            let origin = Some(SlipId { slips: first.slips.digest(), index });
            signed(Slips { expires_at, ..slips }, vec![Slip { origin, ..slip(0, file, "team") }], "hanako")
        };
        let slips = drawn(&town, "hanako", "tax").await;
        let nowhere = Slip {
            origin: Some(SlipId { slips: Digest([3; 32]), index: 0 }),
            ..slip(0, "b", "team")
        };
        let nowhere = signed(Slips { expires_at, ..slips.clone() }, vec![nowhere], "hanako");
        for (bad, expected) in [
            (on(0, "b", slips.clone()), ErrorCode::Rejected),
            (on(2, "a", slips.clone()), ErrorCode::Rejected),
            (nowhere, ErrorCode::NotFound),
        ] {
            // The batch may have other slips, which are good.
            keep(&town, "main", &bad).await.unwrap();
            let released = statement(&town, "main", "branch", &bad).await;
            assert_eq!(code(release(&town, "main", &by(&released, "main", "branch")).await), expected);
        }
        let next = on(1, "b", slips);
        keep(&town, "main", &next).await.unwrap();
        let released = statement(&town, "main", "branch", &next).await;
        release(&town, "main", &by(&released, "main", "branch")).await.unwrap();
        let [parcel] = &parcels(&town, "branch", 0).await[..] else { panic!("one") };
        let [before] = &parcel.before[..] else { panic!("one") };
        let [shown] = &before.shown[..] else { panic!("the other one is nobody's business") };
        assert_eq!((&before.slips, shown.slip.index), (&first.slips, 1));
        assert!(first.slips.statement::<Slips>().unwrap().has(shown));
    }

    async fn p_15_8_slips_come_into_the_ledger_by_their_digests(stage) {
        let town = with_front_desk(&stage).await;
        assert_eq!(due(&town).await, None);
        let (one, other) = (batch(&town, &["a"]).await, batch(&town, &["b"]).await);
        keep(&town, "main", &one).await.unwrap();
        keep(&town, "branch", &other).await.unwrap();
        assert_eq!(due(&town).await, None, "not at once");
        town.kms.clock.advance_ms(HOUR);
        assert_eq!(code(town.site("main").get::<SlipsBatch>("/v1/slips/batch").await), ErrorCode::Forbidden);
        let fact = due(&town).await.unwrap();
        let digests = [one.slips.digest(), other.slips.digest()].into();
        let content: Fact = fact.verified(&stage.keys.signing).unwrap();
        assert_eq!(content.fact, FactBody::SlipsBatched { slips: digests });
        town.fact(fact).await.unwrap();
        assert_eq!(due(&town).await, None);
        // And once they are over, they are gone; what is on its way meanwhile is not.
        let released = statement(&town, "main", "branch", &one).await;
        release(&town, "main", &by(&released, "main", "branch")).await.unwrap();
        town.kms.clock.advance_ms(31 * DAY);
        let late = batch(&town, &["c"]).await;
        keep(&town, "main", &late).await.unwrap();
        assert_eq!(parcels(&town, "branch", 0).await, []);
        assert_eq!(code(release(&town, "main", &by(&released, "main", "branch")).await), ErrorCode::NotFound);
    }

    async fn p_15_8_what_was_revoked_waits_for_nobody(stage) {
        let town = with_front_desk(&stage).await;
        let good = batch(&town, &["a"]).await;
        keep(&town, "main", &good).await.unwrap();
        let released = statement(&town, "main", "branch", &good).await;
        release(&town, "main", &by(&released, "main", "branch")).await.unwrap();
        town.done([Act::SlipRevoked { slips: good.slips.digest(), index: None }], ONE).await;
        assert_eq!(parcels(&town, "branch", 0).await, []);
        // Nor what is brought once more.
        let _ = keep(&town, "main", &good).await;
        let _ = release(&town, "main", &by(&released, "main", "branch")).await;
        assert_eq!(parcels(&town, "branch", 0).await, []);
    }
}
