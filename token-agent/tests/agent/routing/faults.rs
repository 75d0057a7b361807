//! Files that cannot go, cards that go, connections that break.

use super::*;

/// A thousand files, and none of them is kept open.
#[test]
fn as_many_files_as_a_request_takes_are_routed_with_few_descriptors() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files: Vec<PathBuf> =
            (0..ROUTES_LIMIT).map(|n| town.desk.sealed(&format!("{n}.age"), &town.front.key, b"x")).collect();
        town.desk.limit_agent("nofile", 256);
        town.dispatch();
        let outcomes = town.route(&paths(&files), &[town.tax.id]).unwrap();
        assert!(
            outcomes.iter().flatten().all(is_sent),
            "{:?}",
            outcomes.iter().flatten().find(|it| !is_sent(it))
        );
        assert_eq!(town.brought().len(), 1);
    });
}

/// Headers that were made to keep the PC busy.
#[test]
fn files_with_too_many_recipients_together_are_not_looked_through() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let keys = vec![town.front.key; 4096];
        let path = town.desk.path("many.age");
        warifu_envelope::seal(&keys, false, &b"x"[..], std::fs::File::create(&path).unwrap()).unwrap();
        town.dispatch();
        let planned = town.plan(&[path.as_path(); 17], &[town.tax.id]).unwrap().files;
        let (last, others) = planned.split_last().unwrap();
        assert_eq!(*last, PlannedFile::Failed { fault: AgentFault::TooManyRecipients });
        assert!(others.iter().all(|it| matches!(it, PlannedFile::Ready { .. })));
    });
}

/// Nobody here can have been sent it.
#[test]
fn a_file_without_a_recipient_of_this_kind_is_for_nobody_here() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let path = town.desk.path("other.age");
        let sealed = "age-encryption.org/v1\n-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\n\
            EmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n0123456789";
        std::fs::write(&path, sealed).unwrap();
        town.desk.insert_and_unlock(town.member.index);
        let planned = town.plan(&[&path], &[town.welfare.id]).unwrap().files;
        assert_eq!(planned, [PlannedFile::Failed { fault: AgentFault::NotForYou }]);
    });
}

/// The PIN was entered: that is not what is missing.
#[test]
fn a_card_that_was_named_and_has_no_site_is_not_asked_for_its_pin() {
    readers::private(3, |readers| {
        let mut town = Town::new(readers);
        let other = town.desk.member(&[&town.welfare]);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.desk.insert_and_unlock(other.index);
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::HsmUnavailable));
        town.desk.insert(town.dispatcher.index);
        let serial = Some(town.desk.serial(town.dispatcher.index));
        until("the card is seen", || town.desk.unlock(serial, PIN).ok());
        let request =
            PlanRequest { serial, files: vec![text(&file)], targets: vec![town.tax.id], last_day: None };
        let planned = faulty(town.desk.runtime.block_on(town.desk.client().plan_routes(&request)));
        let refused = AgentFault::SiteRefused { code: ErrorCode::HsmUnavailable };
        assert_eq!(planned.map(|plan| plan.serial), Err(refused));
    });
}

#[test]
fn a_file_that_changes_after_the_person_has_agreed_stays() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
        town.desk.sealed("a.age", &town.front.key, b"y");
        let answer = faulty(town.desk.runtime.block_on(town.desk.client().route(&agreed))).unwrap();
        assert_eq!(answer.files, [failed(AgentFault::FileChanged)]);
        assert!(town.brought().is_empty());
    });
}

#[test]
fn a_wrong_pin_sends_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let computed = town.desk.cards[town.dispatcher.index].0.agreements();
        let wrong = route_with(&town.desk, &[&file], &[town.tax.id], "000000");
        assert_eq!(wrong, Err(AgentFault::PinWrong { tries_left: 2 }));
        assert_eq!(town.desk.cards[town.dispatcher.index].0.agreements(), computed, "nothing before the PIN");
        assert_eq!(route_with(&town.desk, &[&file], &[town.tax.id], "123"), Err(AgentFault::PinMalformed));
        assert!(town.brought().is_empty());
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]));
    });
}

#[test]
fn slips_are_brought_again_where_the_connection_breaks() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let breaks = |count| town.desk.sites.iter().for_each(|site| site.state().slips.break_off = count);
        town.desk.sites[0].state().slips.break_off = 1;
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]));
        let brought = town.brought();
        assert_eq!(brought.iter().map(digest).collect::<Vec<_>>(), [digest(&brought[0]); 2], "the same ones");

        breaks(9);
        let outcomes = town.route(&[&file], &[town.tax.id]).unwrap();
        // With its number, by which it can be revoked.
        let last = town.desk.sites.iter().flat_map(|site| site.state().slips.brought.last().cloned());
        let numbers: Vec<Digest> = last.map(|batch| digest(&batch)).collect();
        assert!(is_uncertain(&outcomes[0][0], &numbers), "{outcomes:?} {numbers:?}");
        breaks(0);
        // A site that cannot, has not.
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::HsmUnavailable));
        let refused = AgentFault::SiteRefused { code: ErrorCode::HsmUnavailable };
        let outcome = town.route(&[&file], &[town.tax.id]);
        assert_eq!(outcome, Ok(vec![failed(refused)]));
        town.desk.sites[1].state().refuse = None;
        town.desk.sites[1].state().slips.brought.clear();
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]), "by the next one");
        assert_eq!(town.desk.sites[1].state().slips.brought.len(), 1);
        // Nor does a site know whose database failed.
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::StorageUnavailable));
        let outcomes = town.route(&[&file], &[town.tax.id]).unwrap();
        assert!(matches!(outcomes[0][0], RouteOutcome::Uncertain { .. }), "{outcomes:?}");
    });
}

/// I7, on both sides.
#[test]
fn a_card_that_goes_midway_ends_it_within_a_second() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
        town.desk.sites[0].state().slips.hold = Some(Arc::default());
        let client = town.desk.client();
        let routing = town.desk.runtime.spawn(async move { client.route(&agreed).await });
        until("the slips are at the site", || (!town.brought().is_empty()).then_some(()));
        let pulled = Instant::now();
        town.desk.remove(town.dispatcher.index);
        let answer = faulty(town.desk.runtime.block_on(routing).unwrap()).unwrap();
        assert!(pulled.elapsed() < ONE_SECOND, "{:?}", pulled.elapsed());
        assert!(is_uncertain(&answer.files[0][0], &[digest(&town.brought()[0])]), "{answer:?}");

        town.desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        town.desk.insert_and_unlock(town.member.index);
        let (client, asked) = (town.desk.client(), || town.desk.sites[0].state().slips.asked.len());
        let open =
            warifu_api::wire::agent::OpenRequest { files: vec![text(&file)], target: OpenTarget::View };
        let opening = town.desk.runtime.spawn(async move { client.open(&open).await });
        until("the site is asked", || (asked() == 1).then_some(()));
        let pulled = Instant::now();
        town.desk.remove(town.member.index);
        let outcome = faulty(town.desk.runtime.block_on(opening).unwrap()).unwrap().files.remove(0);
        assert!(pulled.elapsed() < ONE_SECOND, "{:?}", pulled.elapsed());
        assert!(matches!(outcome, FileOutcome::Failed { fault: AgentFault::CardRemoved }), "{outcome:?}");
    });
}
