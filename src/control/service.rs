//! Requests, executed.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::protocol::{Answer, Request, Setting};
use crate::card::controls::{ControlError, ControlInfo, Value};
use crate::card::inputs::InputError;
use crate::card::{Card, Now};
use crate::source::{self, SourceError};
use crate::vhost::{Remote, RemoteError};

/// The class of the controls that make errors happen.
const INJECTION: &str = "Error Injection";

/// What executes the requests of all clients.
#[derive(Clone)]
pub struct Service {
    card: Remote,
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
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot open {path}: {error}{hint}")]
    File {
        path: String,
        error: std::io::Error,
        hint: &'static str,
    },
    #[error("{0} is no file; a card that runs can only be switched to one, or to a pattern")]
    NoFile(String),
}

impl Service {
    /// Requests are executed on that card.
    pub fn new(card: Remote) -> Self {
        Self { card }
    }

    /// Executes the request in `line`.
    pub fn answer(&self, line: &[u8]) -> Answer {
        match serde_json::from_slice(line) {
            Ok(request) => self.execute(request).unwrap_or_else(error),
            Err(cause) => error(format_args!("the request cannot be understood: {cause}")),
        }
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
            Request::Source { spec } => {
                // Opened here, for the card is not to wait for a disk.
                if let Some(path) = source::file_of(&spec) {
                    check_file(&path)?;
                }
                let input = source::open_input(&spec)?;
                self.on_card(|card, now| {
                    card.replace_source(now, input);
                    Ok(Answer::Inputs(card.inputs()))
                })
            }
        }
    }

    /// Sets controls, each as a request of its own: a request may have
    /// thousands, and the guest is not to wait for all of them.
    fn set(&self, controls: Vec<Setting>) -> Result<Answer, Refusal> {
        let names: Vec<_> = controls.iter().map(|set| set.name.clone()).collect();
        let names = Arc::new(names);
        let wanted = Arc::clone(&names);
        // A name that there is not is the likeliest mistake: then nothing is set.
        self.on_card(move |card, _| named(card, &wanted))?;
        for Setting { name, value } in controls {
            let set = move |card: &mut Card, now| card.set_control(now, &name, &value);
            self.card.run(set)??;
        }
        self.on_card(move |card, _| named(card, &names))
    }

    fn on_card(
        &self,
        action: impl FnOnce(&mut Card, Now) -> Result<Answer, Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        self.card.run(action)?
    }
}

/// The controls of those names.
fn named(card: &Card, names: &[String]) -> Result<Answer, Refusal> {
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

fn inject(card: &mut Card, now: Now, name: &str, count: i64) -> Result<Answer, Refusal> {
    let all = card.controls();
    let injections = || all.iter().filter(|control| control.class == INJECTION);
    if !injections().any(|control| control.name == name) {
        let names: Vec<&str> = injections()
            .map(|control: &ControlInfo| &*control.name)
            .collect();
        return Err(Refusal::NoInjection(name.to_owned(), names.join(", ")));
    }
    card.set_control(now, name, &Value::Integer(count))?;
    named(card, &[name.to_owned()])
}

/// Whether a file can be read, and is one: a pipe would keep all clients
/// waiting for its other end.
fn check_file(path: &Path) -> Result<(), Refusal> {
    let name = || path.display().to_string();
    if path == Path::new("-") {
        return Err(Refusal::NoFile("standard input".to_owned()));
    }
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(path)?.metadata()
    };
    match open() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Refusal::NoFile(name())),
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "; was the card started with --allow-path for it?",
                _ => "",
            };
            Err(Refusal::File {
                path: name(),
                error,
                hint,
            })
        }
    }
}

fn error(cause: impl ToString) -> Answer {
    Answer::Error(cause.to_string())
}
