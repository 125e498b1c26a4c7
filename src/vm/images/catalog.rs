//! The catalogue of guests, `images/kernels.toml`.

use serde::{Deserialize, Serialize};

use crate::vm::provision::bootstrap::Packages;
use crate::vm::provision::{Error, Result};

/// The catalogue that this program was built with.
const BUILTIN: &str = include_str!("../../../images/kernels.toml");

/// The configurations that kernels are built with, by name.
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

/// The name that stands for all guests whose kernels are the distribution's.
pub const ALL: &str = "all";

/// All guests, and what they have in common.
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

/// Where a QEMU comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuRecipe {
    /// The suite of Debian.
    pub suite: String,
    /// The suite preferred over it.
    pub release: Option<String>,
    /// The packages, with all they depend on.
    pub packages: Vec<String>,
}

/// The packages that every guest's tree is made of, and those that its kernel is
/// taken from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeRecipe {
    packages: Vec<String>,
    packaged_kernel: Vec<String>,
    built_kernel: Vec<String>,
}

/// What goes from the tree into the initramfs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitramfsRecipe {
    /// Programs, by their path in the tree.
    pub programs: Vec<String>,
    /// Modules loaded at boot, in this order.
    pub boot_modules: Vec<String>,
    /// Modules that are there to be loaded.
    pub modules: Vec<String>,
}

/// What the clients' image is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsRecipe {
    /// The suite of Debian.
    pub suite: String,
    /// The packages that its programs are in, with all they depend on.
    pub packages: Vec<String>,
    /// The packages that make the image and are not in it.
    pub tools: Vec<String>,
    /// What is in the image, by its path in the packages.
    pub programs: Vec<String>,
    /// Folders of libraries where the loader does not look by itself.
    pub library_folders: Vec<String>,
}

/// Kernels for which modules are built and never loaded.
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
    /// Their name on the command line.
    pub id: String,
    /// The suite of Debian.
    pub suite: String,
    /// The suite preferred over it.
    pub release: Option<String>,
    /// Its lists may have run out.
    pub lapsed: bool,
    /// The packages, with all they depend on.
    pub packages: Vec<String>,
}

impl HeadersRecipe {
    /// What is unpacked.
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

/// What reads the modules' sources with a reviewer's eye.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LintRecipe {
    /// The suite of Debian.
    pub suite: String,
    /// The packages, with all they depend on.
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

/// The configuration that a kernel is built with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Its name, by which also all guests that have it are called together.
    pub name: String,
    /// What is added to `make tinyconfig`.
    pub fragment: &'static str,
}

/// What one guest is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Its name on the command line.
    pub id: String,
    /// The suite of Debian.
    pub suite: String,
    /// The suite preferred over it, for its kernel.
    pub release: Option<String>,
    /// What its kernel is built with; nothing if that is the distribution's.
    pub config: Option<Config>,
    /// The packages of its tree.
    pub packages: Vec<String>,
    /// What of them is in its initramfs.
    pub initramfs: InitramfsRecipe,
}

impl Catalog {
    /// The catalogue that this program was built with.
    pub fn builtin() -> Self {
        match toml::from_str(BUILTIN) {
            Ok(catalog) => catalog,
            // Not reachable from outside: the text is part of the program, and
            // a test parses it.
            Err(error) => panic!("images/kernels.toml: {error}"),
        }
    }

    /// The id of the guest that is meant when none is named.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// Where a QEMU comes from if the system has none that serves.
    pub fn qemu(&self) -> &QemuRecipe {
        &self.qemu
    }

    /// What the clients' image is made of.
    pub fn clients(&self) -> &ClientsRecipe {
        &self.clients
    }

    /// The headers of all kernels that modules are only built for, oldest first.
    pub fn headers(&self) -> impl Iterator<Item = HeadersRecipe> {
        self.headers.suite.iter().map(|suite| HeadersRecipe {
            id: suite.id.clone(),
            suite: suite.suite.clone(),
            release: suite.release.clone(),
            lapsed: suite.lapsed,
            packages: self.headers.packages.clone(),
        })
    }

    /// What the sources are read by.
    pub fn lint(&self) -> &LintRecipe {
        &self.lint
    }

    /// All guests, oldest kernel first.
    pub fn recipes(&self) -> impl Iterator<Item = Recipe> {
        self.guest.iter().map(|guest| self.recipe(guest))
    }

    /// The guests that go by a common name: [`ALL`] whose kernels are the
    /// distribution's, or a configuration's name; nothing if it is neither.
    pub fn set(&self, name: &str) -> Option<Vec<Recipe>> {
        let of_set = |recipe: &Recipe| match &recipe.config {
            None => name == ALL,
            Some(config) => name == config.name,
        };
        let recipes: Vec<_> = self.recipes().filter(of_set).collect();
        (!recipes.is_empty()).then_some(recipes)
    }

    /// The guest of a name.
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

/// The configuration of a name.
fn config(name: &str) -> Config {
    match CONFIGS.iter().find(|(known, _)| *known == name) {
        Some((_, fragment)) => Config {
            name: name.to_owned(),
            fragment,
        },
        // Not reachable from outside: the name is part of the program, and a
        // test looks it up.
        None => panic!("images/kernels.toml: there is no configuration {name}"),
    }
}

impl Recipe {
    /// What is unpacked for its tree.
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
