//! `warifu route`: files go to other units, and their bytes stay what they are.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use warifu_api::wire::agent::{
    AgentFault, FileToRoute, Plan, PlanRequest, PlannedFile, ROUTES_LIMIT, RouteOutcome, RouteRequest,
};
use warifu_ledger::Id;
use warifu_texts::{day, one_line};
use warifu_token_agent::addressing::find;
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_token_agent::texts::AgentTexts as _;

use crate::args::PinArgs;
use crate::entering::{Entered, enter, unlock};
use crate::fault::{Fault, exit_code};
use crate::open::{Told, absolute};
use crate::screen::Screen;

/// How often progress is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// One call of `warifu route`.
pub(crate) struct Routing<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) told: Told,
    pub(crate) targets: &'a [String],
    pub(crate) until: Option<&'a str>,
    pub(crate) agreed: bool,
    pub(crate) pin: &'a PinArgs,
}

/// A file that goes on, and where it stands among those that were given.
struct Ready {
    place: usize,
    file: FileToRoute,
}

/// What became of a file.
enum Became {
    /// It cannot go, which was said before the person agreed to the others.
    Refused(AgentFault),
    /// It did not.
    Failed(AgentFault),
    /// One outcome a target.
    Tried(Vec<RouteOutcome>),
}

impl Routing<'_> {
    pub(crate) async fn run(&self, screen: &Screen, agent: &AgentClient) -> Result<u8, Fault> {
        let targets = self.targets(agent).await?;
        let paths = self.files.iter().map(|file| absolute(file)).collect::<Result<Vec<_>, _>>()?;
        let mut entered = None;
        let plan = self.plan(screen, agent, &paths, &targets, &mut entered).await?;
        let (ready, mut results) = sorted(&paths, &plan);
        let mut worst = self.refuse(screen, &results);
        self.show(screen, &plan, &ready);
        if !ready.is_empty() {
            if !self.agreed && !screen.agrees("route-agree", self.pin)? {
                return Err(Fault::NotAgreed);
            }
            let entered = match entered {
                Some(entered) => entered,
                None => enter(screen, agent, self.pin, plan.serial).await?,
            };
            self.send(screen, agent, &plan, &targets, ready, &entered, &mut results).await?;
        }
        worst = worst.max(self.report(screen, &plan, &results));
        if worst > 0 {
            screen.complain_helpdesk(agent.status().await?.helpdesk.as_deref());
        }
        Ok(worst)
    }

    /// The units that are meant, each once.
    async fn targets(&self, agent: &AgentClient) -> Result<Vec<Id>, Fault> {
        let units = agent.directory().await?.units;
        let mut targets = Vec::new();
        for wanted in self.targets {
            let unit = find(&units, wanted).map_err(|_| Fault::TargetUnknown { unit: wanted.clone() })?;
            if unit.recipient.is_none() {
                return Err(Fault::UnitWithoutKey { unit: unit.label.clone() });
            }
            if !targets.contains(&unit.unit) {
                targets.push(unit.unit);
            }
        }
        Ok(targets)
    }

    /// What would be sent; the card's PIN is asked for where it has to be entered before.
    async fn plan(
        &self,
        screen: &Screen,
        agent: &AgentClient,
        paths: &[String],
        targets: &[Id],
        entered: &mut Option<Entered>,
    ) -> Result<Plan, Fault> {
        let mut whole: Option<Plan> = None;
        for some in paths.chunks(ROUTES_LIMIT) {
            let serial = whole.as_ref().map(|plan| plan.serial).or(self.pin.serial);
            let last_day = match &whole {
                Some(plan) => Some(plan.last_day.clone()),
                None => self.until.map(str::to_owned),
            };
            let request = PlanRequest { serial, files: some.to_vec(), targets: targets.to_vec(), last_day };
            let plan = match agent.plan_routes(&request).await {
                Err(AgentError::Fault(AgentFault::PinNeeded { .. })) if entered.is_none() => {
                    *entered = Some(unlock(screen, agent, self.pin).await?);
                    agent.plan_routes(&request).await?
                }
                plan => plan?,
            };
            match &mut whole {
                Some(whole) => whole.files.extend(plan.files),
                None => whole = Some(plan),
            }
        }
        whole.ok_or_else(|| AgentFault::Malformed { why: "no files".to_owned() }.into())
    }

    /// The files that cannot go, before the person agrees to the others; the exit code for the worst.
    fn refuse(&self, screen: &Screen, results: &[Became]) -> u8 {
        let mut worst = 0;
        for (place, result) in results.iter().enumerate() {
            if let Became::Refused(fault) = result {
                worst = worst.max(failed(screen, &one_line(&self.name(place)), None, fault));
            }
        }
        worst
    }

    /// The batch as a whole, before the person agrees.
    fn show(&self, screen: &Screen, plan: &Plan, ready: &[Ready]) {
        if ready.is_empty() {
            return;
        }
        let targets: Vec<_> = plan.targets.iter().map(|target| target.name.as_str()).collect();
        let last_day = day::said(&plan.last_day, screen.texts.language());
        screen.say(
            "route-plan",
            &[
                ("count", ready.len().into()),
                ("units", targets.join(screen.texts.separator()).into()),
                ("last_day", last_day.into()),
            ],
        );
        for ready in ready {
            let file = one_line(&self.name(ready.place));
            match plan.files.get(ready.place) {
                Some(PlannedFile::Ready { unit: Some(unit), .. }) => {
                    screen.say("route-plan-file", &[("file", file.into()), ("unit", one_line(unit).into())]);
                }
                _ => screen.say("route-plan-perhaps", &[("file", file.into())]),
            }
        }
    }

    fn name(&self, place: usize) -> String {
        self.files.get(place).map(|file| self.told.of(file)).unwrap_or_default()
    }

    /// As few signatures as the number of slips allows, with one PIN entry.
    #[allow(clippy::too_many_arguments, reason = "one step of run, which has them all")]
    async fn send(
        &self,
        screen: &Screen,
        agent: &AgentClient,
        plan: &Plan,
        targets: &[Id],
        ready: Vec<Ready>,
        entered: &Entered,
        results: &mut [Became],
    ) -> Result<(), Fault> {
        let at_once = ROUTES_LIMIT.checked_div(targets.len()).unwrap_or_default().max(1);
        let bar = bar(screen, ready.len().saturating_mul(targets.len()));
        let (mut done, mut begun) = (0_usize, 0_usize);
        for some in ready.chunks(at_once) {
            let request = RouteRequest {
                serial: entered.serial,
                pin: entered.pin(),
                spend_last_try: entered.spend_last_try && done == 0,
                files: some.iter().map(|ready| ready.file.clone()).collect(),
                targets: targets.to_vec(),
                last_day: plan.last_day.clone(),
            };
            let answer = tokio::select! {
                answer = agent.route(&request) => answer,
                () = watch(agent, &bar, done) => return Err(Fault::NotAgreed),
            };
            let outcomes = match answer {
                Ok(answer) => answer.files.into_iter().map(Became::Tried).collect(),
                // Nothing was sent: the fault is the command's.
                Err(error @ AgentError::Fault(_)) if done == 0 => return Err(error.into()),
                Err(AgentError::Fault(fault)) => {
                    // Whatever it is, the next ones would meet it as well, and a PIN has few tries.
                    for ready in ready.iter().skip(begun) {
                        if let Some(slot) = results.get_mut(ready.place) {
                            *slot = Became::Failed(fault.clone());
                        }
                    }
                    return Ok(());
                }
                Err(_) => {
                    some.iter().map(|_| Became::Failed(AgentFault::RoutingUncertain)).collect::<Vec<_>>()
                }
            };
            for (ready, outcome) in some.iter().zip(outcomes) {
                if let Some(slot) = results.get_mut(ready.place) {
                    *slot = outcome;
                }
            }
            begun = begun.saturating_add(some.len());
            done = done.saturating_add(some.len().saturating_mul(targets.len()));
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// What became of each file, and the exit code for the worst.
    fn report(&self, screen: &Screen, plan: &Plan, results: &[Became]) -> u8 {
        let (mut worst, mut slips) = (0, None);
        let mut files: Vec<Value> = Vec::new();
        for (place, result) in results.iter().enumerate() {
            let file = self.name(place);
            let shown = one_line(&file);
            match result {
                Became::Refused(fault) => {
                    files.push(json!({ "file": file, "targets": [], "fault": fault }));
                }
                Became::Failed(fault) => {
                    worst = worst.max(failed(screen, &shown, None, fault));
                    files.push(json!({ "file": file, "targets": [], "fault": fault }));
                }
                Became::Tried(outcomes) => {
                    let mut targets = Vec::new();
                    for (target, outcome) in plan.targets.iter().zip(outcomes) {
                        if let RouteOutcome::Sent { slip, .. } | RouteOutcome::Uncertain { slip, .. } =
                            outcome
                            && slips.replace(slip.slips) != Some(slip.slips)
                        {
                            screen.say("routed-slips", &[("slips", slip.slips.to_string().into())]);
                        }
                        worst = worst.max(told(screen, &shown, &target.name, outcome));
                        targets.push(json!({ "unit": target.unit, "name": target.name, "what": outcome }));
                    }
                    files.push(json!({ "file": file, "targets": targets, "fault": null }));
                }
            }
        }
        screen.answer(&json!({ "last_day": plan.last_day, "files": files }));
        worst
    }
}

/// The files that go on, and of the others why not.
fn sorted(paths: &[String], plan: &Plan) -> (Vec<Ready>, Vec<Became>) {
    let (mut ready, mut results) = (Vec::new(), Vec::new());
    for (place, (path, planned)) in paths.iter().zip(&plan.files).enumerate() {
        results.push(match planned {
            PlannedFile::Ready { stanzas, .. } => {
                ready.push(Ready { place, file: FileToRoute { path: path.clone(), stanzas: *stanzas } });
                Became::Tried(Vec::new())
            }
            PlannedFile::Failed { fault } => Became::Refused(fault.clone()),
        });
    }
    (ready, results)
}

fn told(screen: &Screen, file: &str, unit: &str, outcome: &RouteOutcome) -> u8 {
    match outcome {
        RouteOutcome::Sent { last_day, slip } => {
            let last_day = day::said(last_day, screen.texts.language());
            let number = slip.index.saturating_add(1).to_string();
            screen.say(
                "routed",
                &[
                    ("file", file.into()),
                    ("unit", unit.into()),
                    ("last_day", last_day.into()),
                    ("number", number.into()),
                ],
            );
            0
        }
        RouteOutcome::Uncertain { slip, .. } => {
            let number = slip.index.saturating_add(1).to_string();
            let values = [("file", file.into()), ("unit", unit.into()), ("number", number.into())];
            let explained = screen.texts.explained("route-uncertain", &values);
            screen.complain("route-uncertain", &values);
            screen.complain_remedy(&explained);
            exit_code(&AgentFault::RoutingUncertain)
        }
        RouteOutcome::Failed { fault } => failed(screen, file, Some(unit), fault),
    }
}

fn failed(screen: &Screen, file: &str, unit: Option<&str>, fault: &AgentFault) -> u8 {
    let explained = screen.texts.fault(fault);
    let what = explained.what.as_str();
    match unit {
        Some(unit) => {
            let values = [("file", file.into()), ("unit", unit.into()), ("what", what.into())];
            screen.complain("route-failed", &values);
        }
        None => screen.complain("open-failed", &[("file", file.into()), ("what", what.into())]),
    }
    screen.complain_remedy(&explained);
    exit_code(fault)
}

/// Shows how many slips are made, and never ends.
async fn watch(agent: &AgentClient, bar: &ProgressBar, before: usize) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        if let Ok(progress) = agent.routes_progress().await {
            bar.set_position(progress.done.saturating_add(u64::try_from(before).unwrap_or_default()));
        }
    }
}

/// A bar for people, that disappears when it is dropped.
fn bar(screen: &Screen, slips: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(slips).unwrap_or(u64::MAX));
    let bar = bar.with_message(screen.texts.get("routing"));
    if screen.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}
