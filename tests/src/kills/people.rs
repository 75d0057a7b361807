//! The days of people: enrolled, opening files, suspended, resumed, leaving; each step with a kill in it if one is left.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use warifu_ledger::Id;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::Act;

use super::evidence::Evidence;
use super::{Command, Fall, Kills, Operation, SETTLES, said};
use crate::process::is_shown;
use crate::town::{DESK_READERS, MEMBER_READERS, SITES, until};

const FIRST_SERIAL: u32 = 3000;
/// How long a viewer may take to end after its card or its agent.
const CLOSES: Duration = Duration::from_secs(5);

/// Somebody who is enrolled for one story.
struct Person {
    label: String,
    serial: u32,
    unit: String,
    contract: Option<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Kills<'_> {
    /// One person after the other, until no kill is left.
    pub(super) fn play(&mut self) -> Result<()> {
        use Operation::{
            AddUnit, EndContract, Enroll, Export, Propose, Resume, Revoke, Suspend, View, Withdraw,
        };
        let mut number = 0;
        while self.plan.left() > 0 {
            number += 1;
            let label = format!("p{number}");
            // Contractors come while there is something to be seen with contracts.
            let contractor =
                self.plan.has(&[AddUnit, EndContract]) && !(self.plan.has(&[Revoke]) && number % 2 == 0);
            let person = Person {
                serial: FIRST_SERIAL + number,
                unit: if contractor { format!("u{number}") } else { "tax".to_owned() },
                contract: contractor.then(|| format!("c{number}")),
                label,
            };
            if let Some(contract) = &person.contract {
                let open = ["contract", "open", contract, "--name", contract, "--ends", "2099-03-31"];
                self.town.admin(&open)?;
                self.add_unit(&person.unit, contract)?;
            }
            if self.plan.has(&[Propose, Withdraw]) {
                self.propose_and_withdraw(&format!("q{number}"))?;
            }
            if !self.plan.has(&[Enroll, Export, View, Suspend, Resume, Revoke, EndContract]) {
                continue;
            }
            self.enroll(&person)?;
            for operation in [Export, View] {
                self.open_with_a_kill(&person, operation)?;
            }
            if self.plan.has(&[Suspend, Resume]) {
                self.suspend_and_resume(&person)?;
            }
            let last = if contractor { EndContract } else { Revoke };
            if self.plan.has(&[last]) {
                self.end(&person, last)?;
            }
            self.town.remove(&person.label);
        }
        let missed = self.report.missed.join("\n");
        ensure!(missed.is_empty(), "no process passed\n{missed}");
        Ok(())
    }

    /// Does a step with a kill if one is left for it, else without; then nothing is half done.
    fn step(
        &mut self,
        operation: Operation,
        command: &Command,
        between: impl FnOnce(&mut Self, bool, &Evidence) -> Result<()>,
        done: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let began = Instant::now();
        let Some(case) = self.plan.next(operation) else {
            self.again(command)?;
            return done(self);
        };
        self.struck += 1;
        let outcome = self.strike(case, command).and_then(|(output, before)| {
            between(self, output.status.success(), &before)?;
            self.again(command)?;
            done(self)?;
            self.all_is_settled()?.follows(&before)
        });
        outcome.with_context(|| format!("after kill {}: {case:?}", self.struck))?;
        let line = format!(
            "{:4}  {operation:?}  {}  {}  {:.1} s",
            self.struck,
            case.victim,
            match case.fall {
                Fall::Point(point) => point.name().to_owned(),
                Fall::After(moment) => format!("after {moment} ms"),
            },
            began.elapsed().as_secs_f32()
        );
        (self.tell)(&line);
        Ok(())
    }

    fn add_unit(&mut self, unit: &str, contract: &str) -> Result<()> {
        let command =
            Command::Desk(words(&["--json", "unit", "add", unit, "--name", unit, "--contract", contract]));
        self.step(
            Operation::AddUnit,
            &command,
            |_, _, _| Ok(()),
            |all| {
                let evidence = all.evidence()?;
                let found = evidence.labelled(unit, evidence.state.units().map(|(id, unit)| (id, unit.name)));
                let [one] = found.as_slice() else {
                    anyhow::bail!("{} units are called {unit}", found.len())
                };
                ensure!(evidence.state.unit(one).is_some_and(|unit| unit.key.is_some()), "{unit} has no key");
                Ok(())
            },
        )?;
        self.seal(unit)
    }

