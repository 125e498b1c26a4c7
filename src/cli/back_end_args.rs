//! Which vhost-user back end is tested.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::card::controls::table::cid::KILL_SESSION;
use crate::conformance::device::subject::Subject;

/// The arguments that name a back end.
#[derive(Debug, clap::Args)]
pub struct BackEndArgs {
    /// Test the back end that listens on this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "command")]
    socket: Option<PathBuf>,

    /// Id of a control that makes the device give up the session that sets it,
    /// for the clauses on that; Pinhole's own card has one
    #[arg(long, value_name = "ID", value_parser = number)]
    error_control: Option<u32>,

    /// Be a front end that has no shared memory region
    #[arg(long)]
    no_region: bool,

    /// Test the back end that this command starts; {socket} in its arguments
    /// stands for the path of the socket that it is to listen on. It is started
    /// anew after each clause that it does not meet
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Parses a number, of base 16 after 0x.
fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "an id is a number, such as 0x00f2f007".into())
}

impl BackEndArgs {
    /// Returns the back end: the one that is named, or Pinhole's own card.
    pub fn subject(&self) -> anyhow::Result<Subject> {
        if let Some(path) = &self.socket {
            return Ok(Subject::at(path));
        }
        if !self.command.is_empty() {
            let words = self.command.iter().map(|word| word.to_string_lossy());
            let name = words.collect::<Vec<_>>().join(" ");
            return Ok(Subject::started(name, self.command.clone())?);
        }
        let program = env::current_exe().context("cannot find the program itself")?;
        let arguments = ["device", "--error-injection", "--rate", "max"];
        let arguments = arguments.into_iter().chain(["--socket-path", "{socket}"]);
        let mut argv = vec![program.into_os_string()];
        argv.extend(arguments.map(OsString::from));
        let name = "pinhole device --error-injection --rate max";
        Ok(Subject::started(name.into(), argv)?.quiet())
    }

    /// Returns whether a back end is named.
    pub fn is_named(&self) -> bool {
        self.socket.is_some() || !self.command.is_empty()
    }

    /// Returns the control that makes the device give up a session.
    pub fn error_control(&self) -> Option<u32> {
        self.error_control
            .or((!self.is_named()).then_some(KILL_SESSION))
    }

    /// Returns whether the front end has a shared memory region.
    pub fn has_region(&self) -> bool {
        !self.no_region
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn ids_are_numbers_of_either_base() {
        assert_eq!(number("0x00f2f007"), Ok(0xf2_f007));
        assert_eq!(number("15921159"), Ok(0xf2_f007));
        for wrong in ["", "0x", "f2f007", "0x1ffffffff", "-1"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
