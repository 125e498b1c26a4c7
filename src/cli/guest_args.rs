//! The arguments of every subcommand that boots a guest.

use std::path::PathBuf;

use anyhow::Context;

use crate::rig::testbed::TestbedSpec;
use crate::rig::testbed::driver::{DriverModule, OtherDriver};
use crate::vm::accelerator::Accelerator;
use crate::vm::images::{Catalog, OwnKernel};

/// What a guest has if nothing else is wanted: memory in MiB, and processors.
const RAM_MIB: u32 = 1024;
const CPUS: u32 = 2;

/// The guest and its machine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestArgs {
    /// Guest to boot; `pinhole guest list` shows them. A subcommand that takes
    /// several wants commas between them; `all` are those with the
    /// distribution's kernels, `checked` those whose kernels check themselves
    #[arg(long, value_name = "ID")]
    kernel: Option<String>,

    /// Kernel of your own to boot in place of that guest's, whose user land it
    /// gets. If it cannot be tested because it is no kernel, does not boot, or
    /// takes no driver, the exit code is 125, as git bisect run wants it
    #[arg(long, value_name = "PATH", requires = "modules")]
    bzimage: Option<PathBuf>,

    /// Where that kernel's modules are and the driver is built for it: the tree
    /// in which `make bzImage modules` was run, or lib/modules/RELEASE with its
    /// link `build`
    #[arg(long, value_name = "DIR", requires = "bzimage")]
    modules: Option<PathBuf>,

    /// Driver to load in place of Pinhole's own: a module for the kernel that is
    /// booted. A cell that needs a parameter which it has not is impossible
    #[arg(long, value_name = "PATH")]
    driver: Option<PathBuf>,

    /// The driver's parameters. Where QEMU has no media device, those of another
    /// driver must make it take the stand-in, virtio id 30, as standin_id does
    /// with Pinhole's, which needs not be told
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    driver_args: String,

    /// QEMU to use, in place of the system's own or one made of packages
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,

    /// What runs the guest's instructions: auto is KVM where it works
    #[arg(long, value_name = "auto|kvm|tcg", default_value = "auto", value_parser = accelerator)]
    accel: Auto,

    /// The guest's memory: a number with M or G behind it
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = mebibytes)]
    ram: u32,

    /// The guest's processors
    #[arg(long, value_name = "N", default_value_t = CPUS, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,

    /// What to add to the guest kernel's command line
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
}

/// An accelerator, or `None` for the best one available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auto(Option<Accelerator>);

impl From<Auto> for Option<Accelerator> {
    fn from(auto: Auto) -> Self {
        auto.0
    }
}

impl GuestArgs {
    /// Returns the user's own kernel, if there is one.
    fn own_kernel(&self) -> Option<OwnKernel> {
        let (bzimage, modules) = self.bzimage.as_ref().zip(self.modules.as_ref())?;
        Some(OwnKernel::new(bzimage.clone(), modules.clone()))
    }

    /// Returns whether a kernel, or a driver for one, is named.
    pub fn names_a_driver(&self) -> bool {
        self.kernel.is_some() || self.has_own_kernel() || self.driver.is_some()
    }

    /// Returns the first argument that says something of a guest and names none.
    pub fn of_a_guest(&self) -> Option<&'static str> {
        let given = [
            ("--driver-args", !self.driver_args.is_empty()),
            ("--qemu", self.qemu.is_some()),
            ("--accel", self.accel.0.is_some()),
            ("--ram", self.ram != RAM_MIB),
            ("--cpus", self.cpus != CPUS),
            ("--append", !self.append.is_empty()),
        ];
        let given = given.iter().find(|(_, is_given)| *is_given);
        given.map(|(name, _)| *name)
    }

    /// Returns whether the kernel is the user's own.
    pub fn has_own_kernel(&self) -> bool {
        self.bzimage.is_some()
    }

    /// Returns the testbed that the arguments describe.
    ///
    /// # Errors
    ///
    /// An error if a guest or file does not exist, or the machine has too
    /// little memory. This is checked before anything begins that would replace
    /// earlier results, and before the user's own kernel could be blamed for
    /// it.
    pub fn testbed(&self) -> anyhow::Result<TestbedSpec> {
        self.testbed_of(self.kernel.as_deref(), &Catalog::builtin())
    }

    fn testbed_of(&self, kernel: Option<&str>, catalog: &Catalog) -> anyhow::Result<TestbedSpec> {
        if let Some(id) = kernel {
            let is_set = self.has_own_kernel() && catalog.set(id).is_some();
            anyhow::ensure!(
                !is_set,
                "--bzimage is given the user land of one guest, and {id} are several: name one"
            );
            catalog.get(id)?;
        }
        let files = [&self.bzimage, &self.modules, &self.driver, &self.qemu];
        for path in files.into_iter().flatten() {
            std::fs::metadata(path).with_context(|| format!("cannot use {}", path.display()))?;
        }
        let most = memory_mib();
        anyhow::ensure!(
            u64::from(self.ram) <= most,
            "this machine has {most}M of memory and swap, too little for a guest with --ram {}M",
            self.ram
        );
        Ok(TestbedSpec {
            kernel: kernel.map(str::to_owned),
            own_kernel: self.own_kernel(),
            driver: self
                .driver
                .as_ref()
                .map(|path| OtherDriver::new(DriverModule::File(path.clone()), &self.driver_args)),
            driver_args: self.driver_args.clone(),
            qemu: self.qemu.clone(),
            accelerator: self.accel.0,
            ram_mib: Some(self.ram),
            cpus: Some(self.cpus),
            append: self.append.clone(),
            ..TestbedSpec::default()
        })
    }

    /// Returns the testbeds that the arguments describe: one for each guest
    /// that is named. The user's own kernel gets the user land of one guest, so
    /// there is one testbed then.
    ///
    /// # Errors
    ///
    /// As [`GuestArgs::testbed`].
    pub fn testbeds(&self, catalog: &Catalog) -> anyhow::Result<Vec<TestbedSpec>> {
        let Some(kernel) = self.kernel.as_deref().filter(|_| !self.has_own_kernel()) else {
            return Ok(vec![self.testbed_of(self.kernel.as_deref(), catalog)?]);
        };
        let guests = guests(kernel, catalog).into_iter();
        guests
            .map(|id| self.testbed_of(Some(&id), catalog))
            .collect()
    }
}

