//! The sections of a manual page besides the options: exit codes, environment
//! variables, files and examples.

use clap::Command;

/// A section: a list of terms with their descriptions.
pub struct Section {
    /// Its title.
    pub title: &'static str,
    /// Its terms.
    pub entries: Vec<Entry>,
}

type Entry = (&'static str, &'static str);

const DONE: Entry = (
    "0",
    "Everything was done, and verified where that was asked for.",
);
const FOUND: Entry = (
    "1",
    "It ran, and something that it verified is not as it should be.",
);
const CANNOT: Entry = (
    "2",
    "The command line is wrong, or it could not run; a sentence says what to do.",
);
const UNTESTABLE: Entry = (
    "125",
    "The kernel of --bzimage could not be tested, which git-bisect(1) skips.",
);
const INTERRUPTED: Entry = ("130", "SIGINT or SIGTERM came before it was done.");
const SCRIPT: Entry = (
    "N",
    "The exit code of the script, where one was run in the guest.",
);

const LOG: Entry = (
    "RUST_LOG",
    "What is logged on stderr: error, warn, info (the default), debug or trace.",
);
const CACHE_HOME: Entry = (
    "XDG_CACHE_HOME",
    "Where the cache lies, in place of ~/.cache.",
);
const MIRROR: Entry = (
    "PINHOLE_MIRROR",
    "The Debian mirror that guests and QEMU are unpacked from, in place of the one that apt uses.",
);
const TMPDIR: Entry = (
    "TMPDIR",
    "Where temporary files are made, in place of /tmp.",
);
const LISTEN: Entry = (
    "LISTEN_PID, LISTEN_FDS",
    "How systemd passes on the socket to listen on (sd_listen_fds(3)).",
);

const CACHE: Entry = (
    "~/.cache/pinhole",
    "Guests, drivers and QEMU, as they were built; `pinhole guest remove` removes them.",
);

/// The subcommands that verify something, with their own subcommands.
const VERIFY: [&str; 10] = [
    "capture",
    "play",
    "compliance",
    "conformance",
    "frame-vector",
    "judge",
    "matrix",
    "driver",
    "report-merge",
    "report-diff",
];
/// The subcommands that read or fill the cache.
const CACHED: [&str; 10] = [
    "bench",
    "capture",
    "play",
    "compliance",
    "frame-vector",
    "judge",
    "matrix",
    "driver",
    "guest",
    "shell",
];

