//! One life of a service: a runtime of its own in which one task runs at a time, from one crash point, one wait or one question
//! to the network to the next. In between nothing of the service happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use axum::body::Bytes;
use hyper::{Method, StatusCode};
use sqlx::AnyPool;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use warifu_api::ClientError;
use warifu_api::client::{Carried, Carrier};
use warifu_crash_point::CrashPoint;
use warifu_crash_point::simulation::{Director, Pause, Waiting, direct};

use crate::draw::Draw;
use crate::work::Done;

/// How long one task may take from one stop to the next, in real time: it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A task of one life.
pub(crate) type TaskId = u64;

/// Where a task has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Point(CrashPoint),
    /// It has come to what it waited for.
    Turn,
}

pub(crate) struct Stop {
    pub(crate) task: TaskId,
    pub(crate) at: At,
    go: oneshot::Sender<()>,
}

/// What a task asks of the kms.
pub(crate) struct Asked {
    pub(crate) task: TaskId,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    answer: oneshot::Sender<(StatusCode, Bytes)>,
}

/// What is under way.
#[derive(Default)]
struct Inner {
    /// How many tasks run; at most one.
    running: usize,
    current: TaskId,
    drawn: TaskId,
    chance: Option<(Draw, usize)>,
    stops: Vec<Stop>,
    asked: Vec<Asked>,
    done: Vec<(TaskId, Done)>,
    /// Tasks are being dropped: nobody goes on.
    dropping: bool,
}

impl Inner {
    /// In an order that does not depend on whom the runtime wakes first.
    fn stop(&mut self, stop: Stop) {
        let at = self.stops.partition_point(|other| other.task <= stop.task);
        self.stops.insert(at, stop);
    }
}

#[derive(Default)]
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Desk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that ran does not.
    fn rests(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner();
        change(&mut inner);
        inner.running = inner.running.saturating_sub(1);
        drop(inner);
        self.changed.notify_one();
    }

    /// Returns once nobody runs.
    async fn quiet(&self) {
        loop {
            if self.inner().running == 0 {
                // Whoever was woken by the one that ran comes to its next stop.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                if self.inner().running == 0 {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }
}

async fn released(gone: oneshot::Receiver<()>) {
    if gone.await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Directing(Arc<Desk>);

impl Director for Directing {
    fn reached(&self, point: CrashPoint) -> Option<Pause> {
        let mut inner = self.0.inner();
        let (draw, percent) = inner.chance.as_mut()?;
        // The way of an answer to its connection may be long.
        let more = if point == CrashPoint::SitePartialComputed { 2 } else { 1 };
        if !draw.percent(*percent * more) {
            return None;
        }
        drop(inner);
        let (go, gone) = oneshot::channel();
        self.0.rests(|inner| {
            let task = inner.current;
            inner.stop(Stop { task, at: At::Point(point), go });
        });
        Some(Box::pin(released(gone)))
    }

    fn waits(&self) -> Box<dyn Waiting> {
        let mut task = 0;
        self.0.rests(|inner| task = inner.current);
        Box::new(Wait { desk: self.0.clone(), task, over: false })
    }
}

struct Wait {
    desk: Arc<Desk>,
    task: TaskId,
    over: bool,
}

impl Waiting for Wait {
    fn over(mut self: Box<Self>) -> Pause {
        self.over = true;
        let (go, gone) = oneshot::channel();
        self.desk.inner().stop(Stop { task: self.task, at: At::Turn, go });
        self.desk.changed.notify_one();
        Box::pin(released(gone))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut inner = self.desk.inner();
        if !self.over && !inner.dropping {
            // It has given up waiting, and goes on.
            inner.running += 1;
            inner.current = self.task;
        }
    }
}

/// The line from a service to the kms.
struct Line(Arc<Desk>);

impl Carrier for Line {
    fn carry(&self, method: Method, path: &str, body: Bytes) -> Carried<'_> {
        let path = path.to_owned();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.0.rests(|inner| {
                inner.asked.push(Asked { task: inner.current, method, path, body, answer });
            });
            answered.await.map_err(|_| ClientError::TimedOut { address: "kms".to_owned() })
        })
    }
}

pub(crate) struct Life {
    // Dropped first: tasks hold connections of the pool.
    runtime: Option<Runtime>,
    desk: Arc<Desk>,
    pub(crate) pool: AnyPool,
    tasks: BTreeMap<TaskId, JoinHandle<()>>,
}

