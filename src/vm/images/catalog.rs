//! The catalogue of guests, `images/kernels.toml`.

use serde::{Deserialize, Serialize};

use crate::vm::provision::bootstrap::Packages;
use crate::vm::provision::{Error, Result};

/// The catalogue, built into this program.
const BUILTIN: &str = include_str!("../../../images/kernels.toml");

/// The kernel configurations, by name.
const CONFIGS: [(&str, &str); 2] = [
    ("checked", include_str!("../../../images/checked.config")),
    (
        "kcsan",
        concat!(
            include_str!("../../../images/checked.config"),
            include_str!("../../../images/kcsan.config"),
        ),
    ),
];

/// Name of the set of all guests with a distribution's kernel.
pub const ALL: &str = "all";

/// All guests, and the recipe parts that they share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    default: String,
    qemu: QemuRecipe,
    tree: TreeRecipe,
    initramfs: InitramfsRecipe,
    clients: ClientsRecipe,
    headers: HeadersTable,
    lint: LintRecipe,
    guest: Vec<GuestTable>,
}

/// The source of a QEMU.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuRecipe {
    /// Suite of Debian.
    pub suite: String,
    /// Suite that is preferred over it.
    pub release: Option<String>,
    /// Packages; their dependencies come with them.
    pub packages: Vec<String>,
}

/// The packages of every guest's tree, and those that provide its kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeRecipe {
    packages: Vec<String>,
    packaged_kernel: Vec<String>,
    built_kernel: Vec<String>,
}

/// The files of a tree that go into the initramfs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitramfsRecipe {
    /// Programs, by their paths in the tree.
    pub programs: Vec<String>,
    /// Modules that are loaded at boot, in this order.
    pub boot_modules: Vec<String>,
    /// Modules that can be loaded later.
    pub modules: Vec<String>,
}

/// The recipe of the clients' image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsRecipe {
    /// Suite of Debian.
    pub suite: String,
    /// Packages of its programs; their dependencies come with them.
    pub packages: Vec<String>,
    /// Packages that build the image and are not part of it.
    pub tools: Vec<String>,
    /// Files of the image, by their paths in the packages.
    pub programs: Vec<String>,
    /// Directories of libraries that the loader does not search by itself.
    pub library_folders: Vec<String>,
}

/// Kernels for which modules are built but never loaded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadersTable {
    packages: Vec<String>,
    suite: Vec<HeadersSuite>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadersSuite {
    id: String,
    suite: String,
    release: Option<String>,
    #[serde(default)]
    lapsed: bool,
}

/// The headers of a suite's kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadersRecipe {
    /// Name on the command line.
    pub id: String,
    /// Suite of Debian.
    pub suite: String,
    /// Suite that is preferred over it.
    pub release: Option<String>,
    /// Whether the suite's package lists may have expired.
    pub lapsed: bool,
    /// Packages; their dependencies come with them.
    pub packages: Vec<String>,
}

impl HeadersRecipe {
    /// Returns the packages to unpack.
    pub fn packages(&self) -> Packages<'_> {
        Packages {
            what: &self.id,
            suite: &self.suite,
            release: self.release.as_deref(),
            names: &self.packages,
            lapsed: self.lapsed,
        }
    }
}

/// The recipe of the checkers that review the modules' sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LintRecipe {
    /// Suite of Debian.
    pub suite: String,
    /// Packages; their dependencies come with them.
    pub packages: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestTable {
    id: String,
    suite: String,
    release: Option<String>,
    config: Option<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
}

/// The configuration of a kernel that is built from source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Name, which is also the name of the set of all guests with this
    /// configuration.
    pub name: String,
    /// Options that are added to `make tinyconfig`.
    pub fragment: &'static str,
}

/// The recipe of one guest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Name on the command line.
    pub id: String,
    /// Suite of Debian.
    pub suite: String,
    /// Suite that is preferred over it, for the kernel.
    pub release: Option<String>,
    /// Configuration of the kernel; `None` for the distribution's kernel.
    pub config: Option<Config>,
    /// Packages of the tree.
    pub packages: Vec<String>,
    /// Files of the packages that go into the initramfs.
    pub initramfs: InitramfsRecipe,
}

impl Catalog {
    /// Returns the catalogue that is built into this program.
    pub fn builtin() -> Self {
        match toml::from_str(BUILTIN) {
            Ok(catalog) => catalog,
            // No input can cause this: the text is part of the program, and a
            // test parses it.
            Err(error) => panic!("images/kernels.toml: {error}"),
        }
    }

    /// Returns the id of the default guest.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// Returns the source of a QEMU, for a system without a usable one.
    pub fn qemu(&self) -> &QemuRecipe {
        &self.qemu
    }

    /// Returns the recipe of the clients' image.
    pub fn clients(&self) -> &ClientsRecipe {
        &self.clients
    }

    /// Returns the headers of all kernels for which modules are only built,
    /// oldest first.
    pub fn headers(&self) -> impl Iterator<Item = HeadersRecipe> {
        self.headers.suite.iter().map(|suite| HeadersRecipe {
            id: suite.id.clone(),
            suite: suite.suite.clone(),
            release: suite.release.clone(),
            lapsed: suite.lapsed,
            packages: self.headers.packages.clone(),
        })
    }