/// Returns the guests that `--kernel` names: names with commas between them,
/// each of one guest or of a [set](Catalog::set).
pub fn guests(kernels: &str, catalog: &Catalog) -> Vec<String> {
    let guests = |name: &str| match catalog.set(name) {
        Some(recipes) => recipes.into_iter().map(|recipe| recipe.id).collect(),
        None => vec![name.to_owned()],
    };
    kernels.split(',').flat_map(guests).collect()
}

/// Parses an accelerator of the command line.
pub fn accelerator(name: &str) -> Result<Auto, String> {
    match name {
        "auto" => Ok(Auto(None)),
        name => {
            let accelerator = name.parse()?;
            match Accelerator::obstacle_to_kvm() {
                Some(why) if accelerator == Accelerator::Kvm => {
                    Err(format!("KVM boots no guest here: {why}; auto takes TCG"))
                }
                _ => Ok(Auto(Some(accelerator))),
            }
        }
    }
}

/// Returns the memory and swap of this machine in MiB.
fn memory_mib() -> u64 {
    let all = rustix::system::sysinfo();
    let units = all.totalram as u64 + all.totalswap as u64;
    (units * u64::from(all.mem_unit)) >> 20
}

fn mebibytes(size: &str) -> Result<u32, String> {
    let unit = |suffix: char, factor: u32| {
        let number = size.strip_suffix(suffix)?.parse::<u32>().ok()?;
        number.checked_mul(factor)
    };
    match unit('M', 1).or_else(|| unit('G', 1024)) {
        Some(mebibytes) if mebibytes >= 128 => Ok(mebibytes),
        Some(_) => Err("a guest needs at least 128M".into()),
        None => Err("a size is a number with M or G behind it, such as 1G".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_a_floor() {
        assert_eq!(mebibytes("768M"), Ok(768));
        assert_eq!(mebibytes("2G"), Ok(2048));
        for bad in ["1", "G", "-1G", "99999999G", "64M", "1T", "1.5G"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_said_of_a_guest_is_told_from_what_is_usual() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            guest: GuestArgs,
        }
        let of = |line: &str| {
            let line = <Line as clap::Parser>::parse_from(line.split(' '));
            line.guest.of_a_guest()
        };
        assert_eq!(of("judge"), None);
        for (name, value) in [
            ("--driver-args", "x=1"),
            ("--qemu", "/usr/bin/qemu"),
            ("--accel", "tcg"),
            ("--ram", "2G"),
            ("--cpus", "3"),
            ("--append", "nokaslr"),
        ] {
            assert_eq!(of(&format!("judge {name} {value}")), Some(name));
        }
    }

    #[test]
    fn a_set_is_several_guests_but_not_of_an_own_kernel() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            guest: GuestArgs,
        }
        let kernels = |line: &str| -> Result<Vec<_>, String> {
            let line = <Line as clap::Parser>::parse_from(line.split(' '));
            let testbeds = line.guest.testbeds(&Catalog::builtin());
            let kernels = testbeds.map(|all| all.into_iter().map(|spec| spec.kernel).collect());
            kernels.map_err(|error| error.to_string())
        };
        assert_eq!(kernels("matrix"), Ok(vec![None]));
        let one = kernels("matrix --kernel trixie");
        assert_eq!(one, Ok(vec![Some("trixie".into())]));
        for set in ["all", "checked"] {
            let recipes = Catalog::builtin().set(set).unwrap();
            let ids = recipes.into_iter().map(|one| Some(one.id)).collect();
            assert_eq!(kernels(&format!("matrix --kernel {set}")), Ok(ids));
        }
        let both = kernels("matrix --kernel bookworm,checked").unwrap();
        assert_eq!(both.len(), 3);
        assert_eq!(both[0].as_deref(), Some("bookworm"));
        for (wrong, said) in [
            ("--kernel all,nosuch", "no guest named nosuch"),
            ("--kernel nosuch", "no guest named nosuch"),
            (
                "--kernel all --bzimage . --modules .",
                "all are several: name one",
            ),
            ("--ram 4194303G", "too little for a guest"),
            ("--bzimage /nosuch --modules .", "cannot use /nosuch"),
            ("--bzimage . --modules /nosuch", "cannot use /nosuch"),
            ("--driver /nosuch", "cannot use /nosuch"),
            ("--qemu /nosuch", "cannot use /nosuch"),
        ] {
            let error = kernels(&format!("matrix {wrong}")).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_accelerator_is_one_of_three() {
        assert_eq!(accelerator("auto"), Ok(Auto(None)));
        assert_eq!(accelerator("tcg"), Ok(Auto(Some(Accelerator::Tcg))));
        assert!(accelerator("hvf").is_err());
    }
}
