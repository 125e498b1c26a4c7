//! The number of instructions that a frame takes, which a noisy machine does not
//! change: a frame path that has become slower is seen in it.
//!
//! This program runs itself in valgrind's callgrind, once for each case, and
//! compares what that counts with a stored number.

#[path = "../../benches/streaming/mod.rs"]
mod streaming;

use std::process::{Command, ExitCode};

use pinhole::card::Witness;
use pinhole::card::witness::Background;
use pinhole::source::{Layout, PixelFormat, pattern};
use streaming::{Memory, Nowhere, PAGE, Scatter, Streaming, camera, display};

/// What a card does for a frame.
#[derive(Clone, Copy)]
enum Work {
    /// It writes what a source that costs nothing has.
    Blank,
    /// It draws the pattern of that name, and writes it.
    Pattern(&'static str),
    /// It reads the frame.
    Read,
}

use Work::{Blank, Pattern, Read};

/// A frame that is counted.
struct Case {
    name: &'static str,
    format: PixelFormat,
    size: (u32, u32),
    work: Work,
    witnessed: bool,
    /// Instructions for each frame, on a processor that has AVX2.
    expected: u64,
}

/// Number of frames that are made in a count, after as many that are not
/// counted.
const FRAMES: u64 = 8;

/// The difference that is tolerated, in hundredths: other versions of the
/// compiler and of the C library count a little differently.
const TOLERANCE: u64 = 15;

const HD: (u32, u32) = (1920, 1080);

const fn case(
    name: &'static str,
    format: PixelFormat,
    work: Work,
    witnessed: bool,
    expected: u64,
) -> Case {
    Case {
        name,
        format,
        size: HD,
        work,
        witnessed,
        expected,
    }
}

const CASES: [Case; 11] = [
    case("blank", PixelFormat::Nv12, Blank, false, 712_000),
    case("blank-witness", PixelFormat::Nv12, Blank, true, 1_800_000),
    case("bars", PixelFormat::Nv12, Pattern("bars"), false, 1_661_000),
    case(
        "bars-witness",
        PixelFormat::Nv12,
        Pattern("bars"),
        true,
        2_750_000,
    ),
    case(
        "bars-yuyv",
        PixelFormat::Yuyv,
        Pattern("bars"),
        false,
        1_837_000,
    ),
    case(
        "bars-rgb3",
        PixelFormat::Rgb3,
        Pattern("bars"),
        false,
        2_535_000,
    ),
    case(
        "moving",
        PixelFormat::Nv12,
        Pattern("moving"),
        false,
        1_802_000,
    ),
    case(
        "noise",
        PixelFormat::Nv12,
        Pattern("noise"),
        false,
        2_063_000,
    ),
    case(
        "integrity",
        PixelFormat::Nv12,
        Pattern("integrity"),
        false,
        2_038_000,
    ),
    case("read", PixelFormat::Nv12, Read, false, 535_000),
    case("read-witness", PixelFormat::Nv12, Read, true, 1_630_000),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--case"
    {
        let case = CASES.iter().find(|case| case.name == name);
        run(case.expect("a case of the table"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    println!("{:<16} {:>12} {:>12}", "a frame of", "expected", "counted");
    for case in &CASES {
        let counted = count(case.name);
        let differs = counted.abs_diff(case.expected) * 100 > case.expected * TOLERANCE;
        failed += u32::from(differs);
        let mark = if differs { "  <-- differs" } else { "" };
        println!(
            "{:<16} {:>12} {counted:>12}{mark}",
            case.name, case.expected
        );
    }
    if failed > 0 {
        println!(
            "{failed} of {} differ by more than {TOLERANCE} %: if more is what it costs, or less, \
             change the table in {}",
            CASES.len(),
            file!()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Makes the case's frames; half of them in [`counted`].
fn run(case: &Case) {
    let layout = Layout::new(case.format, case.size.0, case.size.1);
    let memory = Memory::new(
        &layout,
        Scatter {
            buffers: 2,
            offset: 16,
            segment: PAGE,
        },
    );
    let endpoint = match case.work {
        Blank => camera(Box::new(streaming::Blank)),
        Pattern(name) => {
            let pattern = pattern::Pattern::named(name);
            camera(Box::new(pattern.expect("a pattern of that name")))
        }
        Read => display(),
    };
    let witness = match case.witnessed {
        true => Witness::new(Background::start(Nowhere).expect("a thread")),
        false => Witness::off(),
    };
    let mut streaming = Streaming::new(&memory, &layout, endpoint, witness);
    for _ in 0..FRAMES {
        streaming.frame();
    }
    counted(&mut streaming);
}

/// The part that callgrind counts, which knows it by this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn counted(streaming: &mut Streaming<'_>) {
    for _ in 0..FRAMES {
        streaming.frame();
    }
}

/// Returns the number of instructions of a frame of that case.
fn count(name: &str) -> u64 {
    let program = std::env::current_exe().expect("the path of this program");
    // Valgrind counts a repeated instruction (rep movsb) as often as it repeats.
    let never = "glibc.cpu.x86_rep_movsb_threshold=1000000000:\
                 glibc.cpu.x86_rep_stosb_threshold=1000000000";
    let output = Command::new("valgrind")
        .env("GLIBC_TUNABLES", never)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=counted"])
        .arg(program)
        .args(["--case", name])
        .output()
        .expect("valgrind, which `apt-get install valgrind` brings");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind: {told}");
    let counted = told
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let counted = counted.and_then(|(_, count)| count.trim().parse::<u64>().ok());
    counted.unwrap_or_else(|| panic!("valgrind did not say what it counted: {told}")) / FRAMES
}
