//! The checks that the kernel makes of itself, and whether they still work.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::sync::OnceLock;

use crate::agent::cell::Scope;
use crate::agent::checks::{Check, ChecksAnswer};

use crate::guest::cell::pagemap::is_kept_back;
use crate::guest::failure::Failure;
use crate::guest::kmemleak;

/// Each of these files exists if the kernel has the check.
const LOCKDEP: &str = "/proc/lockdep_stats";
const DMA_API: &str = "/sys/kernel/debug/dma-api/disabled";

/// Returns the kernel's checks, and whether they work; of kmemleak it is known only
/// where it may be changed how it works.
pub fn look(scope: Scope) -> Result<ChecksAnswer, Failure> {
    const TAINTED: &str = "/proc/sys/kernel/tainted";
    let failed = |path| move |error| Failure::io(format_args!("read {path}"), error);
    let tainted = fs::read_to_string(TAINTED).map_err(failed(TAINTED))?;
    let mut answer = ChecksAnswer {
        tainted: tainted.trim().parse().unwrap_or_default(),
        jiffies: jiffies(),
        ..ChecksAnswer::default()
    };
    let mut checks = built_in().map_err(failed(SYMBOLS))?.clone();
    if !scope.is_guest() {
        checks.remove(&Check::Kmemleak);
    }
    for check in &checks {
        match works(*check) {
            Ok(works) => {
                answer.on.insert(*check, works);
            }
            // The check may exist, but its state cannot be read.
            Err(error) if is_kept_back(&error) => {}
            Err(error) => return Err(Failure::io(format_args!("look at {check}"), error)),
        }
    }
    Ok(answer)
}

/// Returns whether a built-in check has not turned itself off.
fn works(check: Check) -> io::Result<bool> {
    match check {
        Check::Lockdep => Ok(locks_are_debugged(&fs::read_to_string(LOCKDEP)?)),
        Check::DmaApi => Ok(fs::read_to_string(DMA_API)?.trim() == "N"),
        Check::Kmemleak => kmemleak::is_on(),
        Check::Kasan | Check::Kcsan | Check::AtomicSleep | Check::IdlePages => Ok(true),
    }
}

/// Returns whether lockdep reports that it works: debug_locks of
/// lib/debug_locks.c.
fn locks_are_debugged(stats: &str) -> bool {
    let mut lines = stats.lines().filter_map(|line| line.split_once(':'));
    let line = lines.find(|(name, _)| name.trim() == "debug_locks");
    line.is_some_and(|(_, value)| value.trim() == "1")
}

const SYMBOLS: &str = "/proc/kallsyms";

/// The symbol at the end of the kernel's code (include/asm-generic/sections.h).
const LAST: &str = "_etext";

/// Returns the built-in checks. The result is cached, because it does not
/// change and reading the kernel's symbols takes a second.
fn built_in() -> io::Result<&'static BTreeSet<Check>> {
    static BUILT_IN: OnceLock<BTreeSet<Check>> = OnceLock::new();
    if let Some(checks) = BUILT_IN.get() {
        return Ok(checks);
    }
    let checks = match File::open(SYMBOLS) {
        Ok(symbols) => among(BufReader::new(symbols))?,
        // The kernel has no list of symbols, or not for this process.
        Err(error) if is_kept_back(&error) => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    Ok(BUILT_IN.get_or_init(|| checks))
}

/// Returns the checks among symbols, which are one per line with address, type
/// and name, in the order of their addresses. Behind the kernel's code, and so the checks,
/// are as many symbols again, and those of modules.
fn among(symbols: impl BufRead) -> io::Result<BTreeSet<Check>> {
    let mut checks = BTreeSet::new();
    for line in symbols.lines() {
        let line = line?;
        let name = line.split(' ').nth(2).unwrap_or_default();
        if name == LAST {
            break;
        }
        checks.extend(Check::ALL.iter().filter(|check| check.symbol() == name));
    }
    Ok(checks)
}

/// Returns the kernel's clock, in ticks.
pub fn jiffies() -> Option<u64> {
    among_timers(&fs::read_to_string("/proc/timer_list").ok()?)
}

fn among_timers(list: &str) -> Option<u64> {
    let mut lines = list.lines();
    lines.find_map(|line| line.strip_prefix("jiffies: ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_told_by_their_symbols() {
        let symbols = "0000000000000000 T kasan_report\n\
                       0000000000000000 t kmemleak_alloc_percpu\n\
                       0000000000000000 T __might_sleep\n\
                       0000000000000000 T _etext\n\
                       0000000000000000 D kcsan_report_known_origin\n\
                       0000000000000000 t kmemleak_alloc\t[mine]\n";
        assert_eq!(
            among(symbols.as_bytes()).unwrap(),
            BTreeSet::from([Check::AtomicSleep, Check::Kasan])
        );
        assert_eq!(among(&b""[..]).unwrap(), BTreeSet::new());
    }

    #[test]
    fn lockdep_says_whether_it_works() {
        let stats = |value| format!(" max locking depth:  14\n debug_locks:  {value}\n\n");
        assert!(locks_are_debugged(&stats(1)));
        assert!(!locks_are_debugged(&stats(0)));
        assert!(!locks_are_debugged(""));
    }

    #[test]
    fn the_clock_is_that_of_any_processor() {
        let list = "Timer List Version: v0.10\ncpu: 0\n  .idle_jiffies   : 4294904900\n\
                    jiffies: 4294904999\ncpu: 1\njiffies: 4294905003\n";
        assert_eq!(among_timers(list), Some(4_294_904_999));
        assert_eq!(among_timers("cpu: 0\n"), None);
    }
}