    fn enroll(&mut self, person: &Person) -> Result<()> {
        let Person { label, serial, unit, contract } = person;
        self.town.new_card(label, *serial)?;
        self.at_the_desk(person)?;
        let number = serial.to_string();
        let mut args = words(&[
            "--json",
            "member",
            "enroll",
            label,
            "--name",
            label,
            "--unit",
            unit,
            "--new-card",
            &number,
        ]);
        if let Some(contract) = contract {
            args.extend(words(&["--contract", contract]));
        }
        self.step(
            Operation::Enroll,
            &Command::Desk(args),
            |all, succeeded, _| {
                if succeeded {
                    return Ok(());
                }
                // A half-made grant opens nothing; what opens is whole.
                all.at_the_pc(person, "office")?;
                let output = all.open("office", unit)?;
                all.words(&output)?;
                if output.status.success() {
                    let evidence = all.evidence()?;
                    let grants = grants_of(&evidence, label)?;
                    ensure!(grants.iter().all(|grant| evidence.is_whole(grant)), "a half-made grant opens");
                }
                all.at_the_desk(person)
            },
            |all| {
                all.at_the_pc(person, "office")?;
                all.opens("office", unit)?;
                let grants = grants_of(&all.evidence()?, label)?;
                ensure!(grants.len() == 1, "{label} has {} grants", grants.len());
                Ok(())
            },
        )
    }

    /// Opens a file on the PC that asks the site first that is to die.
    fn open_with_a_kill(&mut self, person: &Person, operation: Operation) -> Result<()> {
        let Some(victim) = self.plan.victim(operation) else { return Ok(()) };
        let pc = if victim == "omachi" { "branch" } else { "office" };
        self.at_the_pc(person, pc)?;
        let sealed = self.sealed(&person.unit).display().to_string();
        let out = self.out().display().to_string();
        let _ = fs::remove_file(self.out());
        let exports = operation == Operation::Export;
        let command = Command::Pc(
            pc,
            if exports {
                words(&["--lang", "ja", "open", "--pin-stdin", "--overwrite", "-o", &out, &sealed])
            } else {
                words(&["--json", "open", "--pin-stdin", &sealed])
            },
        );
        self.step(
            operation,
            &command,
            |all, succeeded, before| {
                if succeeded {
                    ensure!(all.evidence()?.recorded() > before.recorded(), "a partial without a record");
                }
                if exports && succeeded {
                    ensure!(fs::read(all.out())? == all.content.as_bytes(), "another content");
                }
                Ok(())
            },
            |all| {
                if exports {
                    ensure!(fs::read(all.out())? == all.content.as_bytes(), "another content");
                    return Ok(());
                }
                let output = all.again(&command)?;
                let path = said(&output, "/files/0/path").context("nothing is shown")?;
                let shown: &Path = path.as_ref();
                ensure!(shown.exists() && is_shown(shown), "{path} is not shown");
                all.town.remove(&person.label);
                until("what was shown is gone", CLOSES, || Ok(!shown.exists() && !is_shown(shown)))?;
                // Of the viewer that the first try opened, too.
                if until("nothing is left", CLOSES, || Ok(all.nothing_is_left().is_ok())).is_err() {
                    all.nothing_is_left()?;
                }
                all.at_the_pc(person, pc)
            },
        )
    }

    /// A contract that waits for a second person, and is withdrawn.
    fn propose_and_withdraw(&mut self, label: &str) -> Result<()> {
        let open =
            ["--json", "--propose", "contract", "open", label, "--name", label, "--ends", "2099-03-31"];
        self.step(
            Operation::Propose,
            &Command::Desk(words(&open)),
            |_, _, _| Ok(()),
            |all| {
                let waiting = all.waiting()?;
                ensure!(waiting.len() == 1, "{} orders wait for a second person", waiting.len());
                Ok(())
            },
        )?;
        let waiting = self.waiting()?;
        let hash = waiting.first().context("nothing waits")?;
        self.step(
            Operation::Withdraw,
            &Command::Desk(words(&["--json", "proposal", "withdraw", hash])),
            |_, _, _| Ok(()),
            |all| {
                ensure!(all.waiting()?.is_empty(), "what was withdrawn waits still");
                let evidence = all.evidence()?;
                let contracts = evidence.state.contracts().map(|(id, contract)| (id, contract.name));
                ensure!(evidence.labelled(label, contracts).is_empty(), "{label} runs");
                Ok(())
            },
        )
    }

    /// The orders that wait for a second person.
    fn waiting(&self) -> Result<Vec<String>> {
        let said = self.town.admin(&["--json", "proposal", "list"])?;
        let list: serde_json::Value = serde_json::from_str(said.trim())?;
        let rows = list.as_array().context("a list")?;
        let hash = |row: &serde_json::Value| row.pointer("/proposal")?.as_str().map(str::to_owned);
        rows.iter().map(|row| hash(row).context("a hash")).collect()
    }

