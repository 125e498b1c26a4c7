//! The matrix's page, as a browser shows it. Boots no guest: the results are of
//! real runs, a few cells of two kernels, one of them made into a finding here.
//!
//! The tests need Chromium, which `make test` installs; they are ignored
//! without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pinhole::agent::protocol::LogRecord;
use pinhole::report::matrix as report;
use pinhole::rig::matrix::Mutant;
use pinhole::rig::matrix::objection::Severity;
use pinhole::rig::matrix::oracle::{Finding, Oracle};
use pinhole::rig::matrix::outcome::{KernelOutcome, MutantOutcome, MutantVerdict, Verdict};
use tempfile::TempDir;

const EVIL: &str = "<script>document.title='hacked'</script><img src=http://127.0.0.1:1/x>";

/// The results that the page is made of: of trixie's first cell the third block
/// differs, and the kernel's log is not to be trusted.
fn outcomes() -> Vec<KernelOutcome> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/matrix");
    let mut outcomes = report::merge(report::read(&[fixtures]).unwrap()).unwrap();
    let cell = &mut outcomes[1].cells[0];
    cell.verdict = Verdict::Finding;
    cell.findings = vec![Finding {
        oracle: Oracle::Data,
        severity: Severity::DataLost,
        what: format!("frame 0 differs {EVIL}"),
    }];
    let answer = cell.answer.as_mut().unwrap();
    answer.frames[0].digests[2] = None;
    answer.log.push(LogRecord {
        sequence: 1,
        level: 4,
        facility: 0,
        time_us: 12_345_678,
        text: EVIL.into(),
    });
    let mutant = MutantOutcome {
        mutant: Mutant::SwapPages,
        verdict: MutantVerdict::Caught,
        reason: None,
        cells: vec![cell.clone()],
    };
    outcomes[1].mutants.push(mutant);
    outcomes
}

/// A browser with a profile of its own.
struct Browser {
    folder: TempDir,
}

impl Browser {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The page, written there.
    fn page(&self) -> PathBuf {
        report::write(&outcomes(), self.folder.path()).unwrap();
        report::page(self.folder.path())
    }

