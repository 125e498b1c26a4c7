//! Execution of the clients' requests.

use std::sync::Arc;
use std::time::Duration;

use super::later::{Later, Reply};
use super::operated::Operated;
use super::protocol::{Answer, Request, Setting};
use crate::card::Now;
use crate::card::controls::{ControlError, ControlInfo, Value};
use crate::card::inputs::InputError;
use crate::source::{self, Access, SourceError};
use crate::vhost::{Remote, RemoteError};

/// Class of the controls that make errors happen.
const INJECTION: &str = "Error Injection";

/// How long opening a source may take, for example until a process writes into
/// a FIFO; less than a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The service that executes the requests of all clients.
pub struct Service<D> {
    card: Remote<D>,
}

impl<D> Clone for Service<D> {
    fn clone(&self) -> Self {
        Self {
            card: self.card.clone(),
        }
    }
}

/// Why a request was not executed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("\"{0}\" makes no error happen; try {1}")]
    NoInjection(String, String),
    #[error("the card makes no errors happen: it was started without --error-injection")]
    NotAskedFor,
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0}; was the card started with --allow-path for it?")]
    NotAllowed(SourceError),
    #[error("cannot answer: {0}")]
    Later(#[from] std::io::Error),
}

impl<D: Operated> Service<D> {
    /// Returns a service that executes requests on `card`.
    pub fn new(card: Remote<D>) -> Self {
        Self { card }
    }

    /// Executes the request in `line`. A request that must wait for anything
    /// besides the card is executed in its own thread.
    pub fn answer(&self, line: &[u8]) -> Reply {
        match serde_json::from_slice(line) {
            Ok(Request::Source { spec }) => {
                let service = self.clone();
                let plug = move || service.plug(&spec).unwrap_or_else(error);
                match Later::start(plug) {
                    Ok(later) => Reply::Later(later),
                    Err(cause) => Reply::Now(error(Refusal::from(cause))),
                }
            }
            Ok(request) => Reply::Now(self.execute(request).unwrap_or_else(error)),
            Err(cause) => Reply::Now(error(format_args!(
                "the request cannot be understood: {cause}"
            ))),
        }
    }

    /// Plugs another source into the selected input. The source is opened in
    /// this thread, so that neither the card waits for a disk nor other clients
    /// wait for a pipe's writer.
    fn plug(&self, spec: &str) -> Result<Answer, Refusal> {
        let access = Access {
            patience: Some(PATIENCE),
            ..Access::default()
        };
        let input = source::open_input(spec, &access);
        let input = input.map_err(|error| match error.is_not_allowed() {
            true => Refusal::NotAllowed(error),
            false => error.into(),
        })?;
        self.on_card(|card, now| {
            card.replace_source(now, input)?;
            Ok(Answer::Inputs(card.inputs()))
        })
    }

    fn execute(&self, request: Request) -> Result<Answer, Refusal> {
        match request {
            Request::Statistics {} => {
                let statistics = self.card.run(|card, now| card.statistics(now))?;
                Ok(Answer::Statistics(Box::new(statistics)))
            }
            Request::Get { names } if names.is_empty() => {
                let all = self.card.run(|card, _| card.controls())?;
                Ok(Answer::Controls(all))
            }
            Request::Get { names } => self.on_card(move |card, _| named(card, &names)),
            Request::Set { controls } => self.set(controls),
            Request::Inject { name, count } => {
                self.on_card(move |card, now| inject(card, now, &name, count.unwrap_or(1)))
            }
            Request::Inputs {} => self.on_card(|card, _| Ok(Answer::Inputs(card.inputs()))),
            Request::Select { input } => self.on_card(move |card, now| {
                card.set_input(now, input)?;
                Ok(Answer::Inputs(card.inputs()))
            }),
            Request::Source { spec } => self.plug(&spec),
        }
    }

    /// Sets controls, each as a request of its own: a client may send
    /// thousands, and the guest must not wait for all of them.
    fn set(&self, controls: Vec<Setting>) -> Result<Answer, Refusal> {
        let names: Vec<_> = controls.iter().map(|set| set.name.clone()).collect();
        let names = Arc::new(names);
        let wanted = Arc::clone(&names);
        // An unknown name is the likeliest mistake; in that case nothing is
        // set.
        self.on_card(move |card, _| named(card, &wanted))?;
        for Setting { name, value } in controls {
            let set = move |card: &mut D, now| card.set_control(now, &name, &value);
            self.card.run(set)??;
        }
        self.on_card(move |card, _| named(card, &names))
    }

    fn on_card(
        &self,
        action: impl FnOnce(&mut D, Now) -> Result<Answer, Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        self.card.run(action)?
    }
}

/// Returns the controls with those names.
fn named(card: &impl Operated, names: &[String]) -> Result<Answer, Refusal> {
    let all = card.controls();
    let find = |name: &String| {
        let found = all.iter().find(|control| control.name == *name);
        found
            .cloned()
            .ok_or_else(|| ControlError::Unknown(name.clone()).into())
    };
    let controls: Result<_, Refusal> = names.iter().map(find).collect();
    Ok(Answer::Controls(controls?))
}

fn inject(card: &mut impl Operated, now: Now, name: &str, count: i64) -> Result<Answer, Refusal> {
    let all = card.controls();
    let injections = || all.iter().filter(|control| control.class == INJECTION);
    if !injections().any(|control| control.name == name) {
        let names: Vec<&str> = injections()
            .map(|control: &ControlInfo| &*control.name)
            .collect();
        if names.is_empty() {
            return Err(Refusal::NotAskedFor);
        }
        return Err(Refusal::NoInjection(name.to_owned(), names.join(", ")));
    }
    card.set_control(now, name, &Value::Integer(count))?;
    named(card, &[name.to_owned()])
}

fn error(cause: impl ToString) -> Answer {
    Answer::Error(cause.to_string())
}
