//! The server: which tool does what.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelledNotificationParam, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};
use tokio_util::sync::CancellationToken;

use super::super::session::Session;
use super::cancelled::Waiting;
use super::claims::labels;
use super::lease::{Entry, State};
use super::leases::{Daemon, Leases};
use super::progress::Progress;
use super::question::Question;
use super::run::{Run, Standing};
use super::said;
use super::tools::{self, LONGEST_RUN, LONGEST_WAIT, LeaseArgs, NoArgs, RequestArgs, WaitArgs, arguments};
use super::workspace::Workspace;
use crate::wire::{Failure, Outcome, Reply, Request};

/// How often a client that waits is told that it still waits.
const TICK: Duration = Duration::from_secs(5);
/// What the daemon may use to say that a lease is over.
const OVER_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
pub struct Door {
    workspace: Workspace,
    leases: Leases,
    /// Calls that wait for a person.
    waiting: Waiting,
    /// The client has gone.
    gone: CancellationToken,
}

impl Door {
    pub fn new(session: &Session, workspace: Workspace, gone: CancellationToken) -> Self {
        Self {
            workspace,
            leases: Leases::new(Daemon::of(session)),
            waiting: Waiting::default(),
            gone,
        }
    }

    async fn list_tasks(&self) -> Result<CallToolResult, Failure> {
        said::tasks(&self.workspace.task_file()?)
    }

    async fn request_lease(&self, args: RequestArgs, context: &RequestContext<RoleServer>) -> Result<CallToolResult, Failure> {
        let file = self.workspace.task_file()?;
        let task = file.task(&args.task)?;
        let labels = labels(context.client_info().as_ref(), &context.meta, self.workspace.folder());
        let asked = self.leases.request(file, task, args.reason, labels);
        let (entry, before) = tokio::select! {
            asked = asked => asked?,
            () = self.gone.cancelled() => return Err(stopped()),
        };
        if context.ct.is_cancelled() && !before {
            // Nobody learns its name.
            entry.give_up();
        }
        Ok(said::lease(&entry, None, before))
    }

    async fn wait_lease(&self, args: WaitArgs, context: &RequestContext<RoleServer>) -> Result<CallToolResult, Failure> {
        let entry = self.leases.find(&args.lease)?;
        let mut progress = Progress::of(context, self.gone.clone());
        let mut states = entry.states();
        let mut question = Question::default();
        let waits = self.waiting.begin(context.id.clone(), &entry);
        let mut over = std::pin::pin!(tokio::time::sleep(wait(args.seconds, LONGEST_WAIT)));
        while states.borrow_and_update().is_open() {
            progress.say(&said::in_short(&entry)).await;
            self.gone.run_until_cancelled(question.put(context, &entry)).await;
            tokio::select! {
                _ = states.changed() => {}
                () = tokio::time::sleep(TICK) => {}
                () = question.withdrawn() => entry.give_up(),
                () = &mut over => break,
                () = context.ct.cancelled() => break,
                () = self.gone.cancelled() => return Err(stopped()),
            }
        }
        if context.ct.is_cancelled() {
            waits.end_by_the_client();
        }
        self.gone.run_until_cancelled(question.take_back()).await;
        Ok(said::lease(&entry, None, false))
    }

    async fn lease_status(&self, args: LeaseArgs) -> Result<CallToolResult, Failure> {
        let entry = self.leases.find(&args.lease)?;
        let State::Live { view, .. } = entry.state() else {
            return Ok(said::lease(&entry, None, false));
        };
        let now = match self.leases.daemon().ask(Request::LeaseShow { id: view.id }).await {
            Ok(Reply::Lease { lease, .. }) => Some(lease),
            // It has just ended, and its own connection says so.
            _ => None,
        };
        Ok(said::lease(&entry, now.as_ref(), false))
    }

    async fn end_lease(&self, args: LeaseArgs) -> Result<CallToolResult, Failure> {
        let entry = self.leases.find(&args.lease)?;
        match entry.state() {
            State::Live { view, .. } => {
                self.leases.daemon().ask(Request::LeaseEnd { id: view.id }).await?;
            }
            State::Asking { .. } | State::Pending { .. } => entry.give_up(),
            State::Refused(_) | State::Ended { .. } => {}
        }
        let mut states = entry.states();
        let over = states.wait_for(|state| !state.is_open() && !state.is_live());
        let _ = tokio::time::timeout(OVER_WITHIN, over).await;
        Ok(said::lease(&entry, None, false))
    }

