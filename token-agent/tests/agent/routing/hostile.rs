//! A site, a directory or a dispatcher who lies.

use super::*;

/// A key that the kms shows of a unit is the one that ca and kms have proved, or files do not go there.
#[test]
fn p_15_16_a_directory_that_lies_about_the_target_gets_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let thief = Unit::draw("thief");
        let lies: [&dyn Fn(&mut warifu_api::wire::UnitEntry); 2] =
            [&|tax| tax.recipient = Some(warifu_envelope::UnitRecipient::encode(&thief.key)), &|tax| {
                tax.recipient = Some(warifu_envelope::UnitRecipient::encode(&thief.key));
                tax.created = Some(thief.created(
                    town.desk.organization,
                    &town.desk.ca_service,
                    &town.desk.kms_service,
                ));
            }];
        for lie in lies {
            town.desk.publish(&[&town.front, &town.tax, &town.welfare]);
            let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
            lie(&mut town.desk.kms.state().directory.as_mut().unwrap().units[1]);
            let refused = faulty(town.desk.runtime.block_on(town.desk.client().route(&agreed)));
            assert!(matches!(refused, Err(AgentFault::Malformed { .. })), "{refused:?}");
            let refused = town.plan(&[&file], &[town.tax.id]).err();
            assert!(matches!(refused, Some(AgentFault::Malformed { .. })), "{refused:?}");
        }
        assert!(town.brought().is_empty());
    });
}

/// What the card signs is the unit and the grant to it.
#[test]
fn p_15_16_a_site_that_tells_a_grant_under_another_units_id_gets_no_slip() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.desk.sites.iter().for_each(|site| {
            let mut state = site.state();
            let (grant, _) = &mut state.members.get_mut(&town.dispatcher.key).unwrap().grants[0];
            (grant.unit, grant.unit_name) = (town.welfare.id, "福祉課".to_owned());
        });
        town.dispatch();
        let planned = town.plan(&[&file], &[town.tax.id]).unwrap().files.remove(0);
        let not_trusted = |fault: &AgentFault| matches!(fault, AgentFault::NotTrustworthy { .. });
        assert!(matches!(&planned, PlannedFile::Failed { fault } if not_trusted(fault)), "{planned:?}");
        // Another name of the same unit is not shown.
        town.desk.sites.iter().for_each(|site| {
            let mut state = site.state();
            let (grant, _) = &mut state.members.get_mut(&town.dispatcher.key).unwrap().grants[0];
            (grant.unit, grant.unit_name) = (town.front.id, "福祉課".to_owned());
        });
        assert_eq!(town.desk.warifu(&["lock"], "").status.code(), Some(0));
        town.desk.unlock(None, PIN).unwrap();
        let planned = town.plan(&[&file], &[town.tax.id]).unwrap().files.remove(0);
        assert!(
            matches!(&planned, PlannedFile::Ready { unit: Some(unit), .. } if unit == "受付"),
            "{planned:?}"
        );
    });
}

#[test]
fn p_15_16_a_site_that_releases_something_else_opens_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files = town.sent(&["a.age", "b.age"]);
        let out = town.desk.path("out");
        let alter = |alter: Alteration| {
            town.desk.sites[0].state().slips.alter = Some(Box::new(alter));
        };
        let altered: [(&str, Alteration); 5] = [
            ("no part", |parts| parts.clear()),
            ("no way", |parts| parts[0].way.clear()),
            ("the x of the seal for that of the file", |parts| {
                parts[0].file_x = secret(*parts[0].seal_x.0);
            }),
            ("the x of the file for that of the seal", |parts| {
                parts[0].seal_x = secret(*parts[0].file_x.0);
            }),
            ("what is no x", |parts| parts[0].file_x = secret([0xff; 32])),
        ];
        for (what, alteration) in altered {
            alter(alteration);
            assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::SlipDoesNotOpen), "{what}");
        }
        // The slip of another file, with all that belongs to it.
        let other = town.brought()[0].clone();
        let statement: Slips = other.slips.statement().unwrap();
        let proved = statement.prove(other.items).unwrap();
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| {
            for part in parts {
                let index = part.way[0].slip.slip.index;
                part.way[0].slip = proved[usize::try_from(1 - index).unwrap()].clone();
            }
        }));
        assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::SlipDoesNotOpen));
        // One that does not open says nothing of the others.
        let double = |parts: &mut Vec<ReleasedPart>, times| {
            for _ in 0..times {
                let good = &parts[0];
                let (seal_x, file_x) = (secret(*good.seal_x.0), secret([5; 32]));
                let (grant, way, unit_key) = (good.grant, good.way.clone(), good.unit_key);
                parts.push(ReleasedPart { grant, way, unit_key, seal_x, file_x });
            }
            parts.reverse();
        };
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| double(parts, 3)));
        assert_eq!(town.desk.export(&files[0], &out), Ok(5));
        std::fs::remove_file(&out).unwrap();
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| double(parts, 4)));
        // An answer with more than there may be is none: the next site is asked, which has nothing.
        assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::NotForYou));
        assert!(!out.exists());
    });
}

/// I6: what the dispatcher's PC is told, and what his card gives it, opens nothing.
#[test]
fn nothing_that_a_dispatchers_pc_ever_sees_opens_the_file() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"secret");
        town.dispatch();
        town.desk.view(&file).unwrap_err();
        town.route(&[&file], &[town.tax.id]).unwrap();
        town.desk.view(&file).unwrap_err();

        // What his card gave: it is in the seal, which the target's two halves open.
        let batch = town.brought().remove(0);
        let (statement, slip): (Slips, _) = (batch.slips.statement().unwrap(), &batch.items[0]);
        let (a, b) = town.tax.split();
        let a = warifu_split_key::keeper::SiteShare::from_bytes(&a.expose_bytes()).unwrap();
        let partial = |share| PartialX::from_bytes(&x_of(share, &slip.seal.0[..65]).0);
        let candidates = join(&partial(&a), &partial(&b)).unwrap();
        let routed = slip.routed_file(&statement);
        let card = routed.open_card_part(&candidates, &town.tax.key, &slip.seal.0).unwrap();
        let opens = |x: &[u8; 32]| {
            join(&card, &PartialX::from_bytes(x))
                .is_ok_and(|candidates| stanza(&file).open(&candidates, &town.front.key).is_ok())
        };

        let state = town.desk.sites[0].state();
        let (_, share) = &state.members[&town.dispatcher.key].grants[0];
        assert!(opens(&x_of(share, &stanza(&file).enc.to_uncompressed()).0), "the site's part would");
        let told = state.told.iter().filter(|(key, _)| *key == town.dispatcher.key);
        let mut seen = 0;
        for text in told.flat_map(|(_, text)| text.split('"')) {
            let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
            for part in bytes.windows(32) {
                seen += 1;
                assert!(!opens(part.try_into().unwrap()), "{text}");
            }
        }
        assert!(seen > 0, "keys at least");
        assert!(state.slips.asked.is_empty(), "a card that opens nothing does not ask for what was routed");
    });
}