impl Life {
    /// A life over the database that `open` opens; tasks stop at a point in so many of a hundred cases.
    pub(crate) fn begin(
        open: impl Future<Output = Result<AnyPool>>,
        draw: Draw,
        percent: usize,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let pool = runtime.block_on(open)?;
        let desk = Arc::new(Desk::default());
        desk.inner().chance = Some((draw, percent));
        Ok(Self { runtime: Some(runtime), desk, pool, tasks: BTreeMap::new() })
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("this life is over")
    }

    /// The line to the kms of this life's tasks.
    pub(crate) fn line(&self) -> Arc<dyn Carrier> {
        Arc::new(Line(self.desk.clone()))
    }

    /// Begins a task, and runs it to its first stop.
    pub(crate) fn start(&mut self, work: impl Future<Output = Done> + Send + 'static) -> Result<TaskId> {
        let (id, desk) = {
            let mut inner = self.desk.inner();
            inner.drawn += 1;
            inner.running += 1;
            inner.current = inner.drawn;
            (inner.drawn, self.desk.clone())
        };
        let task = self.runtime()?.spawn(async move {
            let done = work.await;
            desk.rests(|inner| inner.done.push((id, done)));
        });
        self.tasks.insert(id, task);
        self.run()?;
        Ok(id)
    }

    fn run(&self) -> Result<()> {
        let before = direct(Some(Arc::new(Directing(self.desk.clone()))));
        let quiet =
            self.runtime()?.block_on(async { tokio::time::timeout(PATIENCE, self.desk.quiet()).await });
        direct(before);
        quiet.map_err(|_| anyhow!("a task hangs"))
    }

    /// Where tasks have stopped.
    pub(crate) fn stops(&self) -> Vec<(TaskId, At)> {
        self.desk.inner().stops.iter().map(|stop| (stop.task, stop.at)).collect()
    }

    /// Lets one of those go on.
    pub(crate) fn go_on(&mut self, index: usize) -> Result<()> {
        let mut inner = self.desk.inner();
        ensure!(index < inner.stops.len(), "no such stop");
        let stop = inner.stops.remove(index);
        inner.current = stop.task;
        inner.running += 1;
        drop(inner);
        ensure!(stop.go.send(()).is_ok(), "nobody is there to go on");
        self.run()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.desk.inner().asked)
    }

    /// Gives a task the answer to what it has asked; none if nobody answers in time.
    pub(crate) fn answer(&mut self, asked: Asked, answer: Option<(StatusCode, Bytes)>) -> Result<()> {
        let mut inner = self.desk.inner();
        inner.current = asked.task;
        inner.running += 1;
        drop(inner);
        match answer {
            Some(answer) => ensure!(asked.answer.send(answer).is_ok(), "nobody waits for the answer"),
            None => drop(asked.answer),
        }
        self.run()
    }

    pub(crate) fn done(&mut self) -> Vec<(TaskId, Done)> {
        let done = std::mem::take(&mut self.desk.inner().done);
        for (task, _) in &done {
            self.tasks.remove(task);
        }
        done
    }

    /// Whoever asked has gone: the task is dropped where it stands. Only for tasks that have begun no other.
    pub(crate) fn drop_task(&mut self, task: TaskId) -> Result<()> {
        if let Some(handle) = self.tasks.remove(&task) {
            self.desk.inner().dropping = true;
            handle.abort();
            self.runtime()?.block_on(async { drop(handle.await) });
            let mut inner = self.desk.inner();
            inner.dropping = false;
            inner.stops.retain(|stop| !stop.go.is_closed());
            drop(inner);
            // Somebody may have waited for it.
            self.run()?;
        }
        Ok(())
    }

    /// Looks into it from outside, while nothing of it runs.
    pub(crate) fn look<T>(&self, question: impl Future<Output = T>) -> Result<T> {
        Ok(self.runtime()?.block_on(question))
    }

    /// The process is over where it stands: what is durable stays.
    pub(crate) fn end(mut self) -> Result<()> {
        self.desk.inner().dropping = true;
        let Some(runtime) = self.runtime.take() else { return Ok(()) };
        for task in self.tasks.values() {
            task.abort();
        }
        let (tasks, pool) = (std::mem::take(&mut self.tasks), self.pool.clone());
        runtime.block_on(async move {
            for task in tasks.into_values() {
                drop(task.await);
            }
            // Nothing of the old life holds the file any more when the next one opens it.
            pool.close().await;
        });
        drop(runtime);
        Ok(())
    }
}