    async fn run_task(&self, args: WaitArgs, context: &RequestContext<RoleServer>) -> Result<CallToolResult, Failure> {
        let entry = self.leases.find(&args.lease)?;
        let mut progress = Progress::of(context, self.gone.clone());
        let mut slot = tokio::select! {
            slot = entry.run.lock() => slot,
            () = context.ct.cancelled() => return Err(stopped()),
            () = self.gone.cancelled() => return Err(stopped()),
        };
        let run = match slot.take() {
            Some(run) => slot.insert(run),
            None => slot.insert(self.start(&entry, context).await?),
        };
        let mut over = std::pin::pin!(tokio::time::sleep(wait(args.seconds, LONGEST_RUN)));
        loop {
            progress.say(&run.news()).await;
            tokio::select! {
                more = run.turn() => if !more { break },
                () = tokio::time::sleep(TICK) => {}
                () = &mut over => break,
                () = context.ct.cancelled() => {
                    run.stop();
                    *slot = None;
                    return Err(stopped());
                }
                () = self.gone.cancelled() => return Err(stopped()),
            }
        }
        let standing = run.standing();
        if !matches!(&standing, Ok(Standing { ended: None, .. })) {
            // The next call starts it anew.
            *slot = None;
        }
        Ok(said::run(&entry, &standing?))
    }

    async fn start(&self, entry: &Arc<Entry>, context: &RequestContext<RoleServer>) -> Result<Run, Failure> {
        if !entry.state().is_live() {
            return Err(not_live(entry));
        }
        if entry.task.command.is_empty() {
            return Err(Failure::new(
                Outcome::BadInput,
                "no_command",
                format!("the task {:?} has no command", entry.task.name),
            )
            .hint("write one into touchlease.toml, as command = [\"./deploy.sh\"], and ask for a new lease"));
        }
        let now = self.workspace.task_file()?.task(&entry.task.name)?;
        if now.digest != entry.task.digest {
            return Err(Failure::new(
                Outcome::Refused,
                "task_changed",
                "touchlease.toml was changed since this lease was asked for",
            )
            .hint("end_lease, then request_lease: the person has to see what it says now"));
        }
        let daemon = self.leases.daemon();
        let Reply::Status(status) = daemon.ask(Request::Status).await? else {
            return Err(super::super::init::unexpected());
        };
        self.workspace.confines(std::path::Path::new(&status.path))?;
        let labels = labels(context.client_info().as_ref(), &context.meta, self.workspace.folder());
        Run::start(daemon, entry, labels, &self.workspace).await
    }
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("touchlease", env!("CARGO_PKG_VERSION")))
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn on_cancelled(&self, cancelled: CancelledNotificationParam, _: NotificationContext<RoleServer>) {
        self.waiting.cancelled(&cancelled);
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(&self, call: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let given = call.arguments;
        let done = match &*call.name {
            tools::LIST_TASKS => match arguments::<NoArgs>(given) {
                Ok(NoArgs {}) => self.list_tasks().await,
                Err(failure) => Err(failure),
            },
            tools::REQUEST_LEASE => match arguments(given) {
                Ok(args) => self.request_lease(args, &context).await,
                Err(failure) => Err(failure),
            },
            tools::WAIT_LEASE => match arguments(given) {
                Ok(args) => self.wait_lease(args, &context).await,
                Err(failure) => Err(failure),
            },
            tools::LEASE_STATUS => match arguments(given) {
                Ok(args) => self.lease_status(args).await,
                Err(failure) => Err(failure),
            },
            tools::END_LEASE => match arguments(given) {
                Ok(args) => self.end_lease(args).await,
                Err(failure) => Err(failure),
            },
            tools::RUN_TASK => match arguments(given) {
                Ok(args) => self.run_task(args, &context).await,
                Err(failure) => Err(failure),
            },
            _ => {
                return Err(ErrorData::invalid_params(
                    "there is no tool of this name: tools/list names those there are",
                    None,
                ));
            }
        };
        Ok(done.unwrap_or_else(|failure| said::failed(&failure)).into())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.leases.give_up();
    }
}

fn wait(asked: Option<u64>, most: u64) -> Duration {
    Duration::from_secs(asked.unwrap_or(most).clamp(1, most))
}

fn stopped() -> Failure {
    Failure::new(Outcome::Refused, "cancelled", "the call was cancelled").hint("call the tool again if it is wanted after all")
}

fn not_live(entry: &Entry) -> Failure {
    let (said, hint) = match entry.state() {
        State::Asking { .. } | State::Pending { .. } => ("nobody has approved this lease yet", "wait_lease waits for it"),
        _ => ("this lease is over", "request_lease asks for a new one"),
    };
    Failure::new(Outcome::Refused, "not_live", said).hint(hint)
}
