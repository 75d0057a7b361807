//! The audit journals of sites: what the kms takes, commits, finds wrong, and shows to whom (P-13.2 to P-13.5).

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_api::wire::audit::{
    AlarmKind, CollectedJournal, JournalAlarm, JournalAlarms, JournalBatch, JournalRows, JournalTaken,
    Journals, KeptReceipts, Openings, OwnJournal, OwnJournals, Rows,
};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::Base64;
use warifu_ledger::state::BEGUN_LIMIT;
use warifu_ledger::statement::{Act, Role};
use warifu_replica::clock::Clock as _;

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;

const HOUR: u64 = 60 * MINUTE;

/// A site's journal as its site has it.
struct Journal {
    organization: Digest,
    site: &'static str,
    label: &'static str,
    rows: Vec<Row>,
}

impl Journal {
    async fn of(town: &Town, site: &'static str, label: &'static str, files: &[&str]) -> Self {
        let mut journal = Self { organization: town.organization().await, site, label, rows: Vec::new() };
        files.iter().for_each(|file| journal.write(file));
        journal
    }

    fn position(&self) -> Position {
        let start = Position::start(&self.organization, &id(self.site), &id(self.label));
        match self.rows.last() {
            Some(row) => Position { size: row.index + 1, head: row.hash() },
            None => start,
        }
    }

    fn write(&mut self, file: &str) {
        let Position { size, head } = self.position();
        self.rows.push(Row {
            index: size,
            time: T0 + size,
            card: card_id("hanako"),
            member: id("hanako"),
            grant: grant_id("hanako", "tax"),
            unit: id("tax"),
            file: Digest::of(file.as_bytes()),
            previous: head,
        });
    }

    fn head(&self) -> SignedHead {
        self.head_by(self.site)
    }

    fn head_by(&self, signer: &str) -> SignedHead {
        let Position { size, head } = self.position();
        let (site, journal) = (id(self.site), id(self.label));
        let mut head = SignedHead { site, journal, size, head, time: T0, signature: Base64([0; 64]) };
        let signed: Signature = key(&format!("{signer} signing"))
            .sign_prehash(head.digest(&self.organization).as_bytes())
            .unwrap();
        head.signature = Base64(signed.to_bytes().into());
        head
    }

    fn rows(&self, from: usize) -> JournalRows {
        JournalRows { rows: self.rows[from..].to_vec(), head: self.head() }
    }
}

async fn post(client: &Client, rows: JournalRows) -> Result<JournalTaken, ClientError> {
    client.post("/v1/journal", &rows).await
}

fn taken(size: u64) -> JournalTaken {
    JournalTaken { size, broken_at: None }
}

/// What is here, and what is wrong with it.
struct Seen {
    journals: Vec<CollectedJournal>,
    alarms: Vec<JournalAlarm>,
}

async fn seen(town: &Town) -> Seen {
    let card = town.card("sakura");
    let Journals { journals, .. } = card.get("/v1/audit/journals?from=0").await.unwrap();
    let JournalAlarms { alarms, .. } = card.get("/v1/audit/alarms?from=0").await.unwrap();
    Seen { journals, alarms }
}

/// As many journals as a site may begin in a day.
const LABELS: [&str; BEGUN_LIMIT as usize] = ["1", "2", "3", "4", "5", "6", "7", "8"];

fn of_branch(label: &str) -> &'static str {
    const OF_BRANCH: [&str; LABELS.len()] = ["b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"];
    OF_BRANCH[label.parse::<usize>().unwrap() - 1]
}

async fn batch(town: &Town) -> Option<Envelope> {
    town.ca().get::<JournalBatch>("/v1/journals/batch").await.unwrap().fact
}