    fn run(&self, url: &str, options: &[String]) -> Output {
        let output = Command::new("timeout")
            .args(["--kill-after=5", "120", "chromium", "--headless"])
            // Its sandbox does not run as root; the page is our own.
            .args(["--no-sandbox", "--disable-gpu", "--no-first-run"])
            // It asks for updates of its own, which are no matter here.
            .args(["--disable-background-networking"])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND")
            .args(["--enable-logging=stderr", "--v=0"])
            .arg(format!(
                "--user-data-dir={}",
                self.path("profile").display()
            ))
            .args(options)
            .arg(url)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "chromium: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// The document after it was loaded, what went to the console, and what it
    /// asked for over the network.
    fn load(&self, url: &str) -> (String, Vec<String>, Vec<String>) {
        let log = self.path("net.json");
        let options = [
            "--dump-dom".to_owned(),
            format!("--log-net-log={}", log.display()),
        ];
        let output = self.run(url, &options);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let console = stderr.lines().filter(|line| line.contains("CONSOLE"));
        let log: serde_json::Value = serde_json::from_slice(&fs::read(log).unwrap()).unwrap();
        let asked = log["events"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|event| {
                let parameters = event.get("params")?;
                // The browser's own requests are of no origin.
                let initiator = parameters.get("initiator")?.as_str()?;
                let url = parameters.get("url")?.as_str()?;
                (initiator != "not an origin").then(|| url.to_owned())
            });
        (
            String::from_utf8(output.stdout).unwrap(),
            console.map(str::to_owned).collect(),
            asked.collect(),
        )
    }

    /// The colours of a screenshot, each with how many points have it.
    fn colours(&self, url: &str, options: &[&str]) -> Vec<(usize, [u8; 3])> {
        let png = self.path("shot.png");
        let mut all: Vec<_> = options.iter().map(ToString::to_string).collect();
        all.push(format!("--screenshot={}", png.display()));
        all.push("--hide-scrollbars".into());
        self.run(url, &all);
        let picture = image::open(&png).unwrap().into_rgb8();
        let mut counts = std::collections::HashMap::new();
        for point in picture.pixels() {
            *counts.entry(point.0).or_insert(0) += 1;
        }
        let mut colours: Vec<_> = counts.into_iter().map(|(of, count)| (count, of)).collect();
        colours.sort_unstable_by(|a, b| b.cmp(a));
        colours
    }
}

fn url(page: &Path) -> String {
    format!("file://{}", page.display())
}

#[test]
#[ignore = "needs chromium; make test installs it"]
fn the_page_is_whole_in_itself_and_its_cells_open() {
    let browser = Browser::new();
    let page = url(&browser.page());
    let (dom, console, asked) = browser.load(&page);
    assert_eq!(console, [""; 0]);
    assert_eq!(asked, [""; 0]);
    assert!(dom.contains("<title>Pinhole: the matrix</title>"));
    assert!(!dom.contains("<script"), "a guest's text became a script");
    assert!(!dom.contains("<img"), "a guest's text became a picture");
    assert!(dom.contains("&lt;script&gt;document.title"));

    // Five kinds, two hazards, a mutant and the oracles of a device with a witness on two
    // kernels, and what is said of the finding.
    let oracles = Oracle::ALL.iter().filter(|one| !one.replaces_witness());
    let rows = 5 + 2 + 1 + oracles.count();
    assert_eq!(dom.matches("<td").count(), rows * 2 + 5);
    let cells: usize = outcomes().iter().map(|one| one.cells.len()).sum();
    let (mutants, groups) = (1, 1);
    assert_eq!(dom.matches("<details").count(), cells + mutants + groups);
    // Only the finding is open, and shows what is wrong.
    let open = |dom: &str| {
        dom.matches("<details open=\"\"").count()
            + dom.matches("<details class=\"red\" open=\"\"").count()
    };
    assert_eq!(open(&dom), 1);
    assert!(dom.contains("14 of 15 blocks read as written, the first that is not at byte 8192"));
    // Every way within the page leads somewhere.
    for href in dom.split("href=\"").skip(1) {
        let target = href.split('"').next().unwrap();
        let id = target.strip_prefix('#').expect("a way out of the page");
        assert!(dom.contains(&format!("id=\"{id}\"")), "{target}");
    }

    // Who follows a field of the table has the cell opened, without a script.
    let (dom, ..) = browser.load(&format!("{page}#bookworm:read-only"));
    assert_eq!(open(&dom), 2);
    let (before, _) = dom.split_once("id=\"bookworm:read-only\"").unwrap();
    let details = &before[before.rfind("<details").unwrap()..];
    assert!(details.starts_with("<details open"), "{details}");
}

#[test]
#[ignore = "needs chromium; make test installs it"]
fn what_the_page_does_not_do_would_be_seen() {
    let browser = Browser::new();
    let page = browser.path("bad.html");
    fs::write(
        &page,
        "<!doctype html><img src=http://127.0.0.1:1/x><script>console.error('no')</script>",
    )
    .unwrap();
    let (_, console, asked) = browser.load(&url(&page));
    assert!(
        console.iter().any(|line| line.contains("no")),
        "{console:?}"
    );
    assert_eq!(asked, ["http://127.0.0.1:1/x"]);
}

#[test]
#[ignore = "needs chromium; make test installs it"]
fn the_page_is_drawn_in_light_and_dark_and_narrow() {
    let browser = Browser::new();
    let page = url(&browser.page());
    let paper = |options: &[&str]| {
        let colours = browser.colours(&page, options);
        // Text, lines and drawings; one colour would be an empty page.
        assert!(colours.len() > 50, "{} colours", colours.len());
        colours
    };
    let light = paper(&["--window-size=1280,2700"]);
    assert_eq!(light[0].1, [255, 255, 255]);
    // The pages that are as they should be, and the mark of the finding.
    for drawn in [[0x8f, 0xbc, 0x9b], [0xff, 0xe3, 0xe3], [0xa4, 0x0e, 0x26]] {
        let count = light.iter().find(|(_, colour)| *colour == drawn);
        assert!(
            count.is_some_and(|(count, _)| *count > 100),
            "{drawn:?}: {count:?}"
        );
    }
    let dark = paper(&[
        "--window-size=1280,2700",
        "--blink-settings=preferredColorScheme=0",
    ]);
    assert_eq!(dark[0].1, [0x14, 0x17, 0x1b]);
    paper(&["--window-size=500,3000"]);
}
