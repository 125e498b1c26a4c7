//! `pinhole ctl`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use super::exit::SUCCESS;
use super::output;
use crate::card::controls::Value;
use crate::control::protocol::Setting;
use crate::control::{Answer, Client, Request, metrics};
use crate::report;
use crate::source;

/// Watch and control a running card.
///
/// The card must have been started with `--control PATH`. Names of controls
/// are those that `v4l2-ctl` prints in the guest.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The card's control socket.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,

    /// Print the card's answer as JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the controls, what they take and their values.
    List,
    /// Show the values of controls.
    Get {
        /// The controls.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Set controls, in this order. Those before one that cannot be set are
    /// set.
    Set {
        /// A control and a number, the name of a menu's item, or text.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = setting)]
        controls: Vec<Setting>,
    },
    /// Show the inputs, or select one, while no guest streams.
    Input {
        /// The input to select.
        #[arg(value_name = "N")]
        input: Option<u32>,
    },
    /// Plug another source into the selected input.
    Source {
        /// A pattern, a file or a FIFO, as `pinhole device --source` takes it.
        /// The file must be one that the card was allowed with --allow-path;
        /// who writes into a FIFO is waited for for 10 seconds.
        #[arg(value_name = "SPEC")]
        spec: String,
    },
    /// Make an error happen: a control of the class "Error Injection", which
    /// a card has that was started with --error-injection.
    Inject {
        /// The control, and how often or for how long; 1 without it.
        #[arg(value_name = "NAME[=N]", value_parser = injection)]
        what: Injection,
    },
    /// Show what the card has counted, and how it stands now.
    Stats,
    /// Print the statistics in the text format of Prometheus.
    Metrics,
}

#[derive(Debug, Clone)]
struct Injection {
    name: String,
    count: Option<i64>,
}

fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("say NAME=VALUE, such as gain=20")?;
    Ok(Setting {
        name: name.to_owned(),
        value: Value::Text(value.to_owned()),
    })
}

fn injection(text: &str) -> Result<Injection, String> {
    let (name, count) = match text.split_once('=') {
        Some((name, count)) => {
            let count = count.parse();
            (name, Some(count.map_err(|_| "say NAME or NAME=NUMBER")?))
        }
        None => (text, None),
    };
    Ok(Injection {
        name: name.to_owned(),
        count,
    })
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let request = match &args.command {
        Command::List => Request::Get { names: Vec::new() },
        Command::Get { names } => Request::Get {
            names: names.clone(),
        },
        Command::Set { controls } => Request::Set {
            controls: controls.clone(),
        },
        Command::Input { input: None } => Request::Inputs {},
        Command::Input { input: Some(input) } => Request::Select { input: *input },
        Command::Source { spec } => Request::Source {
            spec: as_the_card_sees_it(spec)?,
        },
        Command::Inject { what } => Request::Inject {
            name: what.name.clone(),
            count: what.count,
        },
        Command::Stats | Command::Metrics => Request::Statistics {},
    };
    let answer = Client::connect(&args.control)?.request(&request)?;
    if args.json {
        output::line(serde_json::to_string_pretty(&answer)?)?;
    } else {
        output::line(text(&args.command, &answer).trim_end())?;
    }
    Ok(SUCCESS)
}

/// Returns the source in the form that the card needs, because the card has
/// another working folder and other file descriptors.
fn as_the_card_sees_it(spec: &str) -> anyhow::Result<String> {
    if source::is_passed_on(spec) {
        anyhow::bail!(
            "{spec} is this command's own, and a card that runs cannot read it; let it read a \
             FIFO (mkfifo) instead"
        );
    }
    let folder = std::env::current_dir().context("cannot tell which folder this is")?;
    let absolute = source::absolute(spec, &folder);
    absolute.with_context(|| format!("the name of {} is no text", folder.display()))
}

/// Returns the answer as text for people, or for Prometheus.
fn text(command: &Command, answer: &Answer) -> String {
    match (command, answer) {
        (Command::Metrics, Answer::Statistics(statistics)) => metrics::prometheus(statistics),
        (_, Answer::Statistics(statistics)) => report::statistics::stats(statistics),
        (Command::List, Answer::Controls(controls)) => report::controls::controls(controls),
        (_, Answer::Controls(controls)) => report::controls::values(controls),
        (_, Answer::Inputs(inputs)) => report::controls::inputs(inputs),
        (_, Answer::Error(cause)) => cause.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_named_before_the_first_equals_sign() {
        let read = setting("text=a=b").unwrap();
        assert_eq!(read.name, "text");
        assert_eq!(read.value, Value::Text("a=b".into()));
        assert!(setting("gain").is_err());
    }

    #[test]
    fn an_injection_may_have_a_number() {
        let read = |text| injection(text).map(|read| (read.name, read.count));
        assert_eq!(read("stall=20"), Ok(("stall".into(), Some(20))));
        assert_eq!(read("kill_session"), Ok(("kill_session".into(), None)));
        assert!(read("stall=x").is_err());
    }
}