    fn suspend_and_resume(&mut self, person: &Person) -> Result<()> {
        let label = person.label.as_str();
        self.at_the_pc(person, "office")?;
        let suspend = Command::Desk(words(&["--json", "card", "suspend", label, "--watch"]));
        self.step(
            Operation::Suspend,
            &suspend,
            |all, succeeded, _| if succeeded { all.refuses("office", &person.unit) } else { Ok(()) },
            |all| {
                let card = card_of(&all.evidence()?, label)?;
                let evidence =
                    all.ordered(|act| matches!(act, Act::CardSuspended { card: c } if *c == card))?;
                let status = evidence.state.card(&card).map(|card| card.status);
                ensure!(status == Some(CardStatus::Suspended), "{label}'s card is {status:?}");
                all.refuses("office", &person.unit)
            },
        )?;
        let resume = Command::Desk(words(&["--json", "card", "resume", label, "--watch"]));
        self.step(
            Operation::Resume,
            &resume,
            |_, _, _| Ok(()),
            |all| {
                let card = card_of(&all.evidence()?, label)?;
                all.once(|act| matches!(act, Act::CardResumed { card: c } if *c == card))?;
                // At the PC where it was refused, and still is in.
                all.opens("office", &person.unit)
            },
        )
    }

    /// The member leaves, or the contract ends.
    fn end(&mut self, person: &Person, operation: Operation) -> Result<()> {
        self.at_the_pc(person, "office")?;
        let evidence = self.evidence()?;
        let member = evidence.member(&person.label)?;
        let contract = evidence.state.member(&member).and_then(|member| member.contract);
        let command = Command::Desk(match &person.contract {
            Some(contract) => {
                words(&["--json", "contract", "end", contract, "--reason", "契約終了", "--watch"])
            }
            None => words(&["--json", "member", "revoke", &person.label, "--reason", "退職", "--watch"]),
        });
        let is_it = move |act: &Act| match act {
            Act::MemberRevoked { member: m, .. } => *m == member,
            Act::ContractEnded { contract: c, .. } => Some(*c) == contract,
            _ => false,
        };
        self.step(
            operation,
            &command,
            |all, succeeded, _| {
                if succeeded {
                    return all.refuses("office", &person.unit);
                }
                // What every site has receipted opens nowhere.
                let evidence = all.evidence()?;
                let orders = evidence.orders_with(is_it);
                let receipted = orders.iter().any(|order| evidence.receipted(order) == SITES.len());
                if receipted { all.refuses("office", &person.unit) } else { Ok(()) }
            },
            |all| {
                let evidence = all.ordered(is_it)?;
                for order in evidence.orders_with(is_it) {
                    until("every site has signed its receipt, and the kms has it", SETTLES, || {
                        let evidence = all.evidence()?;
                        let receipts = (evidence.receipted(&order), evidence.delivered(&order));
                        Ok(receipts == (SITES.len(), SITES.len()))
                    })?;
                }
                for pc in ["office", "branch"] {
                    all.at_the_pc(person, pc)?;
                    all.refuses(pc, &person.unit)?;
                }
                Ok(())
            },
        )
    }

    /// One order of this kind is in the ledger, not more and not less.
    fn once(&self, like: impl Fn(&Act) -> bool) -> Result<Evidence> {
        let evidence = self.evidence()?;
        let orders = evidence.orders_with(like).len();
        ensure!(orders == 1, "{orders} orders for it are in the ledger");
        Ok(evidence)
    }

    /// An order of this kind is in the ledger. Where the kms fell and the command was given again, the first may be there
    /// as well, because a site has brought it (P-8.4).
    fn ordered(&self, like: impl Fn(&Act) -> bool) -> Result<Evidence> {
        let evidence = self.evidence()?;
        ensure!(!evidence.orders_with(like).is_empty(), "no order for it is in the ledger");
        Ok(evidence)
    }

    fn at_the_desk(&mut self, person: &Person) -> Result<()> {
        self.town.remove(&person.label);
        self.town.insert(&person.label, DESK_READERS - 1)?;
        self.town.wait_for_card(person.serial)
    }

    fn at_the_pc(&mut self, person: &Person, pc: &'static str) -> Result<()> {
        self.town.remove(&person.label);
        let [office, branch] = MEMBER_READERS;
        self.town.insert(&person.label, if pc == "office" { office } else { branch })?;
        self.town.wait_for_member_card(pc)
    }
}

fn card_of(evidence: &Evidence, label: &str) -> Result<Id> {
    let cards: Vec<Id> = evidence.state.cards_of_member(evidence.member(label)?).map(|(id, _)| id).collect();
    let [card] = cards.as_slice() else { anyhow::bail!("{label} has {} cards", cards.len()) };
    Ok(*card)
}

fn grants_of(evidence: &Evidence, label: &str) -> Result<Vec<Id>> {
    Ok(evidence.state.grants_of_card(card_of(evidence, label)?).map(|(id, _)| id).collect())
}
