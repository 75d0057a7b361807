//! One seed: its climate, and what happens step by step.

use anyhow::{Context as _, Result};
use warifu_api::wire::Leaves;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Act;

use crate::base::{ACME_ENDS, Base, EPOCH, GRANTS, HOUR, draft, grant, note_of};
use crate::draw::Draw;
use crate::fixture::{self, id};
use crate::liar::Liar;
use crate::life::{At, TaskId};
use crate::work::Errand;
use crate::world::{Doing, Place, Tally, Who, World, file_id};

/// Things that happen in one run.
const STEPS: usize = 220;
/// Orders in one run at most: each is verified by everybody.
const ORDERS: usize = 6;
/// Files that cards ask for.
const FILES: usize = 6;

/// What goes wrong in this run.
struct Climate {
    lies: bool,
    loses: bool,
    crashes: bool,
    restores: bool,
    jumps: bool,
    /// In so many of a hundred cases a task stops at a crash point.
    stopping: usize,
}

impl Climate {
    fn of(draw: &mut Draw) -> Self {
        Self {
            lies: draw.percent(55),
            loses: draw.percent(50),
            crashes: draw.percent(60),
            restores: draw.percent(40),
            jumps: draw.percent(40),
            stopping: draw.of(&[0, 4, 12, 35]).unwrap_or_default(),
        }
    }
}

/// What came of a seed.
pub(crate) struct Run {
    pub(crate) trace: Vec<String>,
    pub(crate) tally: Tally,
    /// What did not hold.
    pub(crate) broken: Option<String>,
}

/// Runs a seed to its end, or until something does not hold.
pub(crate) fn run(seed: u64) -> Result<Run> {
    let base = Base::of_process()?;
    let mut draw = Draw::new(seed);
    let climate = Climate::of(&mut draw);
    let mut world = World::begin(base, seed, draw, climate.stopping)?;
    if climate.lies {
        world.liar = Some(Liar::new());
    }
    let outcome = live(&mut world, &climate);
    let mut run = Run { trace: Vec::new(), tally: Tally::default(), broken: None };
    if let Err(error) = outcome {
        run.broken = Some(format!("{error:#}"));
    }
    let ended = world.end();
    match ended {
        Ok((trace, tally)) => {
            run.trace = trace;
            run.tally = tally;
        }
        Err(error) => {
            run.broken.get_or_insert(format!("the end: {error:#}"));
        }
    }
    Ok(run)
}