/// Examples, each with the name of its page.
const EXAMPLES: [(&str, Entry); 29] = [
    (
        "pinhole",
        (
            "pinhole capture",
            "Boot Debian 13, capture 60 frames, and verify every byte.",
        ),
    ),
    (
        "pinhole-capture",
        (
            "pinhole capture --kernel bookworm --frames 300 --format NV12",
            "Capture on Linux 6.1, in another format.",
        ),
    ),
    (
        "pinhole-capture",
        (
            "ffmpeg -i film.mp4 -f yuv4mpegpipe - | pinhole capture --source y4m:-",
            "Show the card a film, and verify what is captured of it.",
        ),
    ),
    (
        "pinhole-play",
        (
            "pinhole play --kernel bookworm --frames 300 --format NV12",
            "Play frames to an output card on Linux 6.1, in another format.",
        ),
    ),
    (
        "pinhole-play",
        (
            "pinhole play --source y4m:film.y4m --sink y4m:shown.y4m --format YU12",
            "Play a film, and keep what the card was shown of it.",
        ),
    ),
    (
        "pinhole-bench",
        (
            "pinhole bench --kernel trixie --ram 2G",
            "Measure on Linux 6.12, with memory of 1 GiB to pin, too.",
        ),
    ),
    (
        "pinhole-compliance",
        (
            "pinhole compliance --kernel trixie >compliance.md",
            "Have one kernel's driver judged.",
        ),
    ),
    (
        "pinhole-conformance",
        (
            "pinhole conformance -- my-device --socket-path {socket}",
            "Start a back end of your own, and have its device judged clause by clause.",
        ),
    ),
    (
        "pinhole-conformance",
        (
            "pinhole conformance --socket /run/media.sock --clause MD-5 --json",
            "One clause, of a back end that runs, with the bytes of the exchange.",
        ),
    ),
    (
        "pinhole-conformance",
        (
            "pinhole conformance --kernel trixie --driver my.ko --driver-args standin_id=30",
            "Judge a driver of your own, in a guest whose devices are scripted.",
        ),
    ),
    (
        "pinhole-frame-vector",
        (
            "pinhole frame-vector --kernel all,checked",
            "Ask every kernel that there is.",
        ),
    ),
    (
        "pinhole-matrix",
        (
            "pinhole matrix --kernel all --mutants",
            "Run everything on the stock kernels, and the drivers with bugs.",
        ),
    ),
    (
        "pinhole-matrix",
        (
            "git bisect run pinhole matrix --kind heap --bzimage arch/x86/boot/bzImage --modules .",
            "Find the commit that broke something, after a `make bzImage modules` at each step.",
        ),
    ),
    (
        "pinhole-matrix",
        (
            "pinhole matrix --cell thp/munmap --repeat 20",
            "Is the cell the same each time?",
        ),
    ),
    (
        "pinhole-judge",
        (
            "pinhole judge /dev/video0",
            "Judge a camera of this machine, as root or as a user of the group video.",
        ),
    ),
    (
        "pinhole-judge",
        (
            "pinhole judge --kernel trixie --module vivid --module-args n_devs=1",
            "Judge a driver of the kernel's own in a guest.",
        ),
    ),
    (
        "pinhole-judge",
        (
            "pinhole judge --kernel trixie --mutants",
            "Which of the bugs in Pinhole's driver are seen without a witness?",
        ),
    ),
    (
        "pinhole-report",
        (
            "pinhole report merge out/1 out/2 --out all",
            "Put the results of two shards together.",
        ),
    ),
    (
        "pinhole-report-diff",
        (
            "pinhole report diff out/6.1 out/6.12 --html diff.html",
            "What two kernels do otherwise, and why, with a page of the evidence of both.",
        ),
    ),
    (
        "pinhole-shell",
        (
            "pinhole shell --kernel bookworm --clients",
            "A guest with GStreamer and FFmpeg; Ctrl-] ends it.",
        ),
    ),
    (
        "pinhole-shell",
        (
            "echo v4l2-ctl --all | pinhole shell",
            "Run a script in a guest.",
        ),
    ),
    (
        "pinhole-shell",
        (
            "pinhole shell --kind m2m --makes raw --clients",
            "A guest whose card converts frames, which GStreamer has as v4l2convert.",
        ),
    ),
    (
        "pinhole-guest",
        (
            "pinhole guest build all",
            "Build what is needed before there is no network.",
        ),
    ),
    (
        "pinhole-guest-remove",
        (
            "pinhole guest remove --old",
            "Make room: what other versions have built.",
        ),
    ),
    (
        "pinhole-driver",
        (
            "pinhole driver builds",
            "Build the driver for every kernel that Debian has.",
        ),
    ),
    (
        "pinhole-device",
        (
            "pinhole device --socket-path /run/user/1000/card.sock --source y4m:film.y4m",
            "A card that shows a film, for a QEMU that is started by hand.",
        ),
    ),
    (
        "pinhole-ctl",
        (
            "pinhole ctl --control card.ctl set gain=20",
            "Set a control of a running card.",
        ),
    ),
    (
        "pinhole-ctl",
        (
            "pinhole ctl --control card.ctl inject stall=500",
            "Have nothing come for half a second.",
        ),
    ),
    (
        "pinhole-completions",
        (
            "pinhole completions bash >/etc/bash_completion.d/pinhole",
            "Complete options in bash.",
        ),
    ),
];

/// Returns the sections for the page of that name.
pub fn of(page: &str, command: &Command) -> Vec<Section> {
    let whole = page == "pinhole";
    let first = page.split_once('-').map_or("", |(_, rest)| rest);
    let belongs = |names: &[&str]| {
        let is_of = |name: &&str| first == *name || first.starts_with(&format!("{name}-"));
        whole || names.iter().any(is_of)
    };
    let cached = belongs(&CACHED);
    let own_kernel = command
        .get_arguments()
        .any(|argument| argument.get_id() == "bzimage");
    let status = [
        (true, DONE),
        (belongs(&VERIFY), FOUND),
        (true, CANNOT),
        (whole || own_kernel, UNTESTABLE),
        (cached, INTERRUPTED),
        (belongs(&["shell"]), SCRIPT),
    ];
    let environment = [
        (cached, MIRROR),
        (cached, CACHE_HOME),
        (cached, TMPDIR),
        (belongs(&["device"]), LISTEN),
        (true, LOG),
    ];
    let examples = EXAMPLES.iter().map(|(of, entry)| (*of == page, *entry));
    let sections = [
        ("EXIT STATUS", said(status)),
        ("ENVIRONMENT", said(environment)),
        ("FILES", said([(cached, CACHE)])),
        ("EXAMPLES", said(examples)),
    ];
    let sections = sections
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty());
    let sections = sections.map(|(title, entries)| Section { title, entries });
    sections.collect()
}

fn said(entries: impl IntoIterator<Item = (bool, Entry)>) -> Vec<Entry> {
    let entries = entries.into_iter();
    entries
        .filter_map(|(is, entry)| is.then_some(entry))
        .collect()
}
