//! `pinhole guest`.

use std::collections::VecDeque;
use std::sync::Mutex;

use anyhow::Context;
use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::exit::SUCCESS;
use super::output;
use crate::vm::images::catalog::ALL;
use crate::vm::images::{self, Catalog, Recipe, State, clients, headers, lint};
use crate::vm::progress::Progress;
use crate::vm::provision::cache::Cache;
use crate::vm::qemu;

/// Number of guests that are built at a time: unpacking uses the disk and one
/// core.
const PARALLEL: usize = 2;

/// List, build and remove the guests.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the guests and what of them is built.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build guests, their drivers and a QEMU, as far as they are missing.
    Build {
        /// The guests, `clients` for the image of applications, `all` for these
        /// and every guest with a kernel of the distribution's, `checked` for
        /// those whose kernels check themselves and are built here; the default
        /// guest if none is named.
        ids: Vec<String>,
    },
    /// Print the configuration that a guest's kernel is built with, to be added
    /// to one of your own by the kernel's scripts/kconfig/merge_config.sh.
    Config {
        /// The guest.
        #[arg(default_value = "trixie-checked")]
        id: String,
    },
    /// Remove what was built.
    #[command(override_usage = "pinhole guest remove <IDS>...\n       \
                                pinhole guest remove --all\n       \
                                pinhole guest remove --old")]
    Remove {
        /// The guests, or `clients`.
        #[arg(required_unless_present_any = ["all", "old"])]
        ids: Vec<String>,
        /// All guests, the clients, the QEMU, and what the driver is built for and
        /// read with beside them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Only what other versions of Pinhole, or of its driver, built.
        #[arg(long, conflicts_with_all = ["ids", "all"])]
        old: bool,
    },
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let catalog = Catalog::builtin();
    let cache = Cache::open()?;
    match args.command {
        Command::List { json } => list(&catalog, &cache, json)?,
        Command::Build { ids } => build(&catalog, &ids)?,
        Command::Config { id } => match catalog.get(&id)?.config {
            Some(config) => output::text(config.fragment)?,
            None => {
                anyhow::bail!("the kernel of {id} is the distribution's, as it was built there")
            }
        },
        Command::Remove { ids, all, old } => {
            anyhow::ensure!(
                !ids.iter().any(|id| id == "all"),
                "there is no guest named all: say --all"
            );
            let what = match all || old {
                true => Selection::all(&catalog),
                false => Selection::named(&catalog, &ids)?,
            };
            remove(&cache, &what, all || old, old)?;
        }
    }
    Ok(SUCCESS)
}

fn list(catalog: &Catalog, cache: &Cache, as_json: bool) -> anyhow::Result<()> {
    let states = catalog
        .recipes()
        .map(|recipe| images::state(cache, &recipe))
        .collect::<Result<Vec<_>, _>>()?;
    if as_json {
        let object = json!({
            "cache": cache.root(),
            "default": catalog.default_id(),
            "guests": states,
            "clients": {
                "ffmpeg": clients::version(cache, "ffmpeg")?,
                "bytes": clients::bytes(cache),
            },
            "qemu": qemu::unpacked(cache),
        });
        output::line(serde_json::to_string_pretty(&object)?)?;
    } else {
        output::line(table(catalog, &states, cache)?)?;
    }
    Ok(())
}

