//! The conformance suite for drivers: Pinhole's keeps all clauses, and for each that
//! a driver can break there is one that does, which is seen at that clause.
//!
//! What the guest's virtio core keeps a driver from (GV-15, GV-17), and a record
//! decides, is broken by made-up records in `src/conformance/driver/rings/tests.rs`.

use std::collections::BTreeSet;
use std::time::Instant;

use pinhole::conformance::clause::{Level, Side};
use pinhole::conformance::clauses::{self, ClauseId};
use pinhole::conformance::driver::stand::Stand;
use pinhole::conformance::driver::{judge, run};
use pinhole::conformance::verdict::{SuiteOutcome, Verdict};
use pinhole::report::conformance as report;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::rig::testbed::driver::{DriverModule, OtherDriver};
use pinhole::vm::progress::Progress;
use pinhole::vm::qemu;

use crate::seams::Seams;
use crate::test_guest::LIMIT;

const SEAMS: Seams = Seams {
    name: "offender",
    file: "mutant_seams",
    text: include_bytes!("mutant_seams.c"),
    wrapped: "virtqueue_add_sgs pinhole_cmd_call pinhole_buffer_returned pinhole_context_queues \
              vb2_ioctl_dqbuf video_ioctl2 __register_virtio_driver",
    edit: |file, text| match file {
        "main.c" => {
            let read = "ret = pinhole_read_config(dev);";
            assert!(
                text.contains(read),
                "main.c reads the configuration elsewhere"
            );
            let declared = "#define CREATE_TRACE_POINTS";
            text.replace(
                read,
                "ret = pinhole_mutant_unread(dev) ? 0 : pinhole_read_config(dev);",
            )
            .replace(
                declared,
                &format!("bool pinhole_mutant_unread(struct pinhole_device *dev);\n{declared}"),
            )
        }
        _ => text,
    },
};

/// A clause that a mutant of its name breaks, in one way of several where that is told
/// behind it, and others that fall with it.
const TABLE: &[(&str, &[&str])] = &[
    ("MV-1", &[]),
    ("MV-2", &[]),
    ("MV-3", &[]),
    ("MV-4", &[]),
    ("MV-5", &[]),
    ("MV-6", &[]),
    ("MP-3", &[]),
    ("MP-5", &[]),
    ("MP-8", &[]),
    // The device takes the request for one that it cannot read.
    ("MP-9", &["DV-1"]),
    ("MP-20", &[]),
    ("GV-7", &[]),
    ("GV-10", &[]),
    ("GV-13", &[]),
    ("GV-16", &[]),
    ("GV-21", &[]),
    ("DV-1", &[]),
    ("DV-1/offset", &[]),
    ("DV-3", &[]),
    ("DV-4", &[]),
];

/// The clauses that did not pass, and that are not about what there is not.
fn red(outcome: &SuiteOutcome) -> BTreeSet<&'static str> {
    let red = outcome
        .clauses
        .iter()
        .filter(|one| !matches!(one.verdict, Verdict::Passed | Verdict::NotOffered { .. }));
    red.map(|one| one.clause.id).collect()
}

fn spec(kernel: &str, driver: Option<OtherDriver>) -> TestbedSpec {
    TestbedSpec {
        kernel: Some(kernel.into()),
        driver,
        ..TestbedSpec::default()
    }
}

fn conforms_on(kernel: &str) {
    let outcome = run(&spec(kernel, None), &[], &Progress::silent()).unwrap();
    let table = report::table(std::slice::from_ref(&outcome));
    println!("{table}");
    assert!(!outcome.is_wrong(), "{table}");
    let absent = outcome.clauses.iter();
    let absent = absent.filter(|one| matches!(one.verdict, Verdict::NotOffered { .. }));
    let absent: Vec<_> = absent.map(|one| one.clause.id).collect();
    assert_eq!(absent, ["MP-15", "GV-2", "GV-6"], "{table}");
}

#[test]
#[ignore = "boots a guest"]
fn pinholes_driver_conforms_on_bullseye() {
    conforms_on("bullseye");
}

#[test]
#[ignore = "boots a guest"]
fn pinholes_driver_conforms_on_trixie() {
    conforms_on("trixie");
}

#[test]
#[ignore = "boots a guest"]
fn a_driver_that_breaks_a_clause_is_seen_at_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let qemu = qemu::ensure_generic(None, &Progress::silent()).unwrap();
    let id = qemu.virtio_id;
    let spec = spec(
        "trixie",
        Some(OtherDriver::new(
            DriverModule::File(SEAMS.build("trixie", dir.path())),
            format!("standin_id={id}"),
        )),
    );
    let progress = Progress::silent();
    let mut stand = Stand::boot(&spec, &progress).unwrap();
    // What lies, is late, or dies takes its time, and finds nothing of other clauses.
    let brief: Vec<ClauseId> = clauses::of(Side::Driver)
        .filter(|clause| clause.level != Level::Robust)
        .map(|clause| ClauseId::known(clause.id))
        .chain([ClauseId::known("DV-1")])
        .collect();
    let robust = ["DV-1", "DV-2", "DV-3", "DV-4", "DV-5", "DV-7", "DV-9"].map(ClauseId::known);
    let mut wrong = Vec::new();
    let mut see = |mutant: &str, wanted: &[ClauseId], also: &[&'static str]| {
        let set = format!("echo {mutant} > /sys/module/offender/parameters/mutant");
        let set = stand.run(&set, LIMIT).unwrap();
        assert!(set.status.success(), "{set:?}");
        let outcome = judge(&mut stand, &spec, wanted, &progress, Instant::now());
        let clause = mutant.split('/').next().unwrap_or(mutant);
        let expected: BTreeSet<_> = match mutant {
            "none" => BTreeSet::new(),
            _ => also
                .iter()
                .copied()
                .chain([ClauseId::known(clause).clause().id])
                .collect(),
        };
        let red = red(&outcome);
        println!("{mutant}: {red:?} after {} ms", outcome.elapsed_ms);
        if red != expected {
            wrong.push(format!("{mutant}: {}", report::table(&[outcome])));
        }
    };
    see("none", &brief, &[]);
    for (mutant, also) in TABLE {
        let clause = mutant.split('/').next().unwrap_or(mutant);
        let level = ClauseId::known(clause).clause().level;
        match level {
            Level::Robust => see(mutant, &robust, also),
            _ => see(mutant, &brief, also),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stand.finish();
}
