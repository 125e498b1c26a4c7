//! `pinhole judge`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::cells_args::CellsArgs;
use super::exit;
use super::guest_args::GuestArgs;
use crate::agent::cell::Scope;
use crate::agent::usb_camera;
use crate::rig::matrix::cells::judged;
use crate::rig::matrix::run::{Judged, MatrixSpec};
use crate::rig::testbed::driver::{DriverModule, OtherDriver};
use crate::rig::testbed::{CardProcess, TestbedSpec};
use crate::vm::images::Catalog;

/// Judge any video device by the cells of the matrix, without a card or a witness
///
/// Has the device of any driver write frames into every kind of memory that a
/// process can have, or read them from it, or make one of another, while things
/// happen to the memory, and judges it by what the process alone can see. What cannot be seen so, or not by
/// this user, is told with the results.
///
/// It is the device of this machine that is judged, and nothing on the machine is
/// changed but the device's format and controls, which stay as they were chosen for
/// it: cells that would harm it or others on it are left out. With --kernel,
/// --bzimage, --driver, --module or --usb-camera a guest is booted, and its device is
/// judged by all cells: that of a module of its kernel's own (--module), a USB camera
/// of software (--usb-camera), or Pinhole's card.
///
/// Exits with 0 when every cell came to what was expected of it, 1 when there are
/// findings or an oracle missed a mutant that it can see without a witness, 2 when
/// it could not run, 125 when a kernel of your own could not be tested, or none of
/// the cells on it. A device that hangs is a finding; if the kernel does not let
/// its process go, the run stops and says what to unplug.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device's node
    #[arg(value_name = "DEVICE", default_value = "/dev/video0")]
    device: String,

    /// Boot a guest without a card, load this module in it, and judge the device
    /// of that: a module of the guest's kernel, or the path of one built for it
    #[arg(long, value_name = "NAME|PATH", conflicts_with_all = ["driver", "mutants", "mutant"])]
    module: Option<String>,

    /// That module's parameters
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        requires = "module"
    )]
    module_args: String,

    /// Boot a guest without a card, plug a USB camera into it that is made of
    /// software, and judge what the kernel's driver uvcvideo makes of it, or that of
    /// --module
    #[arg(long, conflicts_with_all = ["driver", "mutants", "mutant"])]
    usb_camera: bool,

    #[command(flatten)]
    which: CellsArgs,

    /// Folder for the results; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-judge")]
    out: PathBuf,

    #[command(flatten)]
    guest: GuestArgs,
}

impl Args {
    /// Returns whether the device is this machine's.
    fn is_here(&self) -> bool {
        !self.guest.names_a_driver() && self.module().is_none() && self.which.mutants().is_empty()
    }

    /// Returns the module whose device is judged, if it is not that of a card's driver.
    fn module(&self) -> Option<&str> {
        let camera = self.usb_camera.then_some(usb_camera::DRIVER);
        self.module.as_deref().or(camera)
    }

    /// Returns the testbeds of the guests whose devices are judged; for this machine's
    /// device there is one, which is not used.
    fn testbeds(&self) -> anyhow::Result<Vec<TestbedSpec>> {
        if self.is_here() {
            return Ok(vec![TestbedSpec::default()]);
        }
        let mut testbeds = self.guest.testbeds(&Catalog::builtin())?;
        if let Some(module) = self.module() {
            let driver = self.driver(module)?;
            for testbed in &mut testbeds {
                testbed.card = CardProcess::Absent;
                testbed.driver = Some(driver.clone());
            }
        }
        Ok(testbeds)
    }

    /// Returns the driver that `--module` names.
    fn driver(&self, module: &str) -> anyhow::Result<OtherDriver> {
        let module = match module.contains('/') {
            true => DriverModule::File(existing(module)?.to_owned()),
            false => DriverModule::OfKernel(module.to_owned()),
        };
        Ok(OtherDriver {
            module,
            params: self.module_args.clone(),
            usb_camera: self.usb_camera,
        })
    }
}

/// Returns the path of a file that is there.
fn existing(path: &str) -> anyhow::Result<&Path> {
    std::fs::metadata(path).with_context(|| format!("cannot use {path}"))?;
    Ok(Path::new(path))
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let here = args.is_here();
    if let Some(given) = args.guest.of_a_guest().filter(|_| here) {
        anyhow::bail!(
            "{given} is for a guest, and it is this machine's device that is judged: name a guest \
             with --kernel, --bzimage, --driver, --module or --usb-camera"
        );
    }
    let scope = match here {
        true => Scope::Machine,
        false => Scope::Guest,
    };
    let (cells, mutants) = (args.which.cells(judged::all(scope)), args.which.mutants());
    for cell in &cells {
        if let Some(why) = judged::unsuitable(cell, scope) {
            anyhow::bail!("the cell {cell} is not for this device: {why}");
        }
    }
    anyhow::ensure!(
        !cells.is_empty() || !mutants.is_empty(),
        "there is no such cell: --direction, --kind and --hazard leave none"
    );
    if args.which.list {
        return CellsArgs::print(&cells, &mutants);
    }
    let testbeds = args.testbeds()?.into_iter();
    let specs = testbeds.map(|testbed| MatrixSpec {
        jobs: args.which.jobs(&testbed),
        testbed,
        judged: Some(Judged {
            device: args.device.clone(),
            here,
        }),
        cells: cells.clone(),
        mutants: mutants.clone(),
    });
    let untested = args.guest.has_own_kernel().then_some(exit::UNTESTABLE);
    args.which.run(specs.collect(), &args.out, untested)
}