fn live(world: &mut World, climate: &Climate) -> Result<()> {
    for _ in 0..STEPS {
        let choices = choices(world, climate);
        let total: usize = choices.iter().map(|(weight, _)| weight).sum();
        let mut at = world.draw.below(total);
        for (weight, choice) in choices {
            if at < weight {
                happen(world, choice)?;
                break;
            }
            at -= weight;
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    GoOn(Who, usize),
    HangUp(Who, TaskId),
    Deliver(usize),
    Lose(usize),
    Double(usize),
    Pull(Who),
    Errand(Who, Errand),
    Open(Who),
    Order,
    Bring(Who),
    Pass,
    Crash(Who),
    Start(Who),
    Copy(Who),
    Restore(Who),
    Jump,
    Cut(Who),
    Mend(Who),
    Fork,
    Turn,
}

fn choices(world: &World, climate: &Climate) -> Vec<(usize, Choice)> {
    use Choice as C;
    let mut all = vec![(10, C::Pass)];
    for (who, index, task, at) in world.stops() {
        // An HSM may take its time for an answer, and much happen meanwhile.
        let answering = world.doing.get(&(who, task)) == Some(&Doing::Answering);
        let weight = match at {
            At::Turn => 12,
            At::Point(_) if answering => 2,
            At::Point(_) => 9,
        };
        all.push((weight, C::GoOn(who, index)));
        if answering {
            all.push((1, C::HangUp(who, task)));
        }
    }
    for (index, letter) in world.letters.iter().enumerate() {
        let cut = letter.from.service().is_some_and(|who| world.cut.contains(&who));
        match letter.place {
            Place::AtKms(_) => {}
            _ if cut => {}
            Place::Lost => all.push((10, C::Deliver(index))),
            Place::Sent | Place::Back(..) => {
                all.push((14, C::Deliver(index)));
                if climate.loses {
                    all.push((1, C::Lose(index)));
                    if matches!(letter.place, Place::Sent) && world.letters.len() < 12 {
                        all.push((1, C::Double(index)));
                    }
                }
            }
        }
    }
    for who in Who::ALL {
        if !world.lives.contains_key(&who) {
            all.push((20, C::Start(who)));
            if Who::SITES.contains(&who) && climate.restores && world.has_copy(who) {
                all.push((8, C::Restore(who)));
            }
            continue;
        }
        if climate.crashes {
            all.push((1, C::Crash(who)));
        }
        if who == Who::Kms || !world.is_up(who) {
            continue;
        }
        if climate.loses {
            let cut = world.cut.contains(&who);
            all.push((if cut { 3 } else { 1 }, if cut { C::Mend(who) } else { C::Cut(who) }));
        }
        let streams = |letter: &crate::world::Letter| letter.from == crate::world::Sender::Stream(who);
        if !world.letters.iter().any(streams) {
            all.push((5, C::Pull(who)));
        }
        let mut errand = |weight, errand| {
            if !world.is_busy(who, errand) {
                all.push((weight, C::Errand(who, errand)));
            }
        };
        errand(6, Errand::Ask);
        if who == Who::Ca {
            errand(4, Errand::Cosign);
            continue;
        }
        errand(5, Errand::Act);
        errand(3, Errand::Provide);
        errand(1, Errand::Rewrap);
        errand(1, Errand::Sweep);
        errand(2, Errand::Deliver);
        errand(1, Errand::Courier);
        errand(5, Errand::Journal);
        all.push((9, C::Open(who)));
        if !world.orders.is_empty() {
            all.push((4, C::Bring(who)));
        }
        if climate.restores {
            all.push((1, C::Copy(who)));
        }
    }
    if world.orders.len() < ORDERS {
        all.push((5, C::Order));
    }
    if climate.jumps {
        all.push((1, C::Jump));
    }
    if climate.lies {
        all.push((4, C::Turn));
        all.push((2, C::Fork));
    }
    all
}

fn happen(world: &mut World, choice: Choice) -> Result<()> {
    use Choice as C;
    match choice {
        C::Open(_) | C::Order | C::Bring(_) | C::Pass | C::Jump | C::Turn | C::Fork => {}
        C::GoOn(who, index) => {
            let stop = world.stops().into_iter().find(|(of, at, ..)| *of == who && *at == index);
            let (_, _, task, at) = stop.context("no such stop")?;
            let doing = world.doing.get(&(who, task)).copied();
            world.say(format!("{} goes on from {at:?} {doing:?}", who.name()));
        }
        C::Deliver(index) | C::Lose(index) | C::Double(index) => {
            let letter = world.letters.get(index).context("no such letter")?;
            let place = match letter.place {
                Place::Sent => "request",
                Place::AtKms(_) => "at the kms",
                Place::Back(..) => "answer",
                Place::Lost => "lost",
            };
            let line = format!("{choice:?} {place} {:?} {} {}", letter.from, letter.method, letter.path);
            world.say(line);
        }
        _ => world.say(format!("{choice:?}")),
    }
    match choice {
        C::GoOn(who, index) => world.go_on(who, index),
        C::HangUp(who, task) => world.hang_up(who, task),
        C::Deliver(index) => world.deliver(index),
        C::Lose(index) => world.lose(index),
        C::Double(index) => world.double(index),
        C::Pull(who) => world.pull(who),
        C::Errand(who, errand) => world.errand(who, errand),
        C::Open(who) => opens(world, who),
        C::Order => orders(world),
        C::Bring(who) => brings(world, who),
        C::Pass => {
            let ms = match world.draw.below(200) {
                0..140 => world.draw.between(10, 4_000),
                140..180 => world.draw.between(4_000, 45_000),
                180..196 => world.draw.between(45_000, 200_000),
                196..199 => world.draw.between(HOUR / 2, 2 * HOUR),
                _ => world.draw.between(20 * HOUR, 30 * HOUR),
            };
            world.say(format!("{ms} ms pass"));
            world.pass(ms);
            Ok(())
        }
        C::Crash(who) => {
            world.tally.count("crashes");
            world.crash(who)?;
            if world.draw.percent(50) { world.reboot(who) } else { Ok(()) }
        }
        C::Start(who) => world.start(who),
        C::Copy(who) => world.copy(who),
        C::Restore(who) => {
            if world.restore(who)? {
                world.tally.count("restored databases");
            }
            Ok(())
        }
        C::Jump => {
            let hours = world.draw.between(0, 6).cast_signed() - 3;
            let skew = hours * HOUR.cast_signed() + world.draw.between(0, 60_000).cast_signed();
            world.say(format!("wall clocks jump; the kms's is {skew} ms ahead"));
            world.jump(skew)
        }
        C::Cut(who) => {
            world.cut.insert(who);
            Ok(())
        }
        C::Mend(who) => {
            world.cut.remove(&who);
            Ok(())
        }
        C::Fork => lies(world, |liar, draw, honest, floor, now| liar.forks(draw, honest, floor, now)),
        C::Turn => lies(world, |liar, draw, honest, floor, _| liar.turns(draw, honest, floor)),
    }
}

fn lies(
    world: &mut World,
    lie: impl FnOnce(&mut Liar, &mut Draw, &crate::liar::History, usize, u64) -> String,
) -> Result<()> {
    let now = world.wall();
    let Some(liar) = &mut world.liar else { return Ok(()) };
    let what = lie(liar, &mut world.draw, &world.honest, world.floor, now);
    world.say(what);
    Ok(())
}

/// A card asks for one file or two.
fn opens(world: &mut World, who: Who) -> Result<()> {
    let (card, _, _) = world.draw.of(&GRANTS).context("no cards")?;
    let count = if world.draw.percent(20) { 2 } else { 1 };
    let mut items = Vec::new();
    for _ in 0..count {
        // Now and then somebody else's grant.
        let of = if world.draw.percent(5) { world.draw.of(&GRANTS) } else { None };
        let of = of.or_else(|| GRANTS.into_iter().find(|(of, ..)| *of == card));
        let (of, unit, _) = of.context("no grant")?;
        items.push((grant(of, unit), world.draw.below(FILES)));
    }
    let files: Vec<usize> = items.iter().map(|(_, file)| *file).collect();
    world.say(format!("{card} asks {} for {files:?}", who.name()));
    world.open(who, card, items)
}

/// An order is signed, and sent to the kms, or kept for those who bring it by hand.
fn orders(world: &mut World) -> Result<()> {
    let (card, unit, _) = world.draw.of(&GRANTS).context("no cards")?;
    let draw = &mut world.draw;
    let acts: Vec<Act> = match draw.below(16) {
        0..3 => vec![fixture::revoke_grant(card, unit)],
        3..5 => vec![fixture::revoke_card(card)],
        5 => vec![Act::MemberRevoked { member: id(card), effective_at: None, reason: None }],
        6 => vec![fixture::end_contract("acme")],
        7 | 8 => vec![fixture::suspend(card)],
        9 => vec![fixture::resume(card)],
        10 | 11 => vec![Act::FileShredded { file: file_id(draw.below(FILES)) }],
        12 => {
            let ends_at = ACME_ENDS + draw.between(0, 10) * HOUR;
            vec![Act::ContractExtended { contract: id("acme"), ends_at }]
        }
        13 => vec![fixture::serve_at(
            "tax",
            draw.of(&[&["main"][..], &["branch"], &["main", "branch"]]).unwrap_or(&["main"]),
        )],
        14 => vec![fixture::revoke_grant(card, unit), fixture::suspend("goro")],
        _ => vec![fixture::suspend(card), fixture::revoke_grant("jiro", "tax")],
    };
    // The desk may have looked at the ledger a while ago.
    let newest = world.honest.leaves.len();
    let size =
        if draw.percent(80) { newest } else { draw.between(world.floor as u64, newest as u64) as usize };
    let at = EPOCH + world.now;
    let state = world.honest.state(size).context("no state")?;
    let label = format!("desk order {}", world.orders.len());
    let envelope = draft(state, &label, acts.clone(), fixture::TWO, at);
    let what = acts.iter().map(said).collect::<Vec<_>>().join(", ");
    let by_hand = world.draw.percent(35);
    world.say(format!(
        "order {} after {size} leaves: {what}{}",
        world.orders.len(),
        if by_hand { " (kept)" } else { "" }
    ));
    let index = world.keep_order(envelope, what)?;
    if by_hand { Ok(()) } else { world.order(index) }
}

fn said(act: &Act) -> String {
    let text = format!("{act:?}");
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// Somebody brings an order to a site, with what it may lack of the ledger, or without.
fn brings(world: &mut World, who: Who) -> Result<()> {
    let index = world.draw.below(world.orders.len());
    let order = world.orders.get(index).context("no such order")?;
    let what = order.what.clone();
    if !order.order.acts.iter().any(Act::calls_for_receipt) {
        return world.order(index);
    }
    let size = world.honest.leaves.len();
    let leaves = if world.draw.percent(60) {
        let from = world.book(who)?.size().min(size).saturating_sub(world.draw.below(2));
        let leaves = world.honest.leaves.get(from..size).unwrap_or_default();
        Some(Leaves {
            from: from as u64,
            leaves: leaves.iter().map(|leaf| Bytes(leaf.clone())).collect(),
            checkpoint: note_of(world.honest.state(size).context("no state")?),
        })
    } else {
        None
    };
    let with = leaves.is_some();
    world.say(format!("order {index} ({what}) is brought to {}, with leaves: {with}", who.name()));
    world.bring(who, index, leaves)
}