fn table(catalog: &Catalog, states: &[State], cache: &Cache) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["guest", "kernel", "MiB", ""]);
    let or_why_not = |built: Option<String>, bytes| match (built, bytes) {
        (Some(built), _) => built,
        (None, 0) => "not built".to_owned(),
        (None, _) => "to be built anew".to_owned(),
    };
    for state in states {
        table.add_row([
            state.id.as_str(),
            &or_why_not(state.release.clone(), state.bytes),
            &(state.bytes >> 20).to_string(),
            if state.id == catalog.default_id() {
                "default"
            } else {
                ""
            },
        ]);
    }
    let bytes = clients::bytes(cache);
    let ffmpeg = clients::version(cache, "ffmpeg")?.map(|version| format!("FFmpeg {version}"));
    table.add_row([
        clients::ID,
        &or_why_not(ffmpeg, bytes),
        &(bytes >> 20).to_string(),
        "applications, for every guest",
    ]);
    if let Some(sizes) = table.column_mut(2) {
        sizes.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

/// The guests and images that a command line names.
struct Selection {
    guests: Vec<Recipe>,
    clients: bool,
}

impl Selection {
    fn all(catalog: &Catalog) -> Self {
        Self {
            guests: catalog.recipes().collect(),
            clients: true,
        }
    }

    /// Returns the named guests and images, or the default guest if none is
    /// named.
    fn named(catalog: &Catalog, ids: &[String]) -> anyhow::Result<Self> {
        let mut names: Vec<_> = ids.iter().map(String::as_str).collect();
        if names.is_empty() {
            names.push(catalog.default_id());
        }
        let mut what = Self {
            guests: Vec::new(),
            clients: false,
        };
        for name in names {
            what.clients |= [clients::ID, ALL].contains(&name);
            let guests = match catalog.set(name) {
                Some(guests) => guests,
                None if name == clients::ID => continue,
                None => vec![catalog.get(name)?],
            };
            for guest in guests {
                if !what.guests.contains(&guest) {
                    what.guests.push(guest);
                }
            }
        }
        Ok(what)
    }
}

fn build(catalog: &Catalog, ids: &[String]) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let what = Selection::named(catalog, ids)?;
    let qemu = qemu::ensure(None, &progress)?;
    if what.clients {
        let clients = clients::ensure(&progress).context("cannot build the clients")?;
        output::line(format_args!("clients: {}", clients.image.display()))?;
    }
    let queue = Mutex::new(VecDeque::from(what.guests));
    let next = || queue.lock().ok()?.pop_front();
    let built = Mutex::new(Vec::new());
    let work = || -> anyhow::Result<()> {
        while let Some(recipe) = next() {
            let one = images::ensure_guest(&recipe, &progress)
                .and_then(|guest| Ok((images::ensure_driver(&guest, &progress)?, guest)));
            if one.is_err() {
                // Another worker finishes the guest that it has begun, but
                // begins no other.
                queue.lock().map(|mut queue| queue.clear()).ok();
            }
            let one = one.with_context(|| format!("cannot build {}", recipe.id))?;
            if let Ok(mut built) = built.lock() {
                built.push(one);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<anyhow::Result<()>>()
    })?;
    output::line(format_args!(
        "QEMU {} ({}, virtio id {})",
        qemu.version, qemu.device, qemu.virtio_id
    ))?;
    let mut built = built.into_inner().unwrap_or_default();
    built.sort_by(|one, other| one.1.id.cmp(&other.1.id));
    for (driver, guest) in built {
        output::line(format_args!("{}: Linux {}", guest.id, guest.release))?;
        output::line(format_args!("  kernel     {}", guest.kernel.display()))?;
        output::line(format_args!("  initramfs  {}", guest.initramfs.display()))?;
        output::line(format_args!("  driver     {}", driver.display()))?;
    }
    Ok(())
}

fn remove(cache: &Cache, what: &Selection, qemu: bool, old: bool) -> anyhow::Result<()> {
    let progress = Progress::stderr();
    let mut freed = 0;
    for recipe in &what.guests {
        freed += images::remove(cache, recipe, old, &progress)?;
    }
    if what.clients {
        freed += clients::remove(cache, old, &progress)?;
    }
    if qemu {
        freed += qemu::remove(cache, old, &progress)?;
        for recipe in Catalog::builtin().headers() {
            freed += headers::remove(cache, &recipe, old, &progress)?;
        }
        freed += lint::remove(cache, old, &progress)?;
    }
    output::line(format_args!(
        "{} MiB removed from {}",
        freed >> 20,
        cache.root().display()
    ))
}