    /// Returns the recipe of the source checkers.
    pub fn lint(&self) -> &LintRecipe {
        &self.lint
    }

    /// Returns all guests, oldest kernel first.
    pub fn recipes(&self) -> impl Iterator<Item = Recipe> {
        self.guest.iter().map(|guest| self.recipe(guest))
    }

    /// Returns the guests of a set: [`ALL`] for those with a distribution's
    /// kernel, or the name of a configuration. Returns `None` for any other
    /// name.
    pub fn set(&self, name: &str) -> Option<Vec<Recipe>> {
        let of_set = |recipe: &Recipe| match &recipe.config {
            None => name == ALL,
            Some(config) => name == config.name,
        };
        let recipes: Vec<_> = self.recipes().filter(of_set).collect();
        (!recipes.is_empty()).then_some(recipes)
    }

    /// Returns the guest with that name.
    pub fn get(&self, id: &str) -> Result<Recipe> {
        let Some(guest) = self.guest.iter().find(|guest| guest.id == id) else {
            let known: Vec<_> = self.guest.iter().map(|guest| guest.id.as_str()).collect();
            return Err(Error::UnknownGuest {
                id: id.to_owned(),
                known: known.join(", "),
            });
        };
        Ok(self.recipe(guest))
    }

    fn recipe(&self, guest: &GuestTable) -> Recipe {
        let config = guest.config.as_deref().map(config);
        let mut packages = self.tree.packages.clone();
        packages.extend_from_slice(match config {
            None => &self.tree.packaged_kernel,
            Some(_) => &self.tree.built_kernel,
        });
        packages.extend_from_slice(&guest.packages);
        packages.sort();
        let mut initramfs = self.initramfs.clone();
        initramfs.modules.extend_from_slice(&guest.modules);
        Recipe {
            id: guest.id.clone(),
            suite: guest.suite.clone(),
            release: guest.release.clone(),
            config,
            packages,
            initramfs,
        }
    }
}

/// Returns the configuration with that name.
fn config(name: &str) -> Config {
    match CONFIGS.iter().find(|(known, _)| *known == name) {
        Some((_, fragment)) => Config {
            name: name.to_owned(),
            fragment,
        },
        // No input can cause this: the name is part of the program, and a test
        // looks it up.
        None => panic!("images/kernels.toml: there is no configuration {name}"),
    }
}

impl Recipe {
    /// Returns the packages to unpack for the tree.
    pub fn packages(&self) -> Packages<'_> {
        Packages {
            what: &self.id,
            suite: &self.suite,
            release: self.release.as_deref(),
            names: &self.packages,
            lapsed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalogue_is_sound() {
        let catalog = Catalog::builtin();
        let ids = |recipes: Vec<Recipe>| -> Vec<_> {
            recipes.into_iter().map(|recipe| recipe.id).collect()
        };
        let stock = ["bullseye", "bookworm", "trixie", "trixie-backports"];
        let checked = ["trixie-checked", "trixie-backports-checked"];
        assert_eq!(
            ids(catalog.recipes().collect()),
            [&stock[..], &checked, &["trixie-kcsan"]].concat()
        );
        assert_eq!(ids(catalog.set(ALL).unwrap()), stock);
        assert_eq!(ids(catalog.set("checked").unwrap()), checked);
        assert_eq!(catalog.set("trixie"), None);
        assert_eq!(catalog.get(catalog.default_id()).unwrap().suite, "trixie");
        let backports = catalog.get("trixie-backports").unwrap();
        assert_eq!(backports.release.as_deref(), Some("trixie-backports"));
        assert!(
            backports
                .packages
                .iter()
                .any(|name| name == "linux-image-amd64")
        );
        let checked = catalog.get("trixie-checked").unwrap();
        assert!(checked.packages.iter().any(|name| name == "linux-source"));
        assert!(!checked.packages.iter().any(|name| name.ends_with("amd64")));
        let fragment = checked.config.unwrap().fragment;
        assert!(fragment.contains("\nCONFIG_KASAN=y\n"));
        let races = catalog.get("trixie-kcsan").unwrap().config.unwrap();
        assert!(races.fragment.starts_with(fragment));
        assert!(races.fragment.contains("\nCONFIG_KCSAN=y\n"));
    }

    #[test]
    fn headers_are_of_every_suite_that_a_stock_guest_is_of() {
        let catalog = Catalog::builtin();
        let headers: Vec<_> = catalog.headers().collect();
        for guest in catalog.set(ALL).unwrap() {
            let same =
                |one: &&HeadersRecipe| (&one.suite, &one.release) == (&guest.suite, &guest.release);
            assert!(headers.iter().any(|one| same(&one)), "{}", guest.id);
        }
    }

    #[test]
    fn an_unknown_guest_is_answered_with_those_there_are() {
        let error = Catalog::builtin().get("sid").unwrap_err().to_string();
        assert!(
            error.contains("sid") && error.contains("trixie-backports"),
            "{error}"
        );
    }
}