staged! {
    async fn p_13_2_rows_are_taken_from_their_site_in_order_and_once(stage) {
        let town = Town::working(&stage).await;
        let mut journal = Journal::of(&town, "main", "journal", &["a", "b"]).await;
        let main = town.site("main");
        // Somebody else's, or signed by somebody else.
        assert_eq!(code(post(&town.site("branch"), journal.rows(0)).await), ErrorCode::Rejected);
        let in_its_name = JournalRows { head: journal.head_by("branch"), ..journal.rows(0) };
        assert_eq!(code(post(&town.site("branch"), in_its_name).await), ErrorCode::Rejected);
        for forger in ["branch", "kms", "ca"] {
            let rows = JournalRows { head: journal.head_by(forger), ..journal.rows(0) };
            assert_eq!(code(post(&main, rows).await), ErrorCode::Rejected, "{forger}");
        }
        let nothing = JournalRows { rows: Vec::new(), head: journal.head() };
        assert_eq!(code(post(&main, nothing).await), ErrorCode::Malformed);
        // Not from the beginning: it says from where.
        assert_eq!(post(&main, journal.rows(1)).await.unwrap(), taken(0));
        let none: OwnJournals = main.get("/v1/journal").await.unwrap();
        assert_eq!(none, OwnJournals { journals: Vec::new() });

        assert_eq!(post(&main, journal.rows(0)).await.unwrap(), taken(2));
        // Once more, after an answer that was lost.
        assert_eq!(post(&main, journal.rows(0)).await.unwrap(), taken(2));
        journal.write("c");
        assert_eq!(post(&main, journal.rows(2)).await.unwrap(), taken(3));
        let own: OwnJournals = main.get("/v1/journal").await.unwrap();
        let Position { size, head } = journal.position();
        assert_eq!(own.journals, [OwnJournal { journal: id("journal"), size, head }]);
        assert!(town.site("branch").get::<OwnJournals>("/v1/journal").await.unwrap().journals.is_empty());

        let seen = seen(&town).await;
        assert_eq!(seen.alarms, []);
        assert_eq!(seen.journals.len(), 1);
        assert_eq!(seen.journals[0].head, journal.head());
        let path = format!("/v1/audit/journals/{}/{}?from=1", id("main"), id("journal"));
        let rows: Rows = town.card("sakura").get(&path).await.unwrap();
        assert_eq!(rows.rows, journal.rows[1..]);
    }

    async fn p_13_2_changed_rows_are_an_alarm_by_name(stage) {
        let town = Town::working(&stage).await;
        let mut journal = Journal::of(&town, "main", "journal", &["a", "b"]).await;
        let main = town.site("main");
        post(&main, journal.rows(0)).await.unwrap();
        for file in ["c", "d", "e"] {
            journal.write(file);
        }
        // In the middle, the last one, and one that was collected before.
        for (place, row) in [(3, 3), (4, 4), (1, 1)] {
            let kept = journal.rows[place].clone();
            journal.rows[place].card = card_id("jiro");
            let mut rows = journal.rows(2);
            if place == 1 {
                rows.rows[0].previous = journal.rows[1].hash();
                rows.head = journal.head();
            } else {
                // The head is the one over what was written.
                let changed = std::mem::replace(&mut journal.rows[place], kept.clone());
                rows.head = journal.head();
                journal.rows[place] = changed;
            }
            assert_eq!(
                post(&main, rows).await.unwrap(),
                JournalTaken { size: 2, broken_at: Some(row) },
                "{place}"
            );
            journal.rows[place] = kept;
        }
        let alarms = seen(&town).await.alarms;
        let alarm = |row| JournalAlarm {
            site: id("main"), journal: id("journal"), kind: AlarmKind::Broken, row, at: stage.clock.wall_ms(),
        };
        assert_eq!(alarms, [alarm(3), alarm(4), alarm(1)]);
        assert_eq!(post(&main, journal.rows(2)).await.unwrap(), taken(5));
    }

    async fn p_13_4_another_journal_is_seen_and_the_one_before_is_over(stage) {
        let town = Town::working(&stage).await;
        let mut journal = Journal::of(&town, "main", "journal", &["a", "b"]).await;
        let main = town.site("main");
        post(&main, journal.rows(0)).await.unwrap();
        let other = Journal::of(&town, "main", "another", &["c"]).await;
        assert_eq!(post(&main, other.rows(0)).await.unwrap(), taken(1));
        let found = seen(&town).await;
        let given_up = JournalAlarm {
            site: id("main"), journal: id("journal"), kind: AlarmKind::GivenUp, row: 2, at: stage.clock.wall_ms(),
        };
        assert_eq!(found.alarms, [given_up]);
        assert_eq!(found.journals.iter().map(|found| found.head.journal).collect::<Vec<_>>(), [id("journal"), id("another")]);
        journal.write("d");
        assert_eq!(code(post(&main, journal.rows(2)).await), ErrorCode::Rejected);
        assert_eq!(seen(&town).await.alarms.len(), 1);
        // Another site's is another matter.
        let branch = Journal::of(&town, "branch", "of branch", &["c"]).await;
        assert_eq!(post(&town.site("branch"), branch.rows(0)).await.unwrap(), taken(1));
        assert_eq!(seen(&town).await.alarms.len(), 1);
    }

    async fn p_13_3_heads_are_committed_once_an_hour(stage) {
        let town = Town::working(&stage).await;
        assert!(batch(&town).await.is_none(), "nothing to commit");
        let mut journal = Journal::of(&town, "main", "journal", &["a"]).await;
        let main = town.site("main");
        post(&main, journal.rows(0)).await.unwrap();
        assert!(batch(&town).await.is_none(), "it is not due");
        stage.clock.advance_ms(HOUR - 1);
        assert!(batch(&town).await.is_none(), "it is not due");
        journal.write("b");
        post(&main, journal.rows(1)).await.unwrap();
        stage.clock.advance_ms(1);
        let fact = batch(&town).await.unwrap();
        assert_eq!(batch(&town).await.unwrap().digest(), fact.digest());
        // What comes while the ca signs waits for the next hour.
        journal.write("c");
        post(&main, journal.rows(2)).await.unwrap();
        town.fact(fact).await.unwrap();
        assert_eq!(town.state().await.journals(&id("main")).unwrap().head.size, 2);
        assert!(batch(&town).await.is_none());
        stage.clock.advance_ms(HOUR);
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        assert_eq!(town.state().await.journals(&id("main")).unwrap().head, journal.position());
        // And where nothing comes, nothing is committed.
        stage.clock.advance_ms(10 * HOUR);
        assert!(batch(&town).await.is_none());
        assert_eq!(code(main.get::<JournalBatch>("/v1/journals/batch").await), ErrorCode::Forbidden);
    }

    async fn p_13_3_both_journals_of_a_site_within_an_hour_are_committed_in_their_order(stage) {
        let town = Town::working(&stage).await;
        let journal = Journal::of(&town, "main", "journal", &["a", "b"]).await;
        let other = Journal::of(&town, "main", "another", &["c"]).await;
        let main = town.site("main");
        post(&main, journal.rows(0)).await.unwrap();
        post(&main, other.rows(0)).await.unwrap();
        stage.clock.advance_ms(HOUR);
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        let journals = town.state().await.journals(&id("main")).unwrap().clone();
        assert_eq!((journals.current, journals.head), (id("another"), other.position()));
        assert_eq!(journals.former.get(&id("journal")), Some(&journal.position()));
        assert!(batch(&town).await.is_none());
    }

    async fn p_13_3_a_site_that_begins_another_journal_in_between_keeps_nobody_waiting(stage) {
        let town = Town::working(&stage).await;
        let mut journal = Journal::of(&town, "main", "journal", &["a"]).await;
        let other = Journal::of(&town, "main", "another", &["c"]).await;
        let (main, branch) = (town.site("main"), town.site("branch"));
        post(&main, journal.rows(0)).await.unwrap();
        stage.clock.advance_ms(HOUR);
        let under_way = batch(&town).await.unwrap();
        // Before the fact is in the ledger, the first journal grows, and is given up.
        journal.write("b");
        post(&main, journal.rows(1)).await.unwrap();
        post(&main, other.rows(0)).await.unwrap();
        stage.clock.advance_ms(MINUTE);
        town.fact(under_way).await.unwrap();
        post(&branch, Journal::of(&town, "branch", "journal of branch", &["d"]).await.rows(0)).await.unwrap();
        stage.clock.advance_ms(HOUR);
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        let state = town.state().await;
        let of_main = state.journals(&id("main")).unwrap();
        assert_eq!((of_main.current, of_main.head), (id("another"), other.position()));
        assert_eq!(of_main.former.get(&id("journal")), Some(&journal.position()));
        assert_eq!(state.journals(&id("branch")).unwrap().head.size, 1);
    }

    async fn p_13_2_rows_of_a_time_that_is_to_come_are_refused(stage) {
        let town = Town::working(&stage).await;
        let main = town.site("main");
        for time in [T0 + 3 * DAY, 1 << 63] {
            let mut journal = Journal::of(&town, "main", "journal", &["a"]).await;
            journal.rows[0].time = time;
            assert_eq!(code(post(&main, journal.rows(0)).await), ErrorCode::Malformed, "{time}");
        }
    }

    async fn p_13_3_a_site_that_begins_journals_without_end_is_stopped(stage) {
        let town = Town::working(&stage).await;
        let main = town.site("main");
        for label in LABELS {
            post(&main, Journal::of(&town, "main", label, &["a"]).await.rows(0)).await.unwrap();
        }
        // More would wait than the ledger takes in a day; another site's do not matter.
        let more = Journal::of(&town, "main", "more", &["a"]).await;
        assert_eq!(code(post(&main, more.rows(0)).await), ErrorCode::Rejected);
        post(&town.site("branch"), Journal::of(&town, "branch", "of branch", &["a"]).await.rows(0)).await.unwrap();
        assert_eq!(seen(&town).await.journals.len(), LABELS.len() + 1);
        stage.clock.advance_ms(HOUR);
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        // Those are in the ledger. What comes now the kms takes, and the ledger on another day.
        assert_eq!(post(&main, more.rows(0)).await.unwrap(), taken(1));
        stage.clock.advance_ms(HOUR);
        assert!(batch(&town).await.is_none());
        stage.clock.advance_ms(DAY);
        town.done([suspend("midori")], ONE).await;
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        assert_eq!(town.state().await.journals(&id("main")).unwrap().current, id("more"));
        // And one that has left begins none.
        town.done([Act::SiteRemoved { site: id("main") }], TWO).await;
        let after = Journal::of(&town, "main", "after", &["a"]).await;
        assert_eq!(code(post(&town.site("main"), after.rows(0)).await), ErrorCode::Rejected);
    }

    async fn journals_and_alarms_are_read_page_by_page(stage) {
        let town = Town::working(&stage).await;
        for site in ["main", "branch"] {
            for label in LABELS {
                let label: &'static str = if site == "main" { label } else { of_branch(label) };
                post(&town.site(site), Journal::of(&town, site, label, &["a"]).await.rows(0)).await.unwrap();
            }
        }
        // From wherever one goes on, it is the rest.
        let card = town.card("sakura");
        let all = seen(&town).await;
        assert_eq!((all.journals.len(), all.alarms.len()), (16, 14));
        let rest: Journals = card.get("/v1/audit/journals?from=5").await.unwrap();
        assert_eq!((rest.journals.as_slice(), rest.next), (&all.journals[4..], None));
        let rest: JournalAlarms = card.get("/v1/audit/alarms?from=5").await.unwrap();
        assert_eq!((rest.alarms.as_slice(), rest.next), (&all.alarms[4..], None));
        let none: Journals = card.get("/v1/audit/journals?from=100").await.unwrap();
        assert!(none.journals.is_empty());
    }

    async fn a_site_that_was_removed_delivers_the_rest(stage) {
        let town = Town::working(&stage).await;
        let mut journal = Journal::of(&town, "main", "journal", &["a"]).await;
        let main = town.site("main");
        post(&main, journal.rows(0)).await.unwrap();
        town.done([Act::SiteRemoved { site: id("main") }], TWO).await;
        journal.write("b");
        assert_eq!(post(&town.site("main"), journal.rows(1)).await.unwrap(), taken(2));
        stage.clock.advance_ms(HOUR);
        town.fact(batch(&town).await.unwrap()).await.unwrap();
        assert_eq!(town.state().await.journals(&id("main")).unwrap().head.size, 2);
    }

    async fn p_13_5_auditors_and_officers_read_and_nobody_else(stage) {
        let town = Town::working(&stage).await;
        let journal = Journal::of(&town, "main", "journal", &["a", "b", "a"]).await;
        post(&town.site("main"), journal.rows(0)).await.unwrap();
        let roles = |label: &str, roles: &[Role]| Act::RoleChanged {
            member: id(label),
            roles: roles.iter().copied().collect(),
        };
        town.done([enrol("goro")], TWO).await;
        let (journals, file) = ("/v1/audit/journals?from=0", format!("/v1/audit/files/{}", Digest::of(b"a")));
        let rows = format!("/v1/audit/journals/{}/{}?from=0", id("main"), id("journal"));
        let (receipts, alarms) = ("/v1/audit/receipts?from=0", "/v1/audit/alarms?from=0");
        let refused = async |client: Client, who: &str| {
            assert_eq!(code(client.get::<Journals>(journals).await), ErrorCode::Forbidden, "{who}");
            assert_eq!(code(client.get::<JournalAlarms>(alarms).await), ErrorCode::Forbidden, "{who}");
            assert_eq!(code(client.get::<Openings>(&file).await), ErrorCode::Forbidden, "{who}");
            assert_eq!(code(client.get::<Rows>(&rows).await), ErrorCode::Forbidden, "{who}");
            assert_eq!(code(client.get::<KeptReceipts>(receipts).await), ErrorCode::Forbidden, "{who}");
        };
        for (client, who) in [
            (town.stranger(), "stranger"),
            (town.ca(), "ca"),
            (town.site("main"), "site"),
            (town.card("hanako"), "member"),
            (town.card("goro"), "goro"),
        ] {
            refused(client, who).await;
        }
        town.done([roles("goro", &[Role::Administrator])], TWO).await;
        refused(town.card("goro"), "administrator").await;
        town.done([roles("goro", &[Role::Auditor])], TWO).await;
        for who in ["goro", "sakura"] {
            let client = town.card(who);
            assert_eq!(client.get::<Journals>(journals).await.unwrap().journals.len(), 1);
            assert_eq!(client.get::<Rows>(&rows).await.unwrap().rows, journal.rows);
            let openings: Openings = client.get(&file).await.unwrap();
            let of_a: Vec<_> = openings.openings.iter().map(|opening| opening.row.index).collect();
            assert_eq!(of_a, [0, 2]);
            assert!(openings.openings.iter().all(|opening| opening.site == id("main")));
            assert!(client.get::<KeptReceipts>(receipts).await.unwrap().receipts.is_empty());
        }
    }
}
