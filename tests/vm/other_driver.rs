//! A driver in place of Pinhole's own, as `--driver` gives it: here one that
//! knows but one way to pin.

use std::fs::File;
use std::path::PathBuf;

use pinhole::agent::cell::Kind;
use pinhole::rig::matrix::outcome::Verdict;
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::matrix::{CellName, Pinning};
use pinhole::rig::testbed::driver::OtherDriver;
use pinhole::rig::testbed::{Testbed, TestbedError, TestbedSpec};
use pinhole::vm::images::driver::{DRIVER, Module, build};
use pinhole::vm::images::{self, Catalog};
use pinhole::vm::progress::Progress;
use pinhole::vm::provision::cache::Workspace;
use pinhole::vm::provision::tree::Tree;
use pinhole::vm::qemu::{self, MEDIA_ID};

/// Builds the driver in `dir` under another name, without the parameter that
/// has it pin as the kernel does.
fn build_lookalike(dir: &std::path::Path) -> PathBuf {
    let sources: Vec<(&str, &[u8])> = DRIVER
        .sources
        .iter()
        .map(|&(name, text)| {
            let text = String::from_utf8(text.to_vec()).unwrap();
            let edited = match name {
                "Kbuild" => text.replace("pinhole", "lookalike"),
                _ => text.replace("module_param(native_userptr, bool, 0644);\n", ""),
            };
            (name, &*edited.into_bytes().leak())
        })
        .collect();
    let module = Module {
        what: "a lookalike of the driver",
        file: "lookalike.ko",
        folder: "",
        sources: sources.leak(),
        variables: &[],
    };
    let recipe = Catalog::builtin().get("trixie").unwrap();
    let guest = images::ensure_guest(&recipe, &Progress::silent()).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    let workspace = Workspace {
        dir,
        log: &dir.join("log"),
        lock: &lock,
    };
    let step = Progress::silent().step("");
    let tree = Tree::new(guest.tree);
    build(&module, &tree, &guest.release, &workspace, &step).unwrap();
    dir.join(module.file)
}

#[test]
#[ignore = "boots a guest"]
fn another_driver_is_judged_but_for_what_it_has_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = build_lookalike(dir.path());
    let id = qemu::ensure(None, &Progress::silent()).unwrap().virtio_id;
    let params = match id {
        MEDIA_ID => String::new(),
        id => format!("standin_id={id}"),
    };
    let mut spec = MatrixSpec {
        testbed: TestbedSpec {
            kernel: Some("trixie".into()),
            driver: Some(OtherDriver { path, params }),
            ..TestbedSpec::default()
        },
        cells: [Pinning::FrameVector, Pinning::Native, Pinning::FrameVector]
            .map(|pinning| CellName {
                pinning,
                ..CellName::plain(Kind::Hugetlb)
            })
            .to_vec(),
        mutants: Vec::new(),
        jobs: 1,
    };
    let mut outcomes = Vec::new();
    run::run(&spec, &Progress::silent(), &mut outcomes).unwrap();
    let outcome = outcomes.remove(0);
    let verdicts: Vec<_> = outcome.cells.iter().map(|cell| cell.verdict).collect();
    let expected = [Verdict::Expected, Verdict::Impossible, Verdict::Expected];
    assert_eq!(verdicts, expected, "{:#?}", outcome.cells);
    assert_eq!(
        outcome.cells[1].reason.as_deref(),
        Some("the driver lookalike has no parameter native_userptr")
    );

    // Without its parameters it does not know the stand-in.
    if id != MEDIA_ID {
        spec.testbed.driver.as_mut().unwrap().params.clear();
        let error = Testbed::start(&spec.testbed, &Progress::silent()).unwrap_err();
        assert!(matches!(error, TestbedError::NoDevice { .. }), "{error}");
    }
}
