//! `pinhole man`.

mod notes;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exit::SUCCESS;

/// Write the manual pages, one for each subcommand, into a folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the subcommand; `program` is the whole command `pinhole`.
pub fn run(args: Args, program: Command) -> anyhow::Result<u8> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let write = || {
        fs::create_dir_all(&args.dir)?;
        pages(program, &args.dir)
    };
    write().with_context(|| format!("cannot write manual pages to {}", args.dir.display()))?;
    Ok(SUCCESS)
}

/// Writes the page of a command, and those of its subcommands.
fn pages(command: Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands() {
        pages(below.clone(), dir)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    render(command, &mut page)?;
    fs::write(path, page)
}

fn render(mut command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let notes = notes::of(name, &command);
    let usage = command.render_usage().to_string();
    let has_subcommands = command.has_subcommands();
    // The default would give the nested command's name and version as those of
    // a program.
    let source = format!("pinhole {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).source(source).manual("Pinhole");
    man.render_title(page)?;
    man.render_name_section(page)?;
    synopsis(&usage).to_writer(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if has_subcommands {
        man.render_subcommands_section(page)?;
    }
    for section in &notes {
        entries(section).to_writer(page)?;
    }
    Ok(())
}

/// Returns the usage that `--help` prints. clap_mangen's own synopsis lists every
/// option without its value.
fn synopsis(usage: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (number, line) in usage.lines().enumerate() {
        if number > 0 {
            roff.control("br", []);
        }
        roff.text([roman(line.trim_start_matches("Usage:").trim())]);
    }
    roff
}

fn entries(section: &notes::Section) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [section.title]);
    for (term, said) in &section.entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*said)]);
    }
    roff
}
